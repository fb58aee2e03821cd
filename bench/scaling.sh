#!/usr/bin/env bash
# What a training step of the default model takes with one rank and with two, of one thread each, what is exchanged, and what
# overlapping it with the backward pass gains: measured here, into a JSON file. scaling_model.py makes a table for more ranks of it.
# usage: bench/scaling.sh [STEPS [FILE]]      (an otherwise idle machine with two cores)
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-20}
file=${2:-docs/scaling.json}
moeclip=$PWD/build/release/moeclip
model=data/model.safetensors
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export OMP_WAIT_POLICY=passive
# 640 pictures of 10 classes in the format of MNIST: decoding costs nothing, so that the numbers are those of the step.
python3 - "$out/digits" <<'PY'
import os, random, struct, sys
os.makedirs(sys.argv[1])
for split, n in (("train", 640), ("t10k", 10)):
    draw = random.Random(n)
    with open(f"{sys.argv[1]}/{split}-images-idx3-ubyte", "wb") as f:
        f.write(struct.pack(">4i", 2051, n, 28, 28) + draw.randbytes(n * 784))
    with open(f"{sys.argv[1]}/{split}-labels-idx1-ubyte", "wb") as f:
        f.write(struct.pack(">2i", 2049, n) + bytes(i % 10 for i in range(n)))
PY
learn() { # NAME BATCH RUNNER...: a line of JSON, of the fastest of three runs: what else the machine does only makes them slower
  for _ in 1 2 3; do
    learn_once "$@"
  done | sort -t: -k5 -g | head -n 1
}
learn_once() {
  local name=$1 batch=$2
  shift 2
  rm -rf "$out/$name" "$out/$name.safetensors"
  "$@" "$moeclip" learn --model $model --state "$out/$name.safetensors" --results "$out/$name" --iterations $((steps - 1)) \
    --selector-iterations 1 --batch "$batch" --threads 1 --loader-threads 1 --max-test 1 --quiet "$out/digits" > /dev/null
  python3 - "$out/$name/matrix.json" "$name" "$batch" <<'PY'
import json, sys
learned = json.load(open(sys.argv[1]))["learned"]["digits"]
step = learned["seconds"] / learned["iterations"]
entry = {"name": sys.argv[2], "batch": int(sys.argv[3]), "ranks": 1, "step_seconds": step}
if "exchange" in learned:
    e = learned["exchange"]
    entry.update(ranks=e["ranks"], exchange_seconds=e["seconds"] / learned["iterations"], bytes=e["bytes"], messages=e["messages"])
print(json.dumps(entry))
PY
}
mpirun=(mpirun --oversubscribe -n 2 --bind-to core)
[ "$(id -u)" -ne 0 ] || mpirun+=(--allow-run-as-root)
{
  for batch in 64 32 16 8 4 2 1; do learn "one-$batch" $batch; done
  MOECLIP_OVERLAP=1 learn two-64 64 "${mpirun[@]}"
  MOECLIP_OVERLAP=0 learn two-64-at-once 64 "${mpirun[@]}" # as it is where all ranks are on one machine
  MOECLIP_OVERLAP=1 learn two-128 128 "${mpirun[@]}"
} | tee "$out/lines"
python3 - "$out/lines" "$steps" > "$file" <<'PY'
import datetime, json, os, sys
cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
runs = [json.loads(l) for l in open(sys.argv[1])]
load = os.getloadavg()[1]
print(json.dumps({"machine": f"{os.cpu_count()} cores, {cpu}", "load": round(load, 1), "date": str(datetime.date.today()),
                  "steps": int(sys.argv[2]), "runs": runs}, indent=1))
PY
python3 bench/scaling_model.py "$file"
