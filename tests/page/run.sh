#!/bin/sh
# Runs a test of the web page. usage: run.sh SCRIPT.py ARGUMENTS...
here=$(cd "$(dirname "$0")" && pwd)
python=$here/../../.deps/tests-venv/bin/python
skip() {
  echo "skipped: $*; scripts/setup.sh --with-tests installs it"
  exit 77 # ctest's sign for a skipped test
}
[ -x "$python" ] && "$python" -c 'import selenium' 2>/dev/null || skip "there is no selenium in .deps/tests-venv"
command -v chromium >/dev/null || skip "there is no chromium here"
command -v chromedriver >/dev/null || skip "there is no chromedriver here"
exec "$python" "$@"
