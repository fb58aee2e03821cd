#!/bin/sh
# A rank is killed (SIGKILL), and the run is asked to stop: a clear word, a whole checkpoint, and going on with the same number of
# ranks (the same bits) and with another (the same within rounding).
. "$(dirname "$0")/common.sh"
prepare
command -v pgrep >/dev/null || { echo "there is no pgrep"; exit 77; }
how="--batch 7 --selector-iterations 10 --no-eval" steps=120
learn() { # STATE RANKS MORE...
  state=$1 n=$2
  shift 2
  $run mpirun --allow-run-as-root --oversubscribe -n $n "$M" learn $small $how --iterations $steps --state $state "$@" pictures/colours
}
run=
learn whole.safetensors 2 >out 2>err || { fail "whole: $(cat err)"; exit 1; }
"$M" learn $small --batch 7 --iterations 1 --lr 1e-12 --selector-iterations 1 --selector-lr 1e-12 --no-eval --quiet \
  --state start.safetensors pictures/colours >out 2>err || fail "start: $(cat err)"

# once the checkpoint is there: killed in the middle of the task
begin_and() { # SIGNAL WHO (a rank, or mpirun)
  rm -f cut.safetensors*
  run=exec
  learn cut.safetensors 2 --checkpoint-seconds 0 >out 2>err &
  running=$! run= i=0
  while [ ! -e cut.safetensors.part ] && [ $i -lt 1200 ]; do sleep 0.02; i=$((i + 1)); done
  who=$running
  [ "$2" = mpirun ] || who=$(pgrep -P $running | sed -n "$(($2 + 1))p")
  kill -s "$1" "$who"
  wait $running
  is=$?
  running=
  [ -e cut.safetensors ] && fail "SIG$1: too late, the task was finished"
  [ -e cut.safetensors.part ] || fail "SIG$1: no checkpoint"
  "$M" info cut.safetensors.part >out 2>&1 || fail "SIG$1: the checkpoint cannot be read: $(cat out)"
  grep -q unfinished out || fail "SIG$1: $(cat out)"
}
begin_and KILL 1
[ $is -ne 0 ] || fail "a killed rank leaves the exit code 0"
grep -q 'exited on signal 9 (Killed)' err || fail "a killed rank: $(cat err)"
cp cut.safetensors.part part
learn cut.safetensors 2 >out 2>err || fail "resume: $(cat err)"
grep -q resumed out || fail "not resumed: $(cat out)"
same whole.safetensors cut.safetensors
for n in 1 3; do
  cp part other$n.safetensors.part
  learn other$n.safetensors $n >out 2>err || fail "resume with $n ranks: $(cat err)"
  grep -q resumed out || fail "$n ranks: not resumed: $(cat out)"
  near whole.safetensors other$n.safetensors start.safetensors 2e-2
done

# One rank is asked to stop: all do, at the same step.
begin_and TERM 1
[ $is -eq 143 ] || fail "SIGTERM to one rank: exit code $is: $(cat err)"
grep -q 'stopped at step .*cut.safetensors.part keeps the unfinished task: give the same command again' err ||
  fail "SIGTERM to one rank: $(cat err)"
learn cut.safetensors 2 >out 2>err || fail "resume: $(cat err)"
same whole.safetensors cut.safetensors

# mpirun is asked to stop: it asks the ranks a second later, and kills them after another.
steps=100000
begin_and TERM mpirun
[ $is -ne 0 ] || fail "SIGTERM to mpirun leaves the exit code 0"
exit $failed
