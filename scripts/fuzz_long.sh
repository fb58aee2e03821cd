#!/usr/bin/env bash
# Fuzzes targets for so many seconds of processor time each (a busy machine makes it take longer, not less thorough), after
# cmake --build --preset fuzz --target fuzzers. Prints a line a target: seconds, executions, inputs kept, findings.
# usage: scripts/fuzz_long.sh [-s SECONDS] [-j JOBS] [TARGET...]   (default: 1200 s, 1 job, every target)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=1200
jobs=1
while getopts s:j:h option; do
  case $option in
    s) seconds=$OPTARG ;;
    j) jobs=$OPTARG ;;
    *) sed -n '2,4s/^# //p' "$0"; [ "$option" = h ] && exit 0; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [ $# = 0 ]; then
  for program in build/fuzz/tests/fuzz_*; do
    case $program in *fuzz_replay_* | *.d) ;; *) set -- "$@" "${program##*/fuzz_}" ;; esac
  done
fi

fuzz() { # TARGET SECONDS
  local name=$1 limit=$2 spent=0 runs=0 chunk rc folder=build/fuzz/long/$1 corpora=()
  mkdir -p "$folder/corpus"
  cp build/fuzz/tests/fuzz_"$name" "$folder/program" # a build beside it does no harm
  for known in tests/fuzz/seeds/$name tests/fuzz/regressions/$name; do [ -d "$known" ] && corpora+=("$known"); done
  : > "$folder/log"
  while [ "$spent" -lt "$limit" ]; do
    chunk=$((limit - spent < 60 ? 60 : limit - spent < 300 ? limit - spent : 300)) # where others have the machine, reading the inputs takes seconds
    rc=0
    { TIMEFORMAT='%U %S'; time "$folder/program" -max_total_time="$chunk" -rss_limit_mb=2048 -timeout=${MOECLIP_FUZZ_TIMEOUT:-25} -print_final_stats=1 \
        -artifact_prefix="$folder/" "$folder/corpus" "${corpora[@]}" >> "$folder/log" 2>&1 || rc=$?; } 2> "$folder/cpu"
    spent=$((spent + $(awk '{ printf "%d", $1 + $2 + 0.5 }' "$folder/cpu")))
    runs=$((runs + $(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log" | tail -1)))
    [ "$rc" = 0 ] || break
  done
  echo "$name: $spent s, $runs executions, $(ls "$folder/corpus" | wc -l) inputs kept, $([ "$rc" = 0 ] && echo no findings || echo "FOUND: $folder")"
}
export -f fuzz
printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'fuzz "$@"' fuzz {} "$seconds"
