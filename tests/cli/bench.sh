#!/bin/sh
# `moeclip bench` from end to end on tiny copies of the benchmarks' sets, with the default model. usage: bench.sh MOECLIP DATA PICTURES
# MOECLIP_QUICK: two sets in place of eleven, killed less often (for builds that are many times slower).
M=$(realpath "$1") DATA=$(realpath "$2") PICTURES=$3
ROOT=$(realpath "$DATA/../..")
MODEL=$ROOT/data/model.safetensors
. "$(dirname "$0")/tools/common.sh"

# killed ARGUMENTS...: the same command again and again, killed after 1, 2, 3 ... seconds, until it gets through.
limits='1 2 3 4 6 9 14 30 100 300 900'
[ -z "$MOECLIP_QUICK" ] || limits='1 6 30 100 300 900'
killed() {
  n_killed=0
  for seconds in $limits; do
    timeout -s KILL $seconds "$M" "$@" >"$T/out" 2>"$T/err" </dev/null
    is=$?
    [ $is -eq 137 ] || break
    n_killed=$((n_killed + 1))
  done
  [ $is -eq 0 ] || fail "killed $n_killed times, then: exit code $is: $(tail -n 3 "$T/err")"
  [ $n_killed -gt 0 ] || fail "was never killed: $*"
}

# opens FILE PATTERN...: a page that needs nothing from outside
opens() {
  page=$1
  shift
  grep -qiE '<script|src=|href=|@import|url\(' "$page" && fail "$page wants something from outside"
  for pattern in "$@"; do grep -q "$pattern" "$page" || fail "no \"$pattern\" in $page"; done
  python3 - "$page" <<'PYTHON' || fail "$page is not well-formed"
import html.parser, sys
class Parser(html.parser.HTMLParser):
    void = {"meta", "rect", "line", "circle", "polyline"}
    def __init__(self):
        super().__init__()
        self.open = []
    def handle_starttag(self, tag, attrs):
        if tag not in self.void: self.open.append(tag)
    def handle_endtag(self, tag):
        if tag not in self.void and self.open.pop() != tag: sys.exit(f"</{tag}> at {self.getpos()}")
parser = Parser()
parser.feed(open(sys.argv[1], encoding="utf-8").read())
sys.exit(bool(parser.open))
PYTHON
}

python3 "$ROOT/scripts/tiny_benchmarks.py" "$T/sets" --classes 3 --images 4 >/dev/null || exit 1

# --- presets: printed, edited, given back --------------------------------------------------------------------------------
for preset in order1-full order1-few order2-full order2-few; do
  expect 0 '"name": "SUN397"' bench mtil --preset $preset --print-preset
  cp "$T/out" "$T/$preset.json"
  expect 0 '"format"' bench mtil --preset "$T/$preset.json" --print-preset
  cmp -s "$T/out" "$T/$preset.json" || fail "preset $preset is another after a round trip"
done
python3 - "$T" <<'PYTHON' || fail "the published settings"
import json, sys
full, few, second = (json.load(open(f"{sys.argv[1]}/{n}.json")) for n in ("order1-full", "order1-few", "order2-full"))
assert [s["learning_rate"] for s in full["sets"]] == [5e-3, 1e-3, 5e-3, 1e-3, 1e-4, 1e-3, 1e-3, 1e-4, 1e-3, 1e-3, 1e-3]
assert [s["learning_rate"] for s in few["sets"]] == [8e-3, 5e-4, 2e-4, 5e-3, 1e-3, 1e-3, 1e-2, 1e-4, 1e-2, 1e-2, 1e-2]
assert (full["iterations"], few["iterations"], few["shots"], few["selector_learning_rate"]) == (1000, 500, 5, 0.003)
assert [s["name"] for s in second["sets"]][:2] == ["StanfordCars", "Food"] and second["sets"][10]["name"] == "CIFAR100"
assert (full["experts"], full["top_k"], full["freeze"], full["batch"], full["smoothing"]) == (22, 2, 2, 64, 0.2)
PYTHON
sed 's/"iterations": 1000/"iterations": 7/' "$T/order1-full.json" >"$T/mine.json"
expect 0 '"iterations": 7,' bench mtil --preset "$T/mine.json" --print-preset
expect 0 '"iterations": 9,' bench mtil --preset "$T/mine.json" --print-preset --iterations 9
sed 's/"batch"/"badge"/' "$T/order1-full.json" >"$T/bad.json"
expect 1 'no setting "badge"' bench mtil --preset "$T/bad.json" --print-preset
sed 's/"batch": 64/"batch": 0/' "$T/order1-full.json" >"$T/bad.json"
expect 1 '"batch" must be a whole number from 1' bench mtil --preset "$T/bad.json" --print-preset
sed 's/"DTD"/"DTT"/' "$T/order1-full.json" >"$T/bad.json"
expect 1 'DTT.* none of the data sets' bench mtil --preset "$T/bad.json" --print-preset
expect 1 'no such preset' bench mtil --preset order3 --print-preset
expect 1 'not among the preset' bench mtil --sets DTD,Foo --print-preset
for preset in cifar100-10 cifar100-20 cifar100-50 tinyimagenet-5 tinyimagenet-10 tinyimagenet-20 imagenet100-10; do
  expect 0 '"template": "a bad photo of a {}."' bench cil --preset $preset --print-preset
  cp "$T/out" "$T/cil.json"
  expect 0 '"format"' bench cil --preset "$T/cil.json" --print-preset
  cmp -s "$T/out" "$T/cil.json" || fail "preset $preset is another after a round trip"
done
expect 2 'unknown kind of bench' bench nothing
expect 0 'bench cil' bench --help
expect 2 '\-\-data is missing' bench mtil --model "$MODEL" --out "$T/x"

# --- all eleven sets, unbroken and killed again and again: the same state and the same results -----------------------------
some= n_sets=11
[ -z "$MOECLIP_QUICK" ] || some='--sets CIFAR100,SUN397' n_sets=2
mtil() { "$@" bench mtil $some --data "$T/sets" --model "$MODEL" --iterations 4 --batch 6 --selector-iterations 6 --reference-iterations 6 \
  --lr 2e-3 --selector-hidden 16 --experts 22 --threads 2 --seed 3 --checkpoint-seconds 0 --quiet --out "$out"; }
out=$T/whole
mtil "$M" >"$T/log" 2>&1 || fail "bench mtil: $(tail -n 3 "$T/log")"
out=$T/broken
mtil killed
cmp -s "$T/whole/state.safetensors" "$T/broken/state.safetensors" || fail "a run that was killed ends with another state"
cut -d, -f1-7 "$T/whole/results.csv" >"$T/a.csv"
cut -d, -f1-7 "$T/broken/results.csv" >"$T/b.csv"
cmp -s "$T/a.csv" "$T/b.csv" || fail "a run that was killed ends with other results"
[ "$(wc -l <"$T/a.csv")" -eq $((1 + (1 + n_sets) * n_sets)) ] || fail "not a row before and after each of $n_sets sets in results.csv"
grep -q 'MoE-Adapters (published) *68.9 *76.7 *85.0' "$T/whole/table.txt" || fail "no published numbers in table.txt"
opens "$T/whole/report.html" 'SUN397, text tower' 'Transfer' 'continual fine-tuning (published)'
expect 1 'another run' bench mtil --data "$T/sets" --model "$MODEL" --iterations 5 --quiet --out "$T/whole"
expect 1 'is missing: download http' bench mtil --data "$T" --model "$MODEL" --out "$T/x"

# --- ablations: each changes what it says -----------------------------------------------------------------------------------
small() { name=$1; shift; expect 0 'Last' bench mtil --data "$T/sets" --model "$MODEL" --sets DTD,MNIST --iterations 2 --batch 4 \
  --selector-iterations 2 --reference-iterations 2 --selector-hidden 8 --bottleneck 8 --quiet --out "$T/$name" "$@"; }
small plain
small one --experts 1 --top-k 1 --freeze 0
small shared --shared-router --experts 4
small image --image-only --experts 4
small none --freeze 0 --experts 4
small given --no-selector --experts 4
small balance --balance 0.01 --experts 4
small few --preset order2-few --experts 4 --shots 2
small batch --as-published --experts 4
small tuned --mode finetune
expect 0 'after own' bench mtil --set own="$T/sets/dtd/dtd/images" --set digits="$T/sets/MNIST" --template 'a {} texture.' --model "$MODEL" \
  --iterations 2 --batch 4 --selector-iterations 2 --quiet --out "$T/own"
# Again, with one more: without a reference set there is none to be missed.
expect 0 'own is known already' bench mtil --set own="$T/sets/dtd/dtd/images" --set digits="$T/sets/MNIST" --template 'a {} texture.' \
  --model "$MODEL" --iterations 2 --batch 4 --selector-iterations 2 --out "$T/own"
rm "$T/own/matrix.json"
expect 0 'after more' bench mtil --set own="$T/sets/dtd/dtd/images" --set digits="$T/sets/MNIST" --set more="$T/sets/dtd/dtd/images" \
  --template 'a {} texture.' --model "$MODEL" --iterations 2 --batch 4 --selector-iterations 2 --quiet --out "$T/own"
# The preset's reference set is not in the folder: said once, and no reason to stop when the run goes on.
mkdir "$T/no-tiny"
ln -s "$T/sets/dtd" "$T/sets/MNIST" "$T/no-tiny/"
for sets in DTD DTD,MNIST; do
  expect 0 'without a reference set: TinyImageNet' bench mtil --data "$T/no-tiny" --sets $sets --model "$MODEL" --iterations 2 --batch 4 \
    --selector-iterations 2 --out "$T/no-reference"
  rm -f "$T/no-reference/matrix.json"
done
grep -q published "$T/own/table.txt" && fail "published numbers beside the user's own pictures"
for name in one shared image none given balance few batch tuned; do
  cmp -s "$T/plain/state.safetensors" "$T/$name/state.safetensors" && fail "--$name changes nothing"
done
"$M" info "$T/shared/state.safetensors" >/dev/null || fail "info of a state with one router"
python3 - "$T/given/matrix.json" <<'PYTHON' || fail "--no-selector routes wrongly"
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
for name in ("DTD", "MNIST"):
    for i, row in enumerate(rows):
        routes = {r["to"]: r["n"] for r in row["cells"][name]["routes"]}
        learned = i >= (1 if name == ([r["after"] for r in rows[1:]][0]) else 2)
        assert routes.get(name if learned else "zero-shot") == row["cells"][name]["n"], (name, i, routes)
PYTHON

# --- released checkpoints: the same numbers as the runs that they were made of ------------------------------------------------
python3 - "$T" <<'PYTHON'
import json, sys
preset = json.load(open(f"{sys.argv[1]}/order1-full.json"))
preset["sets"] = [s for s in preset["sets"] if s["name"] in ("DTD", "MNIST")]
json.dump(preset, open(f"{sys.argv[1]}/two.json", "w"))
PYTHON
two() { expect 0 'Last' bench mtil --data "$T/sets" --model "$MODEL" --preset "$T/two.json" --selector autoencoder --threshold 0.06 --quiet \
  --out "$@"; }
mkdir "$T/released"
for set in DTD MNIST; do
  sets=DTD
  [ $set = DTD ] || sets=DTD,MNIST
  two "$T/to-$set" --sets $sets --iterations 3 --batch 6 --selector-iterations 4 --reference-iterations 4 --selector-hidden 8
  expect 0 "$set.pth" convert --model "$MODEL" --autochooser "$T/released/${set}_autochooser.pth" "$T/to-$set/state.safetensors" \
    "$T/released/$set.pth"
done
two "$T/from-released" --checkpoints "$T/released" --eval-only
cut -d, -f1-7 "$T/to-MNIST/results.csv" >"$T/a.csv"
cut -d, -f1-7 "$T/from-released/results.csv" >"$T/b.csv"
cmp -s "$T/a.csv" "$T/b.csv" || fail "released checkpoints score otherwise: $(diff "$T/a.csv" "$T/b.csv")"
opens "$T/from-released/report.html" 'MNIST'
rm "$T/released/MNIST_autochooser.pth"
expect 1 'MNIST_autochooser.pth' bench mtil --data "$T/sets" --model "$MODEL" --preset "$T/two.json" --selector autoencoder --quiet --out "$T/missing" \
  --checkpoints "$T/released" --eval-only
expect 2 'eval-only needs --checkpoints' bench mtil --data "$T/sets" --model "$MODEL" --out "$T/x" --eval-only

# --- class-incremental: the same, and the published test's noise and crops ----------------------------------------------------
python3 "$ROOT/scripts/tiny_benchmarks.py" "$T/cil-sets" --classes 8 --images 6 --only CIFAR100,MNIST >/dev/null || exit 1
cil() { "$@" bench cil --data "$T/cil-sets" --model "$MODEL" --base 2 --increment 2 --batch 4 --seed 5 --checkpoint-seconds 0 --quiet \
  --threads 2 --out "$out"; }
out=$T/cil-whole
cil "$M" >"$T/log" 2>&1 || fail "bench cil: $(tail -n 3 "$T/log")"
out=$T/cil-broken
cil killed
cmp -s "$T/cil-whole/state.safetensors" "$T/cil-broken/state.safetensors" || fail "bench cil: a killed run ends with another state"
cmp -s "$T/cil-whole/results.csv" "$T/cil-broken/results.csv" || fail "bench cil: a killed run ends with other results"
[ "$(wc -l <"$T/cil-whole/results.csv")" -eq $((1 + 4 + 1 + 2 + 3 + 4)) ] || fail "bench cil: not 4 steps: $(cat "$T/cil-whole/results.csv")"
grep -q 'Avg .* 85.21' "$T/cil-whole/table.txt" || fail "no published numbers in the table of bench cil"
opens "$T/cil-whole/report.html" 'classes of step 4' 'forward transfer'
expect 0 'Last' bench cil --data "$T/cil-sets" --model "$MODEL" --base 2 --increment 2 --batch 4 --seed 5 --quiet --threads 2 \
  --out "$T/cil-published" --as-published
cmp -s "$T/cil-whole/state.safetensors" "$T/cil-published/state.safetensors" || fail "--as-published changes the training"
cut -d, -f3- "$T/cil-whole/results.csv" | cmp -s - "$T/cil-published/results.csv" && fail "--as-published changes nothing"
expect 0 'Last' bench cil --set a="$T/cil-sets/MNIST" --set b="$T/sets/dtd/dtd/images" --base 3 --increment 2 --batch 4 \
  --model "$MODEL" --quiet --out "$T/cil-own"
grep -q published "$T/cil-own/table.txt" && fail "published numbers beside the user's own classes"
expect 1 'last step of one class' bench cil --set b="$T/sets/dtd/dtd/images" --base 2 --model "$MODEL" --out "$T/x"

exit $failed
