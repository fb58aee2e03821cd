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

# Enters T, with pictures/ (made by "$PICTURES") and clip.safetensors, a tiny CLIP that has seen some of them.
tiny_clip() {
  "$PICTURES" "$T/pictures" || exit 1
  cd "$T" || exit 1
  "$M" pretrain --pairs pictures/colours/train --out clip.safetensors --image-size 16 --patch 8 --visual-layers 2 --visual-width 64 \
    --visual-hidden 64 --context 12 --vocabulary 600 --text-layers 2 --text-width 64 --text-hidden 64 --embed 32 --epochs 30 --batch 6 \
    --warmup 5 --threads 1 --quiet >out 2>err || { fail "pretrain: $(cat err)"; exit 1; }
}

# killed_at_checkpoints ARGUMENTS...: the same command again and again; each time killed once another checkpoint ("$part") was written, until it gets through.
killed_at_checkpoints() {
  n_killed=0
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    "$M" "$@" >out 2>err </dev/null &
    running=$! i=0 before=$(stat -c %i "$part" 2>/dev/null)
    while kill -0 $running 2>/dev/null && [ $i -lt 400 ]; do
      now=$(stat -c %i "$part" 2>/dev/null)
      [ -n "$now" ] && [ "$now" != "$before" ] && break
      sleep 0.01
      i=$((i + 1))
    done
    [ $try -lt 8 ] && kill -9 $running 2>/dev/null
    wait $running 2>/dev/null
    is=$?
    [ $is -eq 137 ] || break
    n_killed=$((n_killed + 1))
  done
  [ $is -eq 0 ] || fail "killed $n_killed times, then: exit code $is: $(tail -n 3 err)"
  [ $n_killed -gt 0 ] || fail "was never killed: $*"
}
