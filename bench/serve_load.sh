#!/usr/bin/env bash
# Load figures of `moeclip serve`: requests a second and latencies of classifying a small JPEG at 1, 16 and 256 connections, beside
# the pictures a second of the bare engine in the same run (`moeclip classify` of many copies of the picture, and the server's own
# engine in batches as large as it takes them).
# usage: bench/serve_load.sh [--seconds N] [--pictures N] [--model FILE] [--state FILE] [MOECLIP]
# With --state, that state's tasks answer; without, the untouched CLIP, among ten labels. Needs wrk and curl (scripts/setup.sh
# --with-tests) and Python with Pillow (.deps/tests-venv) for the picture.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=20 n=2000 model=data/model.safetensors state= moeclip=build/release/moeclip
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --pictures) n=$2; shift 2 ;;
    --model) model=$2; shift 2 ;;
    --state) state=$2; shift 2 ;;
    -h | --help) sed -n '2,7s/^# //p' "$0"; exit 0 ;;
    -*) echo "serve_load.sh: unknown option $1; --help lists them" >&2; exit 2 ;;
    *) moeclip=$1; shift ;;
  esac
done
for program in wrk curl; do
  command -v "$program" >/dev/null || { echo "serve_load.sh: $program is not there: apt-get install $program, or scripts/setup.sh --with-tests" >&2; exit 1; }
done
[ -x "$moeclip" ] || { echo "serve_load.sh: $moeclip is not there: build it, or name another one" >&2; exit 1; }
python=.deps/tests-venv/bin/python
[ -x $python ] || python=python3
$python -c 'import PIL' 2>/dev/null || { echo "serve_load.sh: Pillow is not there: scripts/setup.sh --with-tests" >&2; exit 1; }

export OMP_WAIT_POLICY=passive
out=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$out"' EXIT

$python - "$out/picture.jpg" <<'PY'
import sys
from PIL import Image
# Smooth colours and an edge: a JPEG of a few kilobytes, as a thumbnail is.
image = Image.new("RGB", (160, 120))
image.putdata([(x * 255 // 160, y * 255 // 120, 200 if (x - 80) ** 2 + (y - 60) ** 2 < 1600 else 60) for y in range(120) for x in range(160)])
image.save(sys.argv[1], quality=85)
PY
labels='cat,dog,horse,bird,car,ship,tree,house,flower,person'
query='task=none&labels=%5B%22cat%22%2C%22dog%22%2C%22horse%22%2C%22bird%22%2C%22car%22%2C%22ship%22%2C%22tree%22%2C%22house%22%2C%22flower%22%2C%22person%22%5D'
ask=(--labels "$labels")
if [ -n "$state" ]; then
  ask=(--state "$state")
  query='top=5'
  cp "$state" "$out/state.safetensors"
fi

echo "machine: $(nproc) processors, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1); load before: $(cut -d' ' -f1 /proc/loadavg)"
echo "picture: JPEG of 160 x 120, $(stat -c %s "$out/picture.jpg") bytes; model $(basename "$model"); $seconds s a row"

# --- the bare engine: what `moeclip classify` takes for many pictures beyond what it takes for one ---
now() { date +%s.%N; }
mkdir "$out/one" "$out/many"
cp "$out/picture.jpg" "$out/one/0.jpg"
for i in $(seq $n); do ln "$out/picture.jpg" "$out/many/$i.jpg"; done
time_of() {
  local began
  began=$(now)
  "$moeclip" classify --model "$model" "${ask[@]}" --top 5 --json "$1" >/dev/null
  awk -v a="$began" -v b="$(now)" 'BEGIN { print b - a }'
}
time_of "$out/one" >/dev/null
one=$(time_of "$out/one")
many=$(time_of "$out/many")
bare=$(awk -v a="$one" -v b="$many" -v n=$n 'BEGIN { printf "%.1f", (n - 1) / (b - a) }')
echo "moeclip classify: $bare pictures/s (reading and decoding included, $n pictures)"

# --- the server ---
"$moeclip" serve --model "$model" --state "$out/state.safetensors" --port 0 >"$out/listening" 2>"$out/errors" &
server=$!
for _ in $(seq 300); do
  grep -q listening "$out/listening" && break
  kill -0 $server 2>/dev/null || { cat "$out/errors" >&2; exit 1; }
  sleep 0.1
done
url=$(sed -n 's/listening on //p' "$out/listening")
curl -sf -H 'Content-Type: image/jpeg' --data-binary @"$out/picture.jpg" "$url/v1/classify?$query" >"$out/answer" ||
  { echo "serve_load.sh: the server does not answer" >&2; exit 1; }

cat >"$out/post.lua" <<LUA
local f = io.open("$out/picture.jpg", "rb")
wrk.method = "POST"
wrk.body = f:read("*all")
wrk.headers["Content-Type"] = "image/jpeg"
f:close()
local bad = 0
function response(status) if status ~= 200 then bad = bad + 1 end end
function done(summary, latency, requests)
  local ms = function(p) return latency:percentile(p) / 1000 end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("row %.1f %.2f %.2f %.2f %.2f %d %d\n", summary.requests / (summary.duration / 1e6), ms(50), ms(90), ms(99),
    latency.max / 1000, errors, summary.errors.status))
end
LUA
counter() { curl -s "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
printf '%12s %12s %9s %9s %9s %9s %8s %12s %16s %8s\n' connections requests/s 'p50 ms' 'p90 ms' 'p99 ms' 'max ms' errors 'per batch' 'engine pict./s' 'of bare'
wrk -t1 -c16 -d3 -s "$out/post.lua" "$url/v1/classify?$query" >/dev/null # warm
for connections in 1 16 256; do
  threads=$((connections < 2 ? 1 : 2))
  pictures=$(counter moeclip_batch_pictures_sum) batches=$(counter moeclip_batch_pictures_count) busy=$(counter moeclip_engine_seconds_total)
  row=$(wrk -t$threads -c$connections -d"$seconds" --timeout 30 -s "$out/post.lua" "$url/v1/classify?$query" | sed -n 's/^row //p')
  sleep 0.5
  read -r rate p50 p90 p99 most errors refused <<<"$row"
  awk -v c=$connections -v r="$rate" -v p50="$p50" -v p90="$p90" -v p99="$p99" -v m="$most" -v e=$((errors + refused)) -v bare="$bare" \
    -v np="$(($(counter moeclip_batch_pictures_sum) - pictures))" -v nb="$(($(counter moeclip_batch_pictures_count) - batches))" \
    -v busy="$(counter moeclip_engine_seconds_total)" -v before="$busy" 'BEGIN {
    printf "%12d %12.1f %9.2f %9.2f %9.2f %9.2f %8d %12.1f %16.1f %7.0f%%\n", c, r, p50, p90, p99, m, e, np / nb, np / (busy - before), 100 * r / bare }'
done
kill -TERM $server
wait $server
server=
one=$(time_of "$out/one")
many=$(time_of "$out/many")
echo "moeclip classify once more: $(awk -v a="$one" -v b="$many" -v n="$n" 'BEGIN { printf "%.1f", (n - 1) / (b - a) }') pictures/s (far from the first: the machine was not idle)"
echo "load after: $(cut -d' ' -f1 /proc/loadavg)"
