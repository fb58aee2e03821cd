#!/bin/sh
# The baselines from end to end with a tiny CLIP: killed and gone on with, held against numpy, what does not fit is said.
# usage: baselines.sh MOECLIP DATA PICTURES
M=$(realpath "$1") DATA=$(realpath "$2") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"

tiny_clip

learn() { "$@" learn --model clip.safetensors --state $state --method $method --batch 4 --iterations 8 --lr 1e-3 \
  --checkpoint-seconds 0 --threads 1 --quiet --heldout spots=pictures/spots $more pictures/colours lines=pictures/stripes; }
more=
for method in zero-shot linear-probe finetune wise-ft lwf; do
  state=$method.safetensors
  learn "$M" >out 2>err || { fail "learn $method: $(cat err)"; exit 1; }
  grep -q '^after lines ' out || fail "learn $method: $(cat out)"
  expect 0 "$method" info $state
  expect 0 'lines' eval --model clip.safetensors --state $state lines=pictures/stripes
  expect 0 'png' classify --model clip.safetensors --state $state pictures/colours/test/*/*.png
  expect 0 'png' classify --model clip.safetensors --state $state --task colours pictures/colours/test/*/*.png
  expect 0 'png' classify --model clip.safetensors --state $state --labels 'red,a dog,blue' pictures/colours/test/*/*.png
  expect 1 "made with $method" learn --model clip.safetensors --state $state --quiet --method moe pictures/colours
  [ $method = zero-shot ] || [ $method = finetune ] && continue
  state=$method-killed.safetensors part=$method-killed.safetensors.part
  learn killed_at_checkpoints
  cmp -s $method.safetensors $state || fail "$method: a run that was killed ends with another state"
  [ -e $part ] && fail "$method: the checkpoint is still there"
done
python3 - <<'PYTHON' || fail "the matrices"
import json
zero, probe = (json.load(open(f"{m}.results/matrix.json"))["rows"] for m in ("zero-shot", "linear-probe"))
for rows in (zero, probe):
    assert len(rows) == 3 and all(r["cells"]["spots"]["right"] == rows[0]["cells"]["spots"]["right"] for r in rows)
assert all(r["cells"] [c]["right"] == zero[0]["cells"][c]["right"] for r in zero for c in r["cells"])
assert probe[2]["cells"]["colours"]["accuracy"] > 0.9
assert probe[2]["cells"]["lines"]["accuracy"] > probe[0]["cells"]["lines"]["accuracy"] + 0.1
assert probe[1]["cells"]["colours"]["right"] == probe[2]["cells"]["colours"]["right"]
PYTHON
for setting in xtail mtil; do
  expect 0 'after lines' bench $setting --preset xtail-16 --set colours=pictures/colours --set lines=pictures/stripes \
    --heldout spots=pictures/spots --model clip.safetensors --shots 0 --batch 4 --threads 1 --quiet --method linear-probe --out $setting
done
expect 0 'Last' bench cil --set pictures/colours --set pictures/stripes --base 2 --increment 2 --batch 4 --model clip.safetensors \
  --method linear-probe --quiet --out cil
expect 1 'probe-l2 0.5: the state was made with 0.003' learn --model clip.safetensors --state linear-probe.safetensors --quiet \
  --probe-l2 0.5 pictures/colours
expect 1 'no experts' convert --model clip.safetensors linear-probe.safetensors out.pth

# WiSE-FT fine-tunes as the baseline does, and 1 and 0 are the two that it averages. LwF without its term is fine-tuning.
method=wise-ft
for alpha in 0 1; do
  state=wise-$alpha.safetensors more="--wise-alpha $alpha"
  learn "$M" >out 2>err || fail "wise-ft $alpha: $(cat err)"
done
method=lwf state=lwf-0.safetensors more="--lwf-weight 0"
learn "$M" >out 2>err || fail "lwf 0: $(cat err)"
more=
expect 1 'wise-alpha 0.25: the state was made with 0.5' learn --model clip.safetensors --state wise-ft.safetensors --quiet \
  --wise-alpha 0.25 pictures/colours
expect 1 'lwf-weight 3: the state was made with 1' learn --model clip.safetensors --state lwf.safetensors --quiet --lwf-weight 3 \
  pictures/colours
python3 - <<'PYTHON' || fail "fine-tuning's relatives"
import json
def load(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__")
    return {k: data[8 + n:][slice(*v["data_offsets"])] for k, v in head.items()}
def rights(name):
    return [{c: cell["right"] for c, cell in r["cells"].items()} for r in json.load(open(f"{name}.results/matrix.json"))["rows"]]
tuned = load("finetune.safetensors")
for name in ("wise-ft", "wise-0", "wise-1", "lwf-0"):
    assert load(f"{name}.safetensors") == tuned, name
lwf = load("lwf.safetensors")
assert lwf.keys() == tuned.keys() and lwf != tuned
assert rights("wise-1") == rights("lwf-0") == rights("finetune")
assert rights("wise-0") == rights("zero-shot") != rights("finetune")
PYTHON

# The heads are what Newton's method in numpy finds. The features come from another method's state, which keeps them.
NUMPY=$(realpath "$DATA/../..")/.deps/tests-venv/bin/python
if "$NUMPY" -c 'import numpy' 2>/dev/null; then
  expect 0 'after lines' learn --model clip.safetensors --state kernel.safetensors --method analytic --ridge-form kernel --batch 4 \
    --threads 1 --quiet pictures/colours lines=pictures/stripes
  # WiSE-FT answers as a CLIP whose weights numpy has averaged.
  "$NUMPY" - <<'PYTHON' || fail "numpy cannot average"
import json
import numpy as np
def load(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + n]), data[8 + n:]
head, data = load("clip.safetensors")
tuned_head, tuned_data = load("wise-ft.safetensors")
out = bytearray(data)
n_mixed = 0
for name, v in head.items():
    if name == "__metadata__" or name not in tuned_head:
        continue
    assert v["dtype"] == "F32" and v["shape"] == tuned_head[name]["shape"], (name, v)
    a, b = (np.frombuffer(d[slice(*h[name]["data_offsets"])], "<f4") for h, d in ((head, data), (tuned_head, tuned_data)))
    out[slice(*v["data_offsets"])] = (0.5 * a.astype(float) + 0.5 * b.astype(float)).astype("<f4").tobytes()
    n_mixed += 1
assert n_mixed == len(tuned_head) - 1, n_mixed
head["__metadata__"] = {k: v for k, v in head.get("__metadata__", {}).items() if "checksum" not in k}
text = json.dumps(head).encode()
text += b" " * (-len(text) % 8)
open("average.safetensors", "wb").write(len(text).to_bytes(8, "little") + text + bytes(out))
PYTHON
  expect 0 'png' classify --model average.safetensors --labels red,green,blue,vertical,horizontal pictures/*/test/*/*.png
  cp out average.txt
  expect 0 'png' classify --model clip.safetensors --state wise-ft.safetensors --labels red,green,blue,vertical,horizontal \
    pictures/*/test/*/*.png
  cp out wise.txt
  expect 0 'png' classify --model clip.safetensors --state finetune.safetensors --labels red,green,blue,vertical,horizontal \
    pictures/*/test/*/*.png
  cmp -s average.txt wise.txt || fail "WiSE-FT answers otherwise than the average: $(diff average.txt wise.txt | head -n 4)"
  cmp -s out wise.txt && fail "WiSE-FT answers as what was fine-tuned"
  "$NUMPY" - linear-probe.safetensors kernel.safetensors <<'PYTHON' || fail "numpy finds other heads"
import json, sys
import numpy as np
def load(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + n])
    types = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}
    state = json.loads(head.pop("__metadata__")["moeclip.state"])
    return state, {k: np.frombuffer(data[8 + n:][slice(*v["data_offsets"])], types[v["dtype"]]).reshape(v["shape"]) for k, v in head.items()}
state, t = load(sys.argv[1])
_, kept = load(sys.argv[2])
assert set(t) == {"probe.weights"}, set(t)  # no picture's features stay
first, l2 = 0, state["linear-probe"]["l2"]
for task in state["tasks"]:
    c = len(task["classes"])
    mine = (kept["analytic.labels"] >= first) & (kept["analytic.labels"] < first + c)
    x = kept["analytic.pictures"][mine].astype(float)
    x, y = np.hstack([x, np.ones((len(x), 1))]), np.eye(c)[kept["analytic.labels"][mine] - first]
    d = x.shape[1]
    w, penalty = np.zeros((c, d)), np.tile(np.r_[np.full(d - 1, l2), 0], c)
    objective = lambda w: np.sum(np.log(np.exp(x @ w.T).sum(1)) - (x @ w.T * y).sum(1)) + (penalty * w.ravel() ** 2).sum() / 2
    for _ in range(100):
        p = np.exp(x @ w.T)
        p /= p.sum(1, keepdims=True)
        g = ((p - y).T @ x).ravel() + penalty * w.ravel()
        h = np.einsum("na,nab,nd,ne->adbe", np.ones((len(x), 1)).repeat(c, 1), p[:, :, None] * np.eye(c) - p[:, :, None] * p[:, None], x, x)
        step = np.linalg.lstsq(h.reshape(c * d, c * d) + np.diag(penalty), g, rcond=None)[0].reshape(c, d)
        length = 1.0
        while objective(w - length * step) > objective(w) and length > 1e-6:
            length /= 2
        w = w - length * step
    assert np.abs(g).max() < 1e-6, np.abs(g).max()
    found = t["probe.weights"][first:first + c]
    found = np.c_[found[:, :-1], found[:, -1] - found[:, -1].mean()]  # all biases may be moved together
    w = np.c_[w[:, :-1], w[:, -1] - w[:, -1].mean()]
    assert np.abs(found - w).max() < 1e-3 * np.abs(w).max(), (np.abs(found - w).max(), np.abs(w).max())
    first += c
PYTHON
fi

exit $failed
