#!/usr/bin/env bash
# clang-tidy (.clang-tidy) on the sources of src/, as the sanitize build compiles them. Exit code 1 when it finds anything.
# usage: scripts/tidy.sh [FILE...]   (default: all of src/)
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/sanitize
version=$(clang -dumpversion | cut -d. -f1)
tidy=$(command -v "clang-tidy-$version" || command -v clang-tidy) ||
  { echo "tidy.sh: clang-tidy is missing: run scripts/setup.sh --with-tests" >&2; exit 1; }
[ -f "$build/compile_commands.json" ] || { echo "tidy.sh: configure first: cmake --preset sanitize" >&2; exit 1; }
if [ $# = 0 ]; then
  while read -r file; do set -- "$@" "$file"; done < <(find src -name '*.c' ! -name entity_table.c | sort)
fi
log=$build/tidy.log
status=0
# A few files at a time, so that the last ones are shared evenly.
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 4 "$tidy" -p "$build" --quiet > "$log" 2> "$log.stderr" || status=1
if grep -qE '(warning|error):' "$log"; then status=1; fi
[ "$status" = 0 ] || { cat "$log"; grep -v 'warnings generated' "$log.stderr" >&2 || true; }
echo "clang-tidy: $# files, $([ "$status" = 0 ] && echo nothing found || echo "see $log")"
exit "$status"
