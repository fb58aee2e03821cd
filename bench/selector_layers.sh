#!/usr/bin/env bash
# Which block's tokens should the selector see? For each block of the default model's image tower: teaches the selector the demo's
# three domains (one step of the experts: only the routing matters) and counts where test pictures are sent.
# usage: bench/selector_layers.sh [ITERATIONS]    needs what ./demo built and fetched; one line a block
set -euo pipefail
cd "$(dirname "$0")/.."
iterations=${1:-300}
moeclip=build/release/moeclip
data=.data/demo
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
domains=("clothes=$data/fashion-mnist" "digits=$data/digits/mnist_5k.csv.gz" "fabric=$data/textiles")
others=("objects=$data/zeroshot/objects" "categories=$data/zeroshot/categories")
echo "percent of test pictures sent to their own task (objects, categories: left to the untouched CLIP)"
for layer in 0 1 2 3 4 5; do
  $moeclip learn --model data/model.safetensors --state "$out/$layer" --selector autoencoder --selector-layer $layer --iterations 1 --batch 32 --seed 1 \
    --quiet --no-eval --reference "$data/reference" --reference-iterations $((2 * iterations)) \
    --selector-iterations "$iterations" "${domains[@]}" > /dev/null
  $moeclip eval --model data/model.safetensors --state "$out/$layer" --max-test 100 --quiet --json "${domains[@]}" \
    "${others[@]}" > "$out/json"
  python3 - "$out/json" "$layer" <<'PY'
import json, sys
cells = []
for line in open(sys.argv[1]):
    one = json.loads(line)
    want = one["name"] if one["name"] in ("clothes", "digits", "fabric") else "zero-shot"
    total = sum(r["n"] for r in one["routes"])
    hit = sum(r["n"] for r in one["routes"] if r["to"] == want)
    cells.append(f"{one['name']} {100 * hit / total:.1f}")
print(f"block {sys.argv[2]}: {', '.join(cells)}")
PY
done
