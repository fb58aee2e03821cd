#!/usr/bin/env python3
"""Lays out pictures to search, in folders named by what is on them: search_pictures.py DATA OUT [PER_CLASS]

DATA is what scripts/demo_data.py made. OUT gets clothes/, digits/, fabric/ (tasks of the demo), objects/, categories/ (of no
task), each with one folder a class, and photos/. Standard library alone.
"""
import csv
import gzip
import shutil
import struct
import sys
import zlib
from pathlib import Path

CLOTHES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_grey_png(path, pixels):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"".join(b"\0" + pixels[y * 28:(y + 1) * 28] for y in range(28))
    header = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    counts = {}

    def room(name):
        counts[name] = counts.get(name, 0) + 1
        return counts[name] <= most

    with gzip.open(data / "fashion-mnist/t10k-images-idx3-ubyte.gz") as file:
        images = file.read()[16:]
    with gzip.open(data / "fashion-mnist/t10k-labels-idx1-ubyte.gz") as file:
        labels = file.read()[8:]
    for i, label in enumerate(labels):
        name = CLOTHES[label]
        if room(name):
            write_grey_png(out / "clothes" / name / f"{i}.png", images[i * 784:(i + 1) * 784])
    with gzip.open(data / "digits/mnist_5k.csv.gz", "rt") as file:
        for i, row in enumerate(csv.reader(file)):
            name = DIGITS[int(float(row[784]))]
            if i % 5 == 0 and room(name):
                write_grey_png(out / "digits" / name / f"{i}.png", bytes(int(float(v)) for v in row[:784]))
    for kind in sorted((data / "textiles").iterdir()):
        if not kind.is_dir():
            continue
        folder = out / "fabric" / kind.name.removeprefix("textile_").replace("_", " ")
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(kind.iterdir())[-most:]:
            shutil.copyfile(path, folder / path.name)
    for part in ("objects", "categories"):
        for path in sorted((data / "zeroshot" / part).rglob("*")):
            if path.is_file():
                folder = out / part / path.parent.name.replace("_", " ")
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / path.name)
    shutil.copytree(data / "photos", out / "photos", dirs_exist_ok=True)
    print(sum(1 for path in out.rglob("*") if path.is_file()), "pictures in", out)


if __name__ == "__main__":
    main()
