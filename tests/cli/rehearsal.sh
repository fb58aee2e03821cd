#!/bin/sh
# ZSCL, iCaRL and joint training from end to end with a tiny CLIP: killed and gone on with, what is kept, what does not fit is said.
# usage: rehearsal.sh MOECLIP DATA PICTURES
M=$(realpath "$1") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"

tiny_clip

learn() { "$@" learn --model clip.safetensors --state $state --method $method --batch 4 --iterations 8 --lr 1e-3 \
  --checkpoint-seconds 0 --threads 1 --quiet $more pictures/colours lines=pictures/stripes; }
for method in zscl icarl joint; do
  state=$method.safetensors more=
  [ $method = zscl ] && more="--reference pictures/spots --zscl-every 3 --zscl-pictures 10"
  [ $method = icarl ] && more="--exemplars 14"
  learn "$M" >out 2>err || { fail "learn $method: $(cat err)"; exit 1; }
  grep -q '^after lines ' out || fail "learn $method: $(cat out)"
  expect 0 "$method" info $state
  expect 0 'lines' eval --model clip.safetensors --state $state lines=pictures/stripes
  expect 0 'png' classify --model clip.safetensors --state $state pictures/colours/test/*/*.png
  expect 0 'png' classify --model clip.safetensors --state $state --task colours pictures/colours/test/*/*.png
  expect 0 'png' classify --model clip.safetensors --state $state --labels 'red,a dog,blue' pictures/colours/test/*/*.png
  expect 1 "made with $method" learn --model clip.safetensors --state $state --quiet --method moe pictures/colours
  state=$method-killed.safetensors part=$method-killed.safetensors.part
  learn killed_at_checkpoints
  cmp -s $method.safetensors $state || fail "$method: a run that was killed ends with another state"
  [ -e $part ] && fail "$method: the checkpoint is still there"
done
more=
new() { expect 1 "$1" learn --model clip.safetensors --state new.safetensors --quiet --no-eval --batch 4 --iterations 2 $2 pictures/colours; }
new 'needs a reference set' '--method zscl'
new 'fewer than the 3 classes' '--method icarl --exemplars 2'
expect 2 'has no use for it' learn --model clip.safetensors --state new.safetensors --method icarl --reference pictures/spots pictures/colours
expect 1 'exemplars 15: the state was made with 14' learn --model clip.safetensors --state icarl.safetensors --quiet --exemplars 15 pictures/colours
expect 1 'zscl-every 4: the state was made with 3' learn --model clip.safetensors --state zscl.safetensors --quiet --zscl-every 4 pictures/colours
expect 1 'those of colours are not given' learn --model clip.safetensors --state joint.safetensors --quiet --no-eval --batch 4 --iterations 2 \
  dots=pictures/spots lines=pictures/stripes
cil="bench cil --set pictures/colours --set pictures/stripes --base 2 --increment 2 --batch 4 --epochs 1 --lr 1e-3 --model clip.safetensors --quiet"
expect 0 'Last' $cil --method joint --out cil-joint
expect 0 'Last' $cil --method icarl --out cil-icarl
expect 0 'Last' $cil --method zscl --reference pictures/spots --out cil-zscl
expect 0 'after lines' bench mtil --preset xtail-16 --set colours=pictures/colours --set lines=pictures/stripes --model clip.safetensors \
  --shots 0 --batch 4 --iterations 4 --threads 1 --quiet --method zscl --reference pictures/spots --out mtil

python3 - <<'PYTHON' || fail "the states"
import json, struct
def load(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__")
    return {k: (v["shape"], data[8 + n:][slice(*v["data_offsets"])]) for k, v in head.items()}
zscl, icarl, joint, clip = (load(f"{m}.safetensors") for m in ("zscl", "icarl", "joint", "clip"))
assert zscl["zscl.pictures"][0] == [10, 3, 16, 16] and zscl["zscl.features"][0] == [10, 32] and zscl["zscl.texts"][0] == [2, 32]
assert not any(k.startswith(("average.", "before.", "optimizer.")) for t in (zscl, icarl, joint) for k in t)
# 14 exemplars, first for 3 classes, then for 6: 2 each
assert icarl["icarl.pictures"][0] == [12, 3, 16, 16]
assert struct.unpack("<12q", icarl["icarl.labels"][1]) == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
assert "logit_scale" in zscl and zscl["logit_scale"] == clip["logit_scale"] != icarl["logit_scale"]
rows = {m: json.load(open(f"{m}.results/matrix.json")) for m in ("joint", "icarl", "zscl")}
assert [t["iterations"] for t in rows["joint"]["learned"].values()] == [9, 18]
assert rows["joint"]["last"]["mean"] > 0.9, rows["joint"]["last"]
assert rows["icarl"]["rows"][2]["cells"]["colours"]["accuracy"] > 0.8
assert rows["zscl"]["run"]["zscl"]["every"] == 3
PYTHON

exit $failed
