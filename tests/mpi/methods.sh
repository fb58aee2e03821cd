#!/bin/sh
# Every way of learning in 1, 2 and 4 ranks (moe with its default selector, and finetune: learn.sh): the same state within rounding, or
# the same bits where nothing is summed. The benchmarks that are built on it; and what runs in one process only.
. "$(dirname "$0")/common.sh"
prepare

how="--batch 7 --iterations 6 --no-eval --quiet"
domains="pictures/colours lines=pictures/stripes"
learn() { # NAME RANKS MORE...
  name=$1 n=$2
  shift 2
  ranks "$n" "$M" learn $small $how --state "$name-$n.safetensors" "$@" $domains >out 2>err || fail "$name, $n ranks: $(cat err)"
}
# Each with its bound against one rank, and what it began with. A picture's feature is the same to some 1e-7 whatever else is in the
# batch; the methods that only gather features are as near as that. --dynamic-experts: as many experts came (the shapes are compared).
both() { # NAME START BOUND MORE...
  name=$1 from=$2 bound=$3
  shift 3
  learn "$name" 1 "$@"
  learn "$name" $most "$@"
  near "$name-1.safetensors" "$name-$most.safetensors" "$from" "$bound"
}
"$M" learn --model clip.safetensors --bottleneck 4 --experts 6 --threads 1 --batch 7 --iterations 1 --lr 1e-12 --no-selector --no-eval --quiet \
  --state start.safetensors $domains >out 2>err || fail "start: $(cat err)"
most=4
both linear-probe clip.safetensors 1e-4 --method linear-probe
both lwf clip.safetensors 3e-2 --method lwf --lr 1e-4
most=2
both dynamic start.safetensors 1e-3 --dynamic-experts --dynamic-margin 0.001 --dynamic-probe 10
both autoencoder start.safetensors 1e-3 --selector autoencoder --selector-iterations 10
both prototypes start.safetensors 1e-3 --selector prototypes
both zscl clip.safetensors 3e-2 --method zscl --reference pictures/spots --lr 1e-4
both icarl clip.safetensors 3e-2 --method icarl --exemplars 14 --lr 1e-4
both joint clip.safetensors 3e-2 --method joint --lr 1e-4
both wise-ft clip.safetensors 5e-2 --method wise-ft --lr 1e-4
both kernel clip.safetensors 1e-5 --method analytic --ridge-form kernel
learn zero-shot 1 --method zero-shot
learn zero-shot 2 --method zero-shot
same zero-shot-1.safetensors zero-shot-2.safetensors

# The benchmarks: as many right in every cell.
for bench in mtil xtail; do
  for n in 1 2; do
    ranks $n "$M" bench $bench $small --set colours=pictures/colours --set lines=pictures/stripes --iterations 6 --batch 7 --lr 2e-3 \
      --selector-iterations 3 --quiet --out $bench$n >out 2>err || fail "bench $bench, $n ranks: $(cat err)"
    cut -d, -f1-7 $bench$n/results.csv >$bench$n.csv
  done
  near ${bench}1/state.safetensors ${bench}2/state.safetensors start.safetensors 1e-3
  same ${bench}1.csv ${bench}2.csv
done

for command in "bench compare --model clip.safetensors --out compared $domains" "prune --model clip.safetensors start.safetensors --output p"; do
  ranks 2 "$M" $command >out 2>err && fail "$command: in two processes"
  grep -q 'runs in one process only, but 2 were started: leave mpirun out' err || fail "$command: $(cat err)"
done
[ -e compared ] && fail "bench compare: began"
exit $failed
