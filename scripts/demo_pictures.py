#!/usr/bin/env python3
"""Writes a few test pictures of the demo's domains as PNG files: demo_pictures.py DATA OUT. Standard library alone."""
import csv
import gzip
import shutil
import struct
import sys
import zlib
from pathlib import Path


def write_grey_png(path, width, height, pixels):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"".join(b"\0" + pixels[y * width:(y + 1) * width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with gzip.open(data / "fashion-mnist/t10k-images-idx3-ubyte.gz") as file:
        images = file.read(16 + 3 * 784)[16:]
    for i in (0, 1):
        write_grey_png(out / f"clothes_{i}.png", 28, 28, images[i * 784:(i + 1) * 784])
    with gzip.open(data / "digits/mnist_5k.csv.gz", "rt") as file:
        rows = [row for i, row in enumerate(csv.reader(file)) if i in (1234, 3456)]
    for row in rows:
        write_grey_png(out / f"digit_{row[784].split('.')[0]}.png", 28, 28, bytes(int(float(v)) for v in row[:784]))
    for kind in ("without_defects", "with_a_global_defect"):
        path = sorted((data / f"textiles/textile_{kind}").iterdir())[7]
        shutil.copy(path, out / f"textile_{kind}{path.suffix}")
    for name in ("cat.png", "rocket.jpg"):
        shutil.copy(data / "photos" / name, out / f"photo_of_a_{name}")


if __name__ == "__main__":
    main()
