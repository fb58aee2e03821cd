#!/bin/sh
# `moeclip data` and `moeclip eval` on tiny copies of the benchmarks' sets. usage: data.sh MOECLIP DATA PICTURES
M=$(realpath "$1") DATA=$(realpath "$2") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"

make() { python3 "$DATA/../../scripts/tiny_benchmarks.py" "$@" || exit 1; }

# Nothing there: a line a set that says what to do, and no failure.
mkdir "$T/none"
expect 0 '^0 of 13 sets are there' data "$T/none"
[ "$(grep -c ' missing .*download http.* unpack it in ' "$T/out")" -eq 13 ] || fail "not 13 missing: $(cat "$T/out")"
expect 0 '"state": "missing"' data --json "$T/none"

make "$T/sets" --classes 3 --images 4
expect 0 '^13 of 13 sets are there, 0 of them complete$' data "$T/sets"
for line in 'Aircraft *partial *12 train, 12 test, 3 classes, 2 templates' 'Caltech101 .* 19 train, 5 test, 3 .* 34 ' \
  'CIFAR100 .* 18 templates' 'EuroSAT .* 19 train, 5 test, .* names from its own files' 'Flowers .* 1 template ' \
  'StanfordCars .* 9 templates .* 8144 train, 8041 test, 196 classes'; do
  grep -q "^$line" "$T/out" || fail "no \"$line\" in: $(cat "$T/out")"
done
expect 0 '"root"' data --json "$T/sets"
python3 - "$T/out" <<'PYTHON' || fail "the JSON: $(cat "$T/out")"
import json, sys
sets = json.load(open(sys.argv[1]))["sets"]
assert len(sets) == 13 and all(s["state"] == "partial" and s["classes"] == 3 and s["path"] for s in sets)
known = {s["name"]: s["known"] for s in sets}
assert known["Aircraft"] == {"train": 3334, "test": 3333, "classes": 100}
assert known["SUN397"] == {"train": 87003, "test": 21751, "classes": 397}
PYTHON

# A tiny CLIP evaluates every set from its folder, all of its test pictures.
"$PICTURES" "$T/pictures" || exit 1
"$M" pretrain --pairs "$T/pictures/colours/train" --out "$T/clip.safetensors" --image-size 16 --patch 8 --visual-layers 1 \
  --visual-width 64 --visual-hidden 64 --context 24 --vocabulary 600 --text-layers 1 --text-width 64 --text-hidden 64 \
  --embed 32 --epochs 1 --batch 6 --threads 1 --quiet >"$T/out" 2>&1 || fail "pretrain: $(cat "$T/out")"
for folder in fgvc-aircraft-2013b/data cifar-10-batches-py cifar-100-python dtd/dtd flowers-102 food-101 MNIST/raw \
  oxford-iiit-pet stanford_cars tiny-imagenet-200; do
  expect 0 'of 12)' eval --quiet --threads 1 --model "$T/clip.safetensors" "$T/sets/$folder"
done
for folder in caltech101/101_ObjectCategories eurosat/2750 SUN397; do
  expect 0 'of 5)' eval --quiet --threads 1 --model "$T/clip.safetensors" "$T/sets/$folder"
done

# A set with all of its pictures (of no bytes: only their names are looked at).
python3 - "$T/whole/dtd/dtd" <<'PYTHON' || exit 1
import os, sys
names = ["%s%d" % (chr(97 + c // 10), c) for c in range(47)]
for c in names:
    os.makedirs("%s/images/%s" % (sys.argv[1], c))
os.makedirs(sys.argv[1] + "/labels")
for split in "train", "test":
    lines = ["%s/%s_%s_%04d.jpg" % (c, c, split, i) for c in names for i in range(40)]
    for line in lines:
        open("%s/images/%s" % (sys.argv[1], line), "w").close()
    with open("%s/labels/%s1.txt" % (sys.argv[1], split), "w") as f:
        f.write("\n".join(lines))
PYTHON
expect 0 '^DTD *complete *1880 train, 1880 test, 47 classes, 8 templates ' data "$T/whole"
expect 0 '^1 of 13 sets are there, 1 of them complete$' data "$T/whole"

# One that cannot be read is a failure, and the others are still told.
echo '../x 707-320' >"$T/sets/fgvc-aircraft-2013b/data/images_variant_test.txt"
rm -r "$T/sets/dtd"
expect 1 '^Aircraft *damaged .*images_variant_test.txt:1: ' data "$T/sets"
grep -q '^DTD *missing ' "$T/out" && grep -q '^TinyImageNet *partial ' "$T/out" || fail "others: $(cat "$T/out")"
grep -q '^moeclip: 1 of the sets' "$T/err" || fail "$(cat "$T/err")"
exit $failed
