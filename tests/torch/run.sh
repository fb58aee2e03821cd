#!/bin/sh
# Runs a test that needs PyTorch. usage: run.sh SCRIPT.py ARGUMENTS...
# The interpreter: $MOECLIP_PYTHON, else the one that scripts/setup.sh --with-tests made, else python3.
here=$(cd "$(dirname "$0")" && pwd)
for python in "$MOECLIP_PYTHON" "$here/../../.deps/venv/bin/python" python3; do
  [ -n "$python" ] && "$python" -W ignore -c 'import torch' 2>/dev/null || continue
  exec "$python" -W ignore "$@"
done
echo "skipped: there is no PyTorch here; scripts/setup.sh --with-tests installs it where pip finds a CPU build, or set" \
  "MOECLIP_PYTHON to a Python that has it"
exit 77 # ctest's sign for a skipped test
