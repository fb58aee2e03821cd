#!/usr/bin/env bash
# What the whole multi-domain benchmark with ViT-B/16 would take on this machine, from a few real steps of that size: random weights,
# tiny copies of the data sets, the published batch of 64. usage: bench/mtil_estimate.sh [STEPS]
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-4}
moeclip=build/release/moeclip
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python3 scripts/tiny_benchmarks.py "$out/sets" --classes 8 --images 20 --only DTD > /dev/null
mkdir -p "$out/pairs/a" "$out/pairs/b"
find "$out/sets" -name '*.jpg' | sort | head -4 | while read -r f; do cp "$f" "$out/pairs/a"; cp "$f" "$out/pairs/b/2$(basename "$f")"; done
$moeclip pretrain --pairs "$out/pairs" --out "$out/vit-b-16.safetensors" --image-size 224 --patch 16 --visual-layers 12 --visual-width 768 \
  --context 77 --vocabulary 49408 --text-layers 12 --text-width 512 --embed 512 --epochs 1 --batch 4 --quiet > /dev/null
$moeclip bench mtil --data "$out/sets" --sets DTD --model "$out/vit-b-16.safetensors" --iterations $((steps - 1)) --warmup 1 \
  --selector-iterations $((steps - 1)) --reference none --out "$out/run" 2> "$out/progress" > /dev/null
python3 - "$out/run/matrix.json" "$out/progress" "$steps" <<'PY'
import json, re, sys
matrix, progress, steps = json.load(open(sys.argv[1])), open(sys.argv[2]).read(), int(sys.argv[3])
learned = matrix["learned"]["DTD"]
step = learned["seconds"] / learned["iterations"]
selector = learned["selector_seconds"] / steps
cell = matrix["rows"][-1]["cells"]["DTD"]
image = cell["seconds"] / cell["n"]
memory = max(int(m) for m in re.findall(r"(\d+) MiB", progress))
# Test pictures of the eleven sets (moeclip data lists them); 12 rows.
test = 3333 + 1736 + 10000 + 1880 + 5400 + 6149 + 25250 + 10000 + 3669 + 8041 + 21751
train, choose, evaluate = 11 * 1001 * step, (11 * 301 + 1001) * selector, 12 * test * image
print(f"measured: {step:.1f} s a training step (64 pictures, {len(matrix['columns'][0]['same']['classes'])} classes), {selector:.2f} s a step of "
      f"the selector, {image:.3f} s a test picture, {memory} MiB")
print(f"the whole: training {train / 3600:.0f} h, selector {choose / 3600:.1f} h, evaluation of {test} pictures 12 times {evaluate / 3600:.0f} h: "
      f"{(train + choose + evaluate) / 86400:.1f} days")
PY
