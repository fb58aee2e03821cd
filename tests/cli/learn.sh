#!/bin/sh
# Learning for real, with a tiny CLIP: what is written, going on after kill -9 and after signals, eval, classify.
# usage: learn.sh MOECLIP DATA PICTURES
M=$(realpath "$1") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"
running=
trap '[ -n "$running" ] && kill -9 $running 2>/dev/null; rm -rf "$T"' EXIT

same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }
accuracies() { grep -E '"(accuracy|right|n|to|mean)"' "$1"; }

"$PICTURES" "$T/pictures" || exit 1
cd "$T" || exit 1
sizes="--image-size 16 --patch 8 --visual-layers 2 --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600
       --text-layers 2 --text-width 64 --text-hidden 64 --embed 32"
small="--experts 4 --bottleneck 4 --selector-hidden 8 --selector-iterations 20 --batch 8 --threads 1"
short="--iterations 60"

# pretrain, and going on with it after kill -9
# run=exec in the background, so that $! is the program and not a shell around it
run=
pretrain() { $run "$M" pretrain --pairs pictures/colours/train --out "$1" $sizes --epochs 30 --batch 6 --warmup 5 \
  --threads 1 "$2" "$3"; }
pretrain clip.safetensors --quiet --json >out 2>err || { fail "pretrain: $(cat err)"; exit 1; }
grep -q '"steps":180' out || fail "pretrain: $(cat out)"
run=exec
pretrain again.safetensors --checkpoint-seconds 0 >out 2>err &
running=$! run=
i=0
while [ ! -e again.safetensors.part ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i + 1)); done
kill -9 $running
wait $running 2>/dev/null
running=
[ -e again.safetensors ] && fail "pretrain: too fast to be killed"
pretrain again.safetensors --checkpoint-seconds 0 >out 2>err || fail "pretrain again: $(cat err)"
grep -q 'resumed' out || fail "pretrain did not go on: $(cat out)"
same clip.safetensors again.safetensors
[ -e again.safetensors.part ] && fail "pretrain: the checkpoint is still there"
expect 0 'CLIP in openai names' info clip.safetensors

# learn in one go
learn() {
  state=$1
  shift
  $run "$M" learn --model clip.safetensors --state "$state" $small $short --heldout spots=pictures/spots "$@" \
    pictures/colours lines=pictures/stripes
}
learn whole.safetensors >out 2>err || { fail "learn: $(cat err)"; exit 1; }
grep -q '^after lines ' out || fail "learn: $(cat out)"
[ "$(grep -c '^zero-shot ' out)" -eq 3 ] || fail "learn: not a matrix after each task: $(cat out)"
head -n 1 out | grep -q '^accuracy in % *colours *lines | *spots | *mean$' || fail \
  "learn: the columns are $(head -n 1 out)"
for f in matrix.txt matrix.json matrix.svg; do [ -s whole.results/$f ] || fail "learn: no $f"; done
[ -e whole.safetensors.part ] && fail "learn: the checkpoint is still there"
tail -n 8 out | head -n 7 >tail
tail -n 7 whole.results/matrix.txt >text
same tail text
expect 0 '2 tasks' info whole.safetensors

# the same again: nothing to do, the same matrix
cp whole.safetensors before
learn whole.safetensors >out 2>err || fail "learn again: $(cat err)"
same before whole.safetensors
head -n 8 out >head
same head whole.results/matrix.txt

# killed in the first task and in the second, and gone on with
kill_when() { # until the file is there, but not before the other
  run=exec
  learn killed.safetensors --checkpoint-seconds 0 >out 2>err &
  running=$! run=
  i=0
  while { [ ! -e killed.safetensors.part ] || { [ -n "$1" ] && [ ! -e "$1" ]; }; } && [ $i -lt 1200 ]; do
    sleep 0.02
    i=$((i + 1))
  done
  kill -9 $running 2>/dev/null
  wait $running 2>/dev/null
  running=
}
kill_when ""
[ -e killed.safetensors ] && fail "learn: too fast to be killed in the first task"
[ -e killed.results/matrix.json ] || fail "learn: the zero-shot row is not kept"
kill_when killed.safetensors
learn killed.safetensors --checkpoint-seconds 0 >out 2>err || fail "learn, killed: $(cat err)"
grep -q '"resumed": true' killed.results/matrix.json || fail "learn, killed: no task was resumed"
same whole.safetensors killed.safetensors
same whole.results/matrix.txt killed.results/matrix.txt
same whole.results/matrix.svg killed.results/matrix.svg
accuracies whole.results/matrix.json >a
accuracies killed.results/matrix.json >b
same a b
[ -e killed.safetensors.part ] && fail "learn, killed: the checkpoint is still there"

# a checkpoint that stayed behind after its task was saved does no harm
run=exec
learn stale.safetensors --checkpoint-seconds 0 >out 2>err &
running=$! run=
i=0
while [ ! -e stale.safetensors.part ] && [ $i -lt 1200 ]; do sleep 0.02; i=$((i + 1)); done
cp stale.safetensors.part stale
wait $running || fail "learn, stale: $(cat err)"
running=
same whole.safetensors stale.safetensors
cp stale stale.safetensors.part
expect 0 'after more' learn --model clip.safetensors --state stale.safetensors --iterations 20 \
  --selector-iterations 10 --batch 8 --threads 1 pictures/colours lines=pictures/stripes more=pictures/spots
[ -e stale.safetensors.part ] && fail "learn, stale: the checkpoint is still there"

# signals: a checkpoint, a sentence, 128 + the signal's number
for signal in INT:130 TERM:143; do
  short="--iterations 30000"
  run=exec
  learn stopped.safetensors >out 2>err &
  running=$! run=
  i=0
  while [ ! -e stopped.results/matrix.json ] && [ $i -lt 1200 ]; do sleep 0.02; i=$((i + 1)); done
  sleep 1
  kill -s ${signal%:*} $running
  wait $running
  is=$?
  running=
  short="--iterations 60"
  [ $is -eq ${signal#*:} ] || fail "SIG${signal%:*}: exit code $is: $(cat err)"
  grep -q 'stopped at step .*stopped.safetensors.part keeps the unfinished task: give the same command again' err ||
    fail "SIG${signal%:*}: $(cat err)"
  [ -e stopped.safetensors.part ] || fail "SIG${signal%:*}: no checkpoint"
done
expect 0 'unfinished' info stopped.safetensors.part
expect 1 'belongs to another run' learn --model clip.safetensors --state stopped.safetensors $small $short \
  pictures/colours

# what does not fit the state, or is asked for wrongly
expect 1 'experts 5: the state was made with 4' learn --model clip.safetensors --state whole.safetensors --experts 5 \
  --results r pictures/colours
expect 1 'seed 3: the state was made with 0' learn --model clip.safetensors --state whole.safetensors --seed 3 \
  pictures/colours
expect 1 'two data sets are named colours' learn --model clip.safetensors --state n.safetensors pictures/colours \
  pictures/colours
expect 1 'must come first' learn --model clip.safetensors --state whole.safetensors --reference pictures/spots \
  pictures/colours lines=pictures/stripes
expect 1 'has no {}' learn --model clip.safetensors --state n.safetensors --template 'a photo' pictures/colours
expect 1 'another run' learn --model clip.safetensors --state n.safetensors --results whole.results $small $short \
  --seed 9 pictures/colours
[ -e n.safetensors ] && fail "a refused run left a state"

# the reference set; fine-tuning; few shots; a learning rate each; JSON
expect 0 '"mean"' learn --model clip.safetensors --state r.safetensors $small $short --reference pictures/spots \
  --reference-iterations 20 --shots 2 --lr 1e-3,2e-3 --json --quiet pictures/colours pictures/stripes
expect 0 'with a reference set' info r.safetensors
expect 0 'Average' learn --model clip.safetensors --state f.safetensors --mode finetune --iterations 20 --batch 8 \
  --lr 1e-4 pictures/colours pictures/stripes
expect 0 'mode finetune' info f.safetensors
expect 0 '.' learn --model clip.safetensors --state q.safetensors $small $short --no-eval --quiet pictures/colours
[ -e q.results ] && fail "--no-eval made results"

# eval
expect 0 '^colours: .* (.* of 18)' eval --model clip.safetensors pictures/colours
expect 0 ' slanted$' eval --model clip.safetensors --state whole.safetensors --per-class lines=pictures/stripes
expect 0 '"name":"lines"' eval --model clip.safetensors --state whole.safetensors --json --task lines \
  lines=pictures/stripes
expect 0 '(.* of 6)' eval --model clip.safetensors --state whole.safetensors --task 0 --max-test 2 --batch-routing \
  pictures/colours
expect 1 'no such task' eval --model clip.safetensors --state whole.safetensors --task nothing pictures/colours
expect 1 'none' eval --model clip.safetensors pictures/none
# eval and the matrix say the same
"$M" eval --model clip.safetensors --state whole.safetensors pictures/colours >out 2>err
eval=$(sed -n 's/^colours: \([0-9.]*\) %.*/\1/p' out)
[ "$eval" = "$(awk '/^after lines/ {print $3}' whole.results/matrix.txt)" ] || fail "eval: $eval, not as in the matrix"

# classify
expect 0 '0.png  (' classify --model clip.safetensors --state whole.safetensors pictures/colours/test/red/0.png
expect 0 'zero-shot' classify --model clip.safetensors --labels 'red, green ,blue' --top 1 pictures/colours/test/red
[ "$(grep -c '%' "$T/out")" -eq 6 ] || fail "classify: $(cat "$T/out")"
echo "no picture" >broken.png
expect 1 'broken.png' classify --model clip.safetensors --state whole.safetensors --json broken.png \
  pictures/colours/test/red/0.png
[ "$(wc -l <"$T/out")" -eq 2 ] || fail "classify: $(cat "$T/out")"
head -n 1 "$T/out" | grep -q '"error"' || fail "classify: $(cat "$T/out")"
tail -n 1 "$T/out" | grep -q '"labels":\[{"label"' || fail "classify: $(cat "$T/out")"
expect 0 'task lines' classify --model clip.safetensors --state whole.safetensors --task lines \
  pictures/colours/test/red/0.png

# kinds of selector, dynamic experts, what came with each task
for kind in autoencoder gaussian prototypes; do
  expect 0 '4 new experts a block' learn --model clip.safetensors --state $kind.safetensors $small $short --no-eval --quiet \
    --selector $kind pictures/colours
  expect 0 "selector: $kind" info $kind.safetensors
  expect 0 "0.png  (" classify --model clip.safetensors --state $kind.safetensors pictures/colours/test/red/0.png
done
expect 1 'the state was made with gaussian' learn --model clip.safetensors --state gaussian.safetensors --selector prototypes $small \
  $short --no-eval --quiet pictures/colours
expect 1 'not beside a threshold' learn --model clip.safetensors --state x.safetensors $small $short --no-eval --quiet \
  --false-alarms 0.1 --threshold 1 pictures/colours
expect 0 '2 new experts a block' learn --model clip.safetensors --state dynamic.safetensors $small $short --no-eval --quiet \
  --dynamic-experts --dynamic-margin 0.9 pictures/colours
expect 0 'lines: .* 0 new experts a block' learn --model clip.safetensors --state dynamic.safetensors $small $short --no-eval \
  --quiet --dynamic-experts pictures/colours lines=pictures/stripes
expect 0 '0 experts a block, 0 numbers in experts' info dynamic.safetensors
expect 0 '"parameters":' info --json dynamic.safetensors

# prune: smaller, the same answers, and learning goes on
expect 0 'experts left out' prune --model clip.safetensors whole.safetensors --output pruned.safetensors
[ "$(wc -c <pruned.safetensors)" -lt "$(wc -c <whole.safetensors)" ] || fail "prune: not smaller"
for s in whole pruned; do
  "$M" classify --model clip.safetensors --state $s.safetensors --json pictures/colours/test/red \
    >out 2>err || fail "classify after prune: $(cat err)"
  sed 's/,"provenance":.*/}/' out >$s.answers
done
same whole.answers pruned.answers
expect 0 'spots: ' learn --model clip.safetensors --state pruned.safetensors $small $short --no-eval --quiet pictures/colours \
  lines=pictures/stripes pictures/spots
expect 2 'output is missing' prune --model clip.safetensors whole.safetensors

# What is left out of a folder, and a class that a split by chance leaves without training pictures
for i in 1 2 3 4 5 6 7 8; do
  mkdir -p odd/many odd/rare$i
  cp pictures/colours/train/red/$i.png odd/many/ && cp pictures/colours/train/blue/$i.png odd/rare$i/
done
touch odd/many/phone.heic odd/many/old.GIF && cp pictures/colours/train/red/1.png odd/
expect 0 'odd: [1-7] of 9 classes ha.* no training pictures, such as rare[1-8]' learn --model clip.safetensors --state odd.safetensors $small $short \
  --no-eval --quiet odd
expect 0 'odd/many/old.GIF: 2 pictures, this and others, left out: only JPEG, PNG and WebP' eval --model clip.safetensors --quiet odd
expect 0 "odd/1.png: 1 picture left out: in no class's subfolder" eval --model clip.safetensors --quiet odd
expect 0 'odd/many: 2 pictures left out' classify --model clip.safetensors --labels red,blue odd/many
expect 0 '2 of kinds that are not read' index --model clip.safetensors --index odd.sqlite odd
expect 0 '"unread":2' index --json --model clip.safetensors --index odd.sqlite odd
exit $failed
