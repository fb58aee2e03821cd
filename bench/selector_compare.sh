#!/usr/bin/env bash
# The kinds of task selector side by side, block by block, on the demo's real pictures and one set more (scikit-learn's 8 x 8 digits,
# which look much like MNIST's): the table of docs/SELECTORS.md. Needs what ./demo built and fetched.
# "--times" prints what they cost and nothing else.
# usage: bench/selector_compare.sh [ITERATIONS [ALEXNET [OPTIONS of bench_selectors]]]   ITERATIONS: of an autoencoder, 300. ALEXNET: torchvision's weights, or
#        "random": weights drawn at random, as AlexNet's own cannot be had from any package (scripts/setup.sh's Python makes them)
set -euo pipefail
cd "$(dirname "$0")/.."
iterations=${1:-300}
alexnet=${2:-}
shift $(($# < 2 ? $# : 2))
data=.data/demo
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python3 - "$out" <<'PY'
import gzip, io, sys, zipfile
from pathlib import Path
sys.path.insert(0, "scripts")
from moedata.packages import fetch_wheel
out = Path(sys.argv[1])
cache = Path("build/cache")
cache.mkdir(parents=True, exist_ok=True)
wheel = fetch_wheel(cache, "scikit-learn", "1.8.0", "ada8121bcb4dac28d930febc791a69f7cb1673c8495e5eee274190b73a4559c1")
with zipfile.ZipFile(wheel) as z:
    rows = gzip.decompress(z.read("sklearn/datasets/data/digits.csv.gz")).decode().split("\n")
(out / "pens").mkdir()
with gzip.open(out / "pens" / "digits.csv.gz", "wt") as f:  # 0 to 16 becomes 0 to 255
    for row in rows:
        if row.strip():
            *pixels, label = (float(v) for v in row.split(","))
            f.write(",".join(str(min(255, round(16 * v))) for v in pixels) + f",{int(label)}\n")
(out / "pens" / "classes.txt").write_text("".join(f"pen digit {i}\n" for i in range(10)))
PY
if [ "$alexnet" = random ]; then
  .deps/tests-venv/bin/python - "$out/alexnet.safetensors" <<'PY'
import json, struct, sys
import numpy as np
rng, tensors = np.random.default_rng(0), {}
for i, o, c, k in ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)):
    bound = (6 / (c * k * k)) ** 0.5  # Kaiming uniform for ReLU
    tensors[f"features.{i}.weight"] = rng.uniform(-bound, bound, (o, c, k, k)).astype("<f4")
    tensors[f"features.{i}.bias"] = np.zeros(o, "<f4")
at, head = 0, {}
for name, t in tensors.items():
    head[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
    at += t.nbytes
text = json.dumps(head).encode()
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values()))
PY
  alexnet=$out/alexnet.safetensors
fi
export OMP_WAIT_POLICY=passive
build/release/bench/bench_selectors data/model.safetensors ${alexnet:+--alexnet "$alexnet"} --iterations "$iterations" "$@" \
  reference="$data/reference" clothes="$data/fashion-mnist" digits="$data/digits/mnist_5k.csv.gz" fabric="$data/textiles" \
  pens="$out/pens/digits.csv.gz" -- objects="$data/zeroshot/objects" categories="$data/zeroshot/categories"
