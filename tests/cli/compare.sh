#!/bin/sh
# bench compare from end to end with a tiny CLIP: both orders, two seeds; its numbers against those of its runs; killed and gone on with.
# usage: compare.sh MOECLIP DATA PICTURES
M=$(realpath "$1") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"

tiny_clip

common="bench compare --model clip.safetensors --batch 4 --threads 1 --quiet --lr 1e-4 --lr finetune=1e-3"
shared="$common --iterations 8"
domains="pictures/colours lines=pictures/stripes"
with="linear-probe=--probe-l2 0.3"
expect 0 'finetune .* both ' $shared --out c --methods zero-shot,finetune,linear-probe --orders both --seeds 2 --with "$with" $domains
cmp -s out c/compare.txt || fail "compare.txt is not what is printed"
expect 0 'Average' learn --model clip.safetensors --state alone.safetensors --method finetune --iterations 8 --batch 4 --threads 1 --quiet \
  --lr 1e-3 --seed 2 lines=pictures/stripes pictures/colours
cmp -s alone.safetensors c/finetune-reversed-2/state.safetensors || fail "a run of the comparison is not what learn does"
python3 - <<'PYTHON' || fail "the numbers"
import json, statistics as st, xml.dom.minidom as dom
c = json.load(open("c/compare.json"))
assert len(c["runs"]) == 12 and len(c["rows"]) == 9
for row in c["rows"]:
    mine = [r for r in c["runs"] if r["method"] == row["method"] and row["order"] in ("both", r["order"])]
    assert len(mine) == row["runs"] == (4 if row["order"] == "both" else 2)
    for key, name in (("transfer", "transfer"), ("average", "average"), ("last", "last")):
        values = [json.load(open(f"{r['folder']}/matrix.json"))[name]["mean"] for r in mine]
        assert abs(row[key]["mean"] - st.mean(values)) < 1e-9 and abs(row[key]["spread"] - st.stdev(values)) < 1e-9, (row, key)
    blind = [[json.loads(line)["accuracy"] for line in open(f"{r['folder']}/no-labels.json")] for r in mine]
    assert all(len(b) == 2 for b in blind) and abs(row["no_labels"]["mean"] - st.mean(sum(b) / 2 for b in blind)) < 1e-9, row
    assert row["heldout"]["mean"] is None, row
    trained = [t["trainable"] for r in mine for t in json.load(open(f"{r['folder']}/matrix.json"))["learned"].values()]
    assert abs(row["trained"]["mean"] - st.mean(trained)) < 1e-6
    assert row["peak_bytes"]["mean"] > 1e6
mean = {(r["method"], r["order"]): r for r in c["rows"]}
assert mean["zero-shot", "both"]["trained"]["mean"] == 0 < mean["finetune", "both"]["trained"]["mean"]
assert mean["finetune", "both"]["last"]["mean"] > mean["zero-shot", "both"]["last"]["mean"]
probe = json.load(open("c/linear-probe-given-1/matrix.json"))["run"]
assert probe["linear-probe"]["l2"] == 0.3 and probe["seed"] in (1, "1"), probe
assert len([r for r in dom.parse("c/compare.svg").getElementsByTagName("rect")]) >= 9
PYTHON

# Without --methods all are compared, zscl with a reference set, which goes to moe and zscl alone; joint training takes twice the steps for
# its second task.
expect 0 '^joint .* given ' $shared --out all --reference pictures/spots --with "moe=--experts 4 --selector-iterations 5 --reference-iterations 5" \
  --with "icarl=--exemplars 14" --heldout pictures/spots $domains
python3 - <<'PYTHON' || fail "all methods"
import json
for row in json.load(open("all/compare.json"))["rows"]:
    first, *_, last = json.load(open(f"all/{row['method']}-given-1/matrix.json"))["rows"]
    assert row["heldout"]["mean"] == last["cells"]["spots"]["accuracy"] and row["heldout_before"]["mean"] == first["cells"]["spots"]["accuracy"], row
rows = [r["method"] for r in json.load(open("all/compare.json"))["rows"]]
assert rows == ["zero-shot", "linear-probe", "analytic", "moe", "finetune", "wise-ft", "lwf", "zscl", "icarl", "joint"], rows
for method in rows:
    command = json.load(open(f"all/{method}-given-1/run.json"))["command"]
    assert ("--reference=pictures/spots" in command) == (method in ("moe", "zscl")), command
    evaluation = [json.loads(line) for line in open(f"all/{method}-given-1/no-labels.json")]
    assert all(e["provenance"]["options"]["no-labels"] is True for e in evaluation) and [e["name"] for e in evaluation] == ["colours", "lines"]
assert [t["iterations"] for t in json.load(open("all/joint-given-1/matrix.json"))["learned"].values()] == [9, 18]
PYTHON

# Without labels: what classify says of the same pictures, one by one.
for method in zero-shot linear-probe analytic moe finetune icarl; do
  "$M" classify --model clip.safetensors --state all/$method-given-1/state.safetensors --threads 1 --json pictures/colours/test/* pictures/stripes/test/* \
    >answers.$method 2>err || fail "classify after $method: $(cat err)"
done
python3 - <<'PYTHON' || fail "without labels"
import json
for method in ("zero-shot", "linear-probe", "analytic", "moe", "finetune", "icarl"):
    right = {"colours": 0, "stripes": 0}
    for line in open(f"answers.{method}"):
        a = json.loads(line)
        _, domain, _, name, _ = a["image"].split("/")
        right[domain] += a["labels"][0]["label"] == name.replace("_", " ")
    measured = [json.loads(line)["right"] for line in open(f"all/{method}-given-1/no-labels.json")]
    assert measured == list(right.values()), (method, measured, right)
PYTHON
expect 2 'do not go with it' eval --model clip.safetensors --state all/moe-given-1/state.safetensors --no-labels --template "a {}" pictures/colours
expect 1 'nothing was learned yet' eval --model clip.safetensors --no-labels pictures/colours
expect 1 'not among the labels' eval --model clip.safetensors --state all/moe-given-1/state.safetensors --no-labels pictures/spots

# What is done is not done again; further methods join; other options are refused.
ids() { stat -c %Y%i c/finetune-*/*.json c/linear-*/*.json c/zero-*/*.json c/finetune-*/*.safetensors c/linear-*/*.safetensors c/zero-*/*.safetensors; }
before=$(ids)
expect 0 'lwf' $shared --out c --methods zero-shot,finetune,linear-probe,lwf --orders both --seeds 2 --with "$with" $domains
[ "$before" = "$(ids)" ] ||
  fail "what was done is done again"
expect 1 'other options' $shared --out c --methods finetune --smoothing 0.3 $domains
python3 - <<'PYTHON' || fail "what made compare.json"
import json
p = json.load(open("c/compare.json"))["provenance"]
assert p["command"] == "bench compare" and p["options"]["seeds"] == 2 and p["options"]["lr"] == ["1e-4", "finetune=1e-3"], p
assert p["inputs"]["model"]["sha256"] and [d["name"] for d in p["inputs"]["datasets"]] == ["colours", "lines"], p["inputs"]
PYTHON
for file in run.json matrix.json no-labels.json; do
  cp c/zero-shot-given-1/$file kept
  echo '{"command": [' >c/zero-shot-given-1/$file
  expect 1 "zero-shot-given-1/$file: .*remove its folder to run it again" $shared --out c --methods zero-shot,finetune $domains
  cp kept c/zero-shot-given-1/$file
done
expect 2 'no method "nonsense"' $shared --out c --methods finetune,nonsense $domains
expect 2 'names none of the methods' $shared --out c --methods zero-shot $domains
expect 2 'twice' $shared --out c --methods lwf,lwf $domains
expect 2 'at least two' bench compare --model clip.safetensors --out c pictures/colours
expect 1 'this run failed' $shared --out bad --methods finetune pictures/colours lines=pictures/nowhere

# Killed with the run that it waits for, then gone on with: the same states.
"$M" $common --out k --methods finetune --iterations 300 $domains >out 2>err &
running=$! i=0
while [ ! -e k/finetune-given-1/state.safetensors ] && [ $i -lt 2000 ] && kill -0 $running 2>/dev/null; do
  sleep 0.01
  i=$((i + 1))
done
kill -TERM $running
wait $running
[ $? -eq 143 ] || fail "a comparison that is stopped does not say so: $(cat err)"
[ -e k/compare.txt ] && fail "a stopped comparison has a table"
expect 0 'finetune' $common --out k --methods finetune --iterations 300 $domains
cp k/finetune-given-1/state.safetensors k.safetensors
# Killed: its run goes too.
rm -rf k
"$M" $common --out k --methods finetune --iterations 100000 --with "finetune=--checkpoint-seconds 0" $domains >out 2>err &
running=$! i=0
while [ ! -e k/finetune-given-1/state.safetensors.part ] && [ $i -lt 2000 ]; do sleep 0.01; i=$((i + 1)); done
kill -KILL $running
wait $running
i=0
while grep -qs k/finetune-given-1/state /proc/[0-9]*/cmdline && [ $i -lt 500 ]; do sleep 0.01; i=$((i + 1)); done
[ $i -lt 500 ] || fail "a run outlives the comparison that was killed"
expect 0 'finetune' $common --out whole --methods finetune --iterations 300 $domains
cmp -s k.safetensors whole/finetune-given-1/state.safetensors || fail "a stopped comparison ends with another state"

exit $failed
