#!/bin/sh
# Instructions that each kernel of our own takes for an element, under callgrind, which shows every processor as one with AVX2: the same
# numbers on a busy machine and on an idle one. Each may take half as many again as it did when its line was written (gcc 12).
#   run.sh COUNT_PROGRAM
set -eu
if ! command -v valgrind > /dev/null || ! grep -q avx2 /proc/cpuinfo; then
  echo "skipped: needs valgrind and a processor with AVX2"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$work/out" "$1" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
callgrind_annotate --inclusive=yes --threshold=100 "$work/out" > "$work/functions"
cat > "$work/usual" <<'TEXT'
quick_gelu 4.6
quick_gelu_backward 4.8
gelu 7.4
gelu_backward 7.5
layernorm 2.2
layernorm_backward 2.4
sigmoid 3.9
rounding 1.8
quick_gelu16 6.0
quick_gelu_backward16 7.0
gelu16 8.9
gelu_backward16 9.8
layernorm16 3.4
dot_rows 1.4
attention 44
attention_backward 96
attention16 87
attention_backward16 210
TEXT
awk -v elements=$((32 * 768)) '
  NR == FNR { usual[$1] = $2; next }
  match($0, /:[a-z_0-9]+_(small|large) \[/) && !/=>/ {
    name = substr($0, RSTART + 1, RLENGTH - 3)
    gsub(/,/, "", $1)
    count[name] = $1
  }
  END {
    for (name in usual) {
      each = (count[name "_large"] - count[name "_small"]) / elements
      good = count[name "_small"] > 0 && each > 0 && each <= 1.5 * usual[name]
      printf "%-24s %6.2f an element, usually %.1f%s\n", name, each, usual[name], good ? "" : "  TOO MANY, OR NOT FOUND"
      bad += !good
    }
    exit bad > 0
  }' "$work/usual" "$work/functions"
