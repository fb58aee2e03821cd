# For the scripts beside it, which set M (the program) first: a folder T of their own, fail, expect. They end with `exit $failed`.
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
failed=0

fail() {
  echo "$(basename "$0"): $*" >&2
  failed=1
}

# expect CODE PATTERN ARGUMENTS...: the exit code, and what must be on standard output or error
expect() {
  code=$1 pattern=$2
  shift 2
  "$M" "$@" >"$T/out" 2>"$T/err" </dev/null
  is=$?
  [ $is -eq "$code" ] || fail "moeclip $*: exit code $is, not $code: $(tail -n 3 "$T/err")"
  cat "$T/out" "$T/err" | grep -qe "$pattern" || fail "moeclip $*: no \"$pattern\" in: $(cat "$T/out" "$T/err")"
}
