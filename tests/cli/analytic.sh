#!/bin/sh
# The analytic method and bench xtail from end to end with a tiny CLIP: one pass, killed and gone on with, every command that answers.
# usage: analytic.sh MOECLIP DATA PICTURES
M=$(realpath "$1") DATA=$(realpath "$2") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"

tiny_clip

# --- learn ------------------------------------------------------------------------------------------------------------------
for form in projection kernel; do
  learn() { "$@" learn --model clip.safetensors --state $state --method analytic --ridge-form $form --ridge-hidden 200 --batch 4 \
    --checkpoint-seconds 0 --threads 1 --quiet --heldout spots=pictures/spots pictures/colours lines=pictures/stripes; }
  state=$form.safetensors
  learn "$M" >out 2>err || { fail "learn $form: $(cat err)"; exit 1; }
  grep -q '^after lines ' out || fail "learn $form: $(cat out)"
  state=$form-killed.safetensors part=$form-killed.safetensors.part
  learn killed_at_checkpoints
  cmp -s $form.safetensors $form-killed.safetensors || fail "$form: a run that was killed ends with another state"
  [ -e $part ] && fail "$form: the checkpoint is still there"
  # How the pictures are cut into batches changes nothing in what is learned.
  expect 0 'after lines' learn --model clip.safetensors --state $form-cut.safetensors --method analytic --ridge-form $form \
    --ridge-hidden 200 --batch 7 --threads 1 --quiet pictures/colours lines=pictures/stripes
  # What is learned later changes nothing for held-out pictures (zero-shot, picture by picture the same).
  python3 - $form <<'PYTHON' || fail "$form: the matrix"
import json, sys
rows = json.load(open(f"{sys.argv[1]}.results/matrix.json"))["rows"]
for i, row in enumerate(rows):
    routes = {r["to"]: r["n"] for r in row["cells"]["spots"]["routes"]}
    assert routes == {"zero-shot": row["cells"]["spots"]["n"]} | {t: 0 for t in routes if t != "zero-shot"}, routes
    assert row["cells"]["spots"]["right"] == rows[0]["cells"]["spots"]["right"]
assert rows[2]["cells"]["colours"]["accuracy"] > 0.9 and rows[2]["cells"]["lines"]["accuracy"] > rows[0]["cells"]["lines"]["accuracy"]
PYTHON
  expect 0 'colours' classify --model clip.safetensors --state $form.safetensors pictures/colours/test/*/*.png
  expect 0 'lines' eval --model clip.safetensors --state $form.safetensors lines=pictures/stripes
  expect 0 'analytic' info $form.safetensors
done
cmp -s projection.safetensors kernel.safetensors && fail "--ridge-form changes nothing"

# The state alone says what the regression is: numpy would solve for the same weights.
NUMPY=$(realpath "$DATA/../..")/.deps/tests-venv/bin/python
if "$NUMPY" -c 'import numpy' 2>/dev/null; then
  "$NUMPY" - projection.safetensors projection-cut.safetensors kernel.safetensors <<'PYTHON' || fail "numpy solves for other weights"
import json, sys
import numpy as np
def load(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + n])
    types = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}
    state = json.loads(head.pop("__metadata__")["moeclip.state"])
    return state, {k: np.frombuffer(data[8 + n:][slice(*v["data_offsets"])], types[v["dtype"]]).reshape(v["shape"]) for k, v in head.items()}
def close(a, b, within):
    assert np.abs(a - b).max() <= within * np.abs(b).max(), np.abs(a - b).max() / np.abs(b).max()
whole = []
for path in sys.argv[1:3]:
    state, t = load(path)
    options = state["analytic"]
    g = np.zeros((200, 200))
    g[np.tril_indices(200)] = t["analytic.autocorrelation"]
    g = g + np.tril(g, -1).T + options["ridge"] * np.eye(200)
    close(t["analytic.weights"], np.linalg.solve(g, t["analytic.crosscorrelation"].T).T, 1e-9)
    assert t["analytic.counts"].sum() == sum(task["images"] for task in state["tasks"])
    whole.append(t["analytic.weights"])
close(whole[0], whole[1], 1e-6)  # the towers' float sums may differ by the batch in their last bits
state, t = load(sys.argv[3])
x, options = t["analytic.pictures"].astype(float), state["analytic"]
k = np.exp(-options["gamma"] * ((x[:, None] - x[None]) ** 2).sum(-1))
y = np.eye(len(t["analytic.counts"]))[t["analytic.labels"]]
close(t["analytic.weights"], np.linalg.solve(k + options["ridge"] * np.eye(len(x)), y).T, 1e-6)
PYTHON
fi

# --- what does not fit is said --------------------------------------------------------------------------------------------------
again="learn --model clip.safetensors --state projection.safetensors --quiet pictures/colours"
expect 1 'made with analytic' $again --method moe
expect 1 'ridge-hidden 300: the state was made with 200' $again --ridge-hidden 300
expect 1 'ridge 0.5: the state was made with 0.1' $again --ridge 0.5
expect 1 'the other form' $again --ridge-form kernel
expect 0 'after lines' $again lines=pictures/stripes --ridge 0.1
expect 2 'reference is for the selector' learn --model clip.safetensors --state x.safetensors --method analytic --reference pictures/spots \
  pictures/colours
expect 1 'ridge-pictures' learn --model clip.safetensors --state few.safetensors --method analytic --ridge-form kernel \
  --ridge-pictures 5 --quiet --no-eval pictures/colours
[ -e few.safetensors ] && fail "a task that failed left a state"
expect 1 'no experts' convert --model clip.safetensors projection.safetensors out.pth
cp projection.safetensors damaged.safetensors
printf 'x' | dd of=damaged.safetensors bs=1 seek=$(($(stat -c %s damaged.safetensors) - 9)) conv=notrunc 2>/dev/null
expect 1 'checksum' classify --model clip.safetensors --state damaged.safetensors pictures/colours/test/red/*.png

# --- search: pictures are encoded by the untouched CLIP ---------------------------------------------------------------------------
expect 0 '' index --model clip.safetensors --state projection.safetensors --index i.sqlite --quiet pictures/colours/test
expect 0 'png' search --index i.sqlite red

# --- bench xtail -------------------------------------------------------------------------------------------------------------------
expect 0 '"shots": 16' bench xtail --print-preset
grep -q CIFAR100 out && fail "bench xtail: CIFAR100 is among the sets"
xtail() { "$@" bench xtail --set colours=pictures/colours --set lines=pictures/stripes --heldout spots=pictures/spots \
  --model clip.safetensors --shots 0 --batch 4 --iterations 8 --lr 5e-3 --selector-iterations 8 --experts 4 --bottleneck 4 \
  --selector-hidden 8 --ridge-hidden 200 --threads 1 --checkpoint-seconds 0 --quiet --method $method --out "$out"; }
for method in moe analytic finetune; do
  out=x-$method
  xtail "$M" >log 2>&1 || fail "bench xtail $method: $(tail -n 3 log)"
  out=x-$method-killed part=x-$method-killed/state.safetensors.part
  xtail killed_at_checkpoints
  cmp -s x-$method/state.safetensors x-$method-killed/state.safetensors || fail "bench xtail $method: a killed run ends with another state"
  for folder in x-$method x-$method-killed; do cut -d, -f1-7 $folder/results.csv >$folder.csv; done
  cmp -s x-$method.csv x-$method-killed.csv || fail "bench xtail $method: a killed run ends with other results"
  grep -q published x-$method/table.txt && fail "bench xtail: published numbers of another setting"
done
# All classes at once: no row can be better than over the domain's own classes, and zero-shot is worse.
"$M" bench mtil --set colours=pictures/colours --set lines=pictures/stripes --heldout spots=pictures/spots --model clip.safetensors \
  --shots 0 --batch 4 --experts 4 --bottleneck 4 --selector-hidden 8 --ridge-hidden 200 --threads 1 --quiet --method analytic \
  --preset xtail-16 --out mtil >out 2>err || fail "bench mtil: $(cat err)"
cmp -s mtil/state.safetensors x-analytic/state.safetensors || fail "the setting changes what is learned"
python3 - <<'PYTHON' || fail "bench xtail: the numbers"
import json
mtil, xtail = (json.load(open(f"{n}/matrix.json")) for n in ("mtil", "x-analytic"))
pairs = [(m["cells"][c]["right"], x["cells"][c]["right"]) for m, x in zip(mtil["rows"], xtail["rows"]) for c in m["cells"]]
assert len(pairs) == 9 and sum(m for m, x in pairs[:3]) > sum(x for m, x in pairs[:3]), pairs
assert xtail["run"]["settings"]["setting"] == "xtail" and "setting" not in mtil["run"]["settings"]
assert xtail["last"]["mean"] > xtail["zero_shot"]["mean"] + 0.2, (xtail["last"], xtail["zero_shot"])
PYTHON
expect 0 'after lines' bench xtail --set colours=pictures/colours --set lines=pictures/stripes --heldout spots=pictures/spots \
  --model clip.safetensors --shots 0 --batch 4 --iterations 8 --lr 5e-3 --selector-iterations 8 --experts 4 --bottleneck 4 \
  --selector-hidden 8 --threads 1 --quiet --within-task --out x-within
cmp -s x-moe/state.safetensors x-within/state.safetensors || fail "--within-task changes what is learned"
python3 - <<'PYTHON' || fail "--within-task"
import json
union, within = (json.load(open(f"{n}/matrix.json"))["rows"][2]["cells"] for n in ("x-moe", "x-within"))
own = lambda cells, name: next(r for r in cells[name]["routes"] if r["to"] == name)
for name in ("colours", "lines"):  # a picture in its own task's hands has fewer candidates: what was right stays right
    assert own(within, name)["n"] == own(union, name)["n"] and within[name]["right"] >= union[name]["right"], name
assert sum(within[n]["right"] - union[n]["right"] for n in ("colours", "lines")) > 0, (union, within)
PYTHON
expect 1 'another run' bench xtail --set colours=pictures/colours --set lines=pictures/stripes --heldout spots=pictures/spots \
  --model clip.safetensors --shots 0 --batch 4 --ridge-hidden 200 --quiet --method analytic --out mtil
expect 2 'unknown option' bench xtail --set colours=pictures/colours --model clip.safetensors --out y --eval-only

# --- bench cil ----------------------------------------------------------------------------------------------------------------------
expect 0 'Last' bench cil --set pictures/colours --set pictures/stripes --base 2 --increment 2 --batch 4 --model clip.safetensors \
  --method analytic --ridge-hidden 200 --quiet --out cil
expect 1 'made with --method analytic' bench cil --set pictures/colours --set pictures/stripes --base 2 --increment 2 --batch 4 \
  --model clip.safetensors --quiet --out cil

# --- the method that nobody names ------------------------------------------------------------------------------------------------
method_of() { "$M" info --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"]["mode"])'; }
expect 0 'a new state, by the method analytic' learn --model clip.safetensors --state a1.safetensors --threads 1 --no-eval pictures/colours
expect 0 'a new state, by the method moe' learn --model clip.safetensors --state a2.safetensors --threads 1 --no-eval --iterations 2 --batch 4 \
  --experts 4 --bottleneck 4 --selector-iterations 2 pictures/colours
expect 0 '.' learn --model clip.safetensors --state a3.safetensors --threads 1 --no-eval --quiet --method moe --batch 4 --iterations 2 --experts 4 \
  --bottleneck 4 --selector-iterations 2 pictures/colours
[ "$(method_of a1.safetensors) $(method_of a2.safetensors)" = "analytic moe" ] || fail "methods: $(method_of a1.safetensors), $(method_of a2.safetensors)"
cmp -s a2.safetensors a3.safetensors || fail "a method that is chosen learns other than one that is named"
cp a2.safetensors a4.safetensors
expect 0 '.' learn --model clip.safetensors --state a2.safetensors --threads 1 --no-eval --quiet --batch 4 lines=pictures/stripes
expect 0 '.' learn --model clip.safetensors --state a4.safetensors --threads 1 --no-eval --quiet --method auto --batch 4 lines=pictures/stripes
cmp -s a2.safetensors a4.safetensors && [ "$(method_of a4.safetensors)" = moe ] || fail "a state that is there goes on by another method"

exit $failed
