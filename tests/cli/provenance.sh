#!/bin/sh
# What results say of how they were made (docs/RESULTS.md): the hashes are checked against Python's own, and change when an input does.
# usage: provenance.sh MOECLIP DATA PICTURES
M=$(realpath "$1") DATA=$2 PICTURES=$3
. "$(dirname "$0")/tools/common.sh"
"$PICTURES" "$T/pictures" || exit 1
cd "$T" || exit 1
cp pictures/colours/train/red/0.png one.png
"$M" pretrain --pairs pictures/colours/train --out clip.safetensors --image-size 16 --patch 8 --visual-layers 2 --visual-width 64 \
  --visual-hidden 64 --context 12 --vocabulary 600 --text-layers 2 --text-width 64 --text-hidden 64 --embed 32 --epochs 2 --batch 6 \
  --warmup 5 --threads 1 --seed 12345678901234567890 --quiet --json >pretrain.json 2>err || { fail "pretrain: $(cat err)"; exit 1; }
learn() { # STATE EXTRA...
  state=$1
  shift
  "$M" learn --model clip.safetensors --state "$state" --experts 4 --bottleneck 4 --selector-hidden 8 --selector-iterations 5 --batch 8 \
    --threads 1 --seed 7 --quiet "$@" >out 2>err || { fail "learn $*: $(cat err)"; exit 1; }
}
learn s.safetensors --iterations 4 --heldout pictures/stripes pictures/colours
cp s.results/matrix.json first.json
learn s.safetensors --iterations 4 --heldout pictures/stripes pictures/colours   # the same again: nothing to add
cp s.results/matrix.json same.json
learn s.safetensors --iterations 5 --heldout pictures/stripes pictures/colours   # another command on the same results
cp s.results/matrix.json other.json
"$M" eval --model clip.safetensors --state s.safetensors --threads 1 --quiet --json pictures/colours pictures/stripes >eval.json || fail eval
cp -r pictures/colours moved
"$M" eval --model clip.safetensors --threads 1 --quiet --json moved >moved.json || fail moved
mv moved/test/red/1.png moved/test/red/renamed.png
"$M" eval --model clip.safetensors --threads 1 --quiet --json moved >renamed.json || fail renamed
mv moved/test/red/renamed.png moved/test/red/1.png
printf x >>moved/test/red/1.png
"$M" eval --model clip.safetensors --threads 1 --quiet --json moved >longer.json || fail longer
# A picture inside another file is hashed with its pixels: rows of 4 pixels and a label.
printf '1,2,3,4,0\n5,6,7,8,1\n9,8,7,6,0\n5,4,3,2,1\n' >a.csv
sed 's/9,8/9,9/' a.csv >b.csv
"$M" eval --model clip.safetensors --threads 1 --quiet --train-fraction 0.5 --json a.csv b.csv >csv.json || fail csv
"$M" convert clip.safetensors half.safetensors --dtype f16 --json >convert.json || fail convert
"$M" convert half.safetensors half.safetensors --dtype f32 --json >inplace.json || fail "convert in place"
"$M" index --model clip.safetensors --state s.safetensors --index i.sqlite --threads 1 --quiet --json pictures/spots >index.json || fail index
"$M" search --index i.sqlite --threads 1 --json --image one.png --open-html found.html red >search.json || fail search
"$M" index --index i.sqlite --threads 1 --quiet --json >again.json || fail "index again"
printf 'red\nblue\n' >labels.txt
"$M" classify --model clip.safetensors --state s.safetensors --labels-file labels.txt --json --threads 1 one.png one.png >classify.json || fail classify
"$M" prune --model clip.safetensors s.safetensors --output small.safetensors --json >prune.json || fail prune
python3 - "$M" <<'PYTHON' || fail "the results do not say how they were made"
import hashlib, json, os, struct, subprocess, sys

def load(name):
    with open(name) as f:
        text = f.read()
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]

def sha(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()

def same_file(input, path):
    assert input["sha256"] == sha(path) and input["bytes"] == os.path.getsize(path), (input, path)

version = subprocess.run([sys.argv[1], "--version"], capture_output=True, text=True).stdout
def same_program(p):
    assert p["program"]["version"] in version and p["program"]["cpu"] in version, p["program"]
    for name, of in p["program"]["libraries"].items():
        assert name in version and of in version, name

def u64(v):
    return struct.pack("<Q", v)

def dataset_hash(root, classes):
    h = hashlib.sha256(b"moeclip data set 1\n" + u64(len(classes)) + b"".join(c.encode() + b"\0" for c in classes))
    for split in ("train", "test"):
        names = sorted(f"{split}/{c}/{n}" for c in classes for n in os.listdir(f"{root}/{split}/{c}"))
        h.update(u64(len(names)))
        for name in names:
            h.update(name.encode() + b"\0" + u64(classes.index(name.split("/")[1])) + u64(os.path.getsize(f"{root}/{name}")))
    return h.hexdigest()

# pre-training
p = load("pretrain.json")[0]["provenance"]
same_program(p)
assert p["command"] == "pretrain" and p["seed"] == "12345678901234567890" and p["options"]["image-size"] == 16, p
names = sorted(os.path.join(d, n) for d, _, files in os.walk("pictures/colours/train") for n in files)
h = hashlib.sha256(b"moeclip folder 1\n")
for n in names:
    h.update(os.path.relpath(n, "pictures/colours/train").encode() + b"\0" + u64(os.path.getsize(n)))
assert p["inputs"]["pairs"]["sha256"] == h.hexdigest() and p["inputs"]["pairs"]["files"] == len(names), p["inputs"]

# learning
first, same, other = (load(n)[0]["provenance"] for n in ("first.json", "same.json", "other.json"))
assert len(first) == 1 and same == first and len(other) == 2 and other[0] == first[0], (len(first), len(same), len(other))
p = first[0]
same_program(p)
assert p["command"] == "learn" and p["seed"] == "7" and p["arguments"] == ["pictures/colours"], p
assert p["options"]["iterations"] == 4 and other[1]["options"]["iterations"] == 5 and p["options"]["heldout"] == ["pictures/stripes"]
assert p["options"]["mode"] == "moe" and p["options"]["selector-hidden"] == 8, p["options"]
same_file(p["inputs"]["model"], "clip.safetensors")
colours, stripes = p["inputs"]["datasets"]
assert colours["sha256"] == dataset_hash("pictures/colours", ["blue", "green", "red"]), colours
assert stripes["sha256"] == dataset_hash("pictures/stripes", ["across", "down", "slanted"]), stripes

# evaluating: a data set's hash does not depend on where it lies, but on names and sizes
a, b = (o["provenance"] for o in load("eval.json"))
same_file(a["inputs"]["state"], "s.safetensors")
assert a["inputs"]["datasets"] == [colours] and b["inputs"]["datasets"] == [stripes], a
moved, renamed, longer = (load(n)[0]["provenance"]["inputs"]["datasets"][0] for n in ("moved.json", "renamed.json", "longer.json"))
assert moved["sha256"] == colours["sha256"] and len({moved["sha256"], renamed["sha256"], longer["sha256"]}) == 3
one, two = (o["provenance"]["inputs"]["datasets"][0] for o in load("csv.json"))
assert one["sha256"] != two["sha256"], one

# converting, also onto the same file
same_file(load("convert.json")[0]["provenance"]["inputs"]["in"], "clip.safetensors")
inplace = load("inplace.json")[0]["provenance"]["inputs"]["in"]
assert inplace["sha256"] != sha("half.safetensors") and inplace["bytes"] < os.path.getsize("half.safetensors"), inplace

# classifying: the first line says it for all; pruning
first, second = load("classify.json")
assert "provenance" not in second and "arguments" not in first["provenance"], second
same_file(first["provenance"]["inputs"]["model"], "clip.safetensors")
same_file(first["provenance"]["inputs"]["state"], "s.safetensors")
same_file(first["provenance"]["inputs"]["labels"], "labels.txt")
pruned = load("prune.json")[0]["provenance"]
same_file(pruned["inputs"]["state"], "s.safetensors")
assert pruned["command"] == "prune" and pruned["options"]["output"] == "small.safetensors", pruned

# index and search
for name in ("index.json", "again.json"):
    p = load(name)[0]["provenance"]
    same_file(p["inputs"]["model"], "clip.safetensors")
    same_file(p["inputs"]["state"], "s.safetensors")
for o in load("search.json"):
    p = o["provenance"]
    same_file(p["inputs"]["model"], "clip.safetensors")
    same_file(p["inputs"]["image 1"], "one.png")
    assert len(p["inputs"]["index"]["state"]) == 64 and p["options"]["top"] > 0, p
with open("found.html") as f:
    text = f.read()
assert sha("clip.safetensors") in text and "How this was made" in text
PYTHON
exit $failed
