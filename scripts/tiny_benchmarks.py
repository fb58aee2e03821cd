#!/usr/bin/env python3
"""Tiny copies of the thirteen benchmark data sets, in the real layouts and file formats.

usage: tiny_benchmarks.py OUT [--classes N] [--images M] [--only SET,...]

Lays out, below OUT, what the makers' archives unpack to: the same folders, lists, MATLAB 5 files, CIFAR pickles (and
their binary form, in OUT/binary), IDX files, JPEG pictures. Only the numbers are small: N classes (4; at most 10), M
training and M test pictures a class (8). Pictures of a class share a colour and fine stripes, those of a set a coarse
pattern, so that a model can learn the classes and a selector the sets. The Python standard library is enough; the same
arguments give the same bytes.
"""
import argparse
import gzip
import json
import math
import random
import struct
import zlib
from pathlib import Path

# --- pictures ---------------------------------------------------------------------------------------------------------


def colour(label):
    """Three numbers from 0 to 255, as far apart as ten classes allow."""
    hue = label * 0.381966 % 1.0
    return [int(128 + 70 * math.cos(2 * math.pi * (hue + shift / 3))) for shift in range(3)]


# The folders of the sets below OUT; a set's place is the number of its pattern.
FOLDERS = ["fgvc-aircraft-2013b", "caltech101", "cifar-10-batches-py", "cifar-100-python", "dtd", "eurosat",
           "flowers-102", "food-101", "oxford-iiit-pet", "stanford_cars", "SUN397", "tiny-imagenet-200"]


def pattern(style, u, v):
    """-1 to 1 at a place of the picture (0 to 1): rings, squares, bars across or down, in three widths."""
    periods = 2 + style // 4 * 2
    if style % 4 == 0:
        return math.cos(6.28 * periods * math.hypot(u - 0.5, v - 0.5))
    if style % 4 == 1:
        return 1.0 if int(2 * periods * u) % 2 == int(2 * periods * v) % 2 else -1.0
    return math.sin(6.28 * periods * (u if style % 4 == 2 else v))


def rgb_pixels(label, size, rng, folder):
    """[3][size][size]: the class's colour under the set's pattern and stripes of the class's direction and width."""
    base, phase, period, style = colour(label), rng.random() * 6.28, 3 + label % 4, FOLDERS.index(folder)
    dx, dy = math.cos(label * 0.9), math.sin(label * 0.9)
    wave = [[40 * pattern(style, x / size, y / size) + 18 * math.sin(6.28 * (x * dx + y * dy) / period + phase)
             for x in range(size)] for y in range(size)]
    return [[[max(0, min(255, int(c + w + rng.randrange(-12, 13)))) for w in row] for row in wave] for c in base]


def grey_pixels(label, rng):
    """28 x 28, a digit's number of bright bars."""
    x0 = rng.randrange(0, 3)
    picture = bytearray()
    for y in range(28):
        for x in range(28):
            bar = (x - x0) // 2 % 2 == 0 and (x - x0) // 4 <= label % 5 if label < 5 else y % (label - 2) < 2
            picture.append(max(0, min(255, (220 if bar else 10) + rng.randrange(-10, 10))))
    return bytes(picture)


class Bits:
    def __init__(self):
        self.value, self.n, self.out = 0, 0, bytearray()

    def put(self, value, n):
        self.value, self.n = self.value << n | value, self.n + n
        while self.n >= 8:
            byte = self.value >> (self.n - 8) & 255
            self.out += bytes([byte, 0]) if byte == 255 else bytes([byte])
            self.n -= 8
            self.value &= (1 << self.n) - 1


AC_SYMBOLS = [0] + [run << 4 | size for run in range(16) for size in range(1, 11)] + [0xF0]
DCT = [[math.cos((2 * x + 1) * u * math.pi / 16) * (math.sqrt(0.125) if u == 0 else 0.5) for x in range(8)]
       for u in range(8)]
ZIGZAG = sorted(((u, v) for v in range(8) for u in range(8)),
                key=lambda p: (p[0] + p[1], p[1] if (p[0] + p[1]) % 2 else p[0]))
QUANTUM = 12


def amplitude(bits, v, size):
    bits.put(v if v > 0 else v + (1 << size) - 1, size)


def put_block(bits, block, last):
    """The 8 x 8 values of one component; returns its first coefficient."""
    rows = [[sum(DCT[u][x] * row[x] for x in range(8)) for u in range(8)] for row in block]
    found = [round(sum(DCT[v][y] * rows[y][u] for y in range(8)) / QUANTUM) for u, v in ZIGZAG]
    difference = found[0] - last
    size = abs(difference).bit_length()
    bits.put(size, 4)
    if size:
        amplitude(bits, difference, size)
    run = 0
    for k in range(1, 64):
        if found[k] == 0:
            run += 1
            continue
        while run > 15:
            bits.put(AC_SYMBOLS.index(0xF0), 8)
            run -= 16
        size = abs(found[k]).bit_length()
        bits.put(AC_SYMBOLS.index(run << 4 | size), 8)
        amplitude(bits, found[k], size)
        run = 0
    if run:
        bits.put(AC_SYMBOLS.index(0), 8)
    return found[0]


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(pixels, size):
    """A baseline JPEG of [3][size][size]; size is a multiple of 8."""
    r, g, b = pixels
    planes = [[[0.0] * size for _ in range(size)] for _ in range(3)]
    for y in range(size):
        for x in range(size):
            red, green, blue = r[y][x], g[y][x], b[y][x]
            planes[0][y][x] = 0.299 * red + 0.587 * green + 0.114 * blue - 128
            planes[1][y][x] = -0.168736 * red - 0.331264 * green + 0.5 * blue
            planes[2][y][x] = 0.5 * red - 0.418688 * green - 0.081312 * blue
    bits, last = Bits(), [0, 0, 0]
    for y in range(0, size, 8):
        for x in range(0, size, 8):
            for c in range(3):
                last[c] = put_block(bits, [row[x:x + 8] for row in planes[c][y:y + 8]], last[c])
    bits.put(127, 7)
    # Codes of one length each: 4 bits for the sizes of first coefficients, 8 for all others.
    dc = bytes([0, 0, 0, 0x0C] + [0] * 12) + bytes(range(12))
    ac = bytes([0] * 7 + [len(AC_SYMBOLS)] + [0] * 8) + bytes(AC_SYMBOLS)
    return (b"\xff\xd8" + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + segment(0xDB, bytes([0] + [QUANTUM] * 64)) +
            segment(0xC0, struct.pack(">BHHB", 8, size, size, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])) +
            segment(0xC4, b"\x00" + dc) + segment(0xC4, b"\x10" + ac) +
            segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])) + bytes(bits.out) + b"\xff\xd9")


# --- MATLAB 5 files ---------------------------------------------------------------------------------------------------


def mat_element(kind, body):
    if 0 < len(body) <= 4:
        return struct.pack("<HH", kind, len(body)) + body.ljust(4, b"\0")
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def mat_array(name, mx_class, sides, body):
    head = mat_element(6, struct.pack("<II", mx_class, 0)) + mat_element(5, struct.pack("<%di" % len(sides), *sides))
    return mat_element(14, head + mat_element(1, name.encode()) + body)


def mat_numbers(name, values, kind="B"):
    """A row of class double, kept in the smallest type that holds it, as MATLAB does."""
    codes = {"B": 2, "H": 4, "d": 9}
    body = struct.pack("<%d%s" % (len(values), kind), *values)
    return mat_array(name, 6, [1, len(values)], mat_element(codes[kind], body))


def mat_text(name, text):
    """Of class char: 16 bits a character."""
    return mat_array(name, 4, [1, len(text)], mat_element(4, text.encode("utf-16-le")))


def mat_cell(name, texts):
    return mat_array(name, 1, [1, len(texts)], b"".join(mat_text("", t) for t in texts))


def mat_structs(name, fields, rows):
    names = b"".join(f.encode().ljust(32, b"\0") for f in fields)
    body = mat_element(5, struct.pack("<i", 32)) + mat_element(1, names)
    for row in rows:
        for value in row:
            body += mat_text("", value) if isinstance(value, str) else mat_numbers("", [value], "H")
    return mat_array(name, 2, [1, len(rows)], body)


def write_mat(path, variables, packed=True):
    data = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\0\1IM"
    for v in variables:
        body = zlib.compress(v)
        data += struct.pack("<II", 15, len(body)) + body if packed else v
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- pickles as Python 2 wrote them -----------------------------------------------------------------------------------


def pickle_text(s):
    return b"U" + bytes([len(s)]) + s if len(s) < 256 else b"T" + struct.pack("<i", len(s)) + s


def pickle_list(items):
    return b"](" + b"".join(items) + b"e"


def pickle_int(i):
    return b"K" + bytes([i]) if i < 256 else b"M" + struct.pack("<H", i)


def pickle_array(rows, data):
    make = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + b"K\0\x85" + pickle_text(b"b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + pickle_text(b"u1") + b"K\0K\1tR(K\3" + pickle_text(b"|")
    kind += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    shape = pickle_int(rows) + b"M" + struct.pack("<H", 3072) + b"\x86"
    return make + b"(K\1" + shape + kind + b"\x89" + pickle_text(data) + b"tb"


def pickle_dict(pairs):
    return b"\x80\x02}q\x01(" + b"".join(pickle_text(k) + v for k, v in pairs) + b"u."


# --- sets -------------------------------------------------------------------------------------------------------------

NAMES = {
    "Aircraft": ["707-320", "727-200", "A300B4", "A340-200", "Boeing 717", "C-130", "DC-3", "F/A-18", "Tu-134",
                 "Yak-42"],
    "Caltech101": ["Faces", "Faces_easy", "Leopards", "Motorbikes", "accordion", "airplanes", "anchor",
                   "ant", "barrel", "bass"],
    "CIFAR10": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    "CIFAR100": ["apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle"],
    "DTD": ["banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed", "cracked",
            "crosshatched", "crystalline"],
    "EuroSAT": ["AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop",
                "Residential", "River", "SeaLake"],
    "Food": ["apple_pie", "baby_back_ribs", "baklava", "beef_carpaccio", "beef_tartare", "beet_salad", "beignets",
             "bibimbap", "bread_pudding", "breakfast_burrito"],
    "OxfordPet": ["Abyssinian", "american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle", "Bengal",
                  "Birman", "Bombay", "boxer", "British_Shorthair"],
    "StanfordCars": ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012", "Acura TL Type-S 2008",
                     "Acura TSX Sedan 2012", "Acura Integra Type R 2001", "Acura ZDX Hatchback 2012",
                     "Aston Martin V8 Vantage Convertible 2012", "Aston Martin V8 Vantage Coupe 2012",
                     "Ram C/V Cargo Van Minivan 2012"],
    "SUN397": ["/a/abbey", "/a/airplane_cabin", "/a/apartment_building/outdoor", "/b/bakery/shop", "/b/bar",
               "/b/barn", "/c/cafeteria", "/c/church/indoor", "/c/church/outdoor", "/y/yard"],
    "TinyImageNet": [("n02124075", "Egyptian cat"), ("n04067472", "reel"), ("n04540053", "volleyball"),
                     ("n04099969", "rocking chair, rocker"), ("n07749582", "lemon"),
                     ("n01641577", "bullfrog, Rana catesbeiana"),
                     ("n02802426", "basketball"), ("n09246464", "cliff, drop, drop-off"), ("n07920052", "espresso"),
                     ("n03970156", "plunger, plumber's helper")],
}


class Maker:
    def __init__(self, out, classes, images):
        self.out, self.n, self.m = Path(out), classes, images

    def rng(self, *of):
        return random.Random(" ".join(map(str, of)))

    def picture(self, path, label, size=32):
        path.parent.mkdir(parents=True, exist_ok=True)
        inner = path.relative_to(self.out)
        path.write_bytes(jpeg(rgb_pixels(label, size, self.rng(inner), inner.parts[0]), size))

    def text(self, path, lines):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines))

    def mixed(self, seed, per_class):
        """Labels in a fixed but mixed order, as the makers' lists have them."""
        labels = [c for c in range(self.n) for _ in range(per_class)]
        self.rng(seed).shuffle(labels)
        return labels

    def aircraft(self):
        top, names = self.out / "fgvc-aircraft-2013b/data", sorted(NAMES["Aircraft"][:self.n])
        self.text(top / "variants.txt", names)
        number, lists = 34309, {}
        for split in "train", "val", "test":
            lists[split] = []
            for label in self.mixed("aircraft " + split, self.m):
                number += 7
                self.picture(top / "images" / ("%07d.jpg" % number), label, 40)
                lists[split].append("%07d %s" % (number, names[label]))
        lists["trainval"] = sorted(lists["train"] + lists["val"])
        for split, lines in lists.items():
            self.text(top / ("images_variant_%s.txt" % split), sorted(lines))

    def caltech101(self):
        top = self.out / "caltech101/101_ObjectCategories"
        for label, name in enumerate(NAMES["Caltech101"][:self.n]):
            for i in range(self.m * 2):
                self.picture(top / name / ("image_%04d.jpg" % (i + 1)), label)
        for i in range(3):
            self.picture(top / "BACKGROUND_Google" / ("image_%04d.jpg" % (i + 1)), 9 - i)
        self.text(top / "BACKGROUND_Google/tmp", ["not a picture"])

    def cifar(self, folder, binary, batches, meta, label_key, names, labels_of):
        """batches: (pickle's name, binary's name, pictures of each class)."""
        for name, binary_name, per_class in batches:
            labels = self.mixed(folder + name, per_class)
            pictures = [rgb_pixels(label, 32, self.rng(folder, name, i), folder) for i, label in enumerate(labels)]
            pixels = [b"".join(bytes(row) for plane in picture for row in plane) for picture in pictures]
            pairs = [(b"data", pickle_array(len(labels), b"".join(pixels))),
                     (label_key, pickle_list([pickle_int(i) for i in labels])),
                     (b"batch_label", pickle_text(name.encode())),
                     (b"filenames", pickle_list([pickle_text(b"x_%06d.png" % i) for i in range(len(labels))]))]
            path = self.out / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle_dict(pairs))
            path = self.out / "binary" / binary / binary_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(labels_of(label) + p for label, p in zip(labels, pixels)))
        texts = pickle_list([pickle_text(n.encode()) for n in names])
        (self.out / folder / meta[0]).write_bytes(pickle_dict([(meta[1], texts)]))
        self.text(self.out / "binary" / binary / meta[2], names)

    def cifar10(self):
        share = max(1, self.m // 5)
        batches = [("data_batch_%d" % i, "data_batch_%d.bin" % i, share) for i in range(1, 6)]
        self.cifar("cifar-10-batches-py", "cifar-10-batches-bin", batches + [("test_batch", "test_batch.bin", self.m)],
                   ("batches.meta", b"label_names", "batches.meta.txt"), b"labels", NAMES["CIFAR10"][:self.n],
                   lambda label: bytes([label]))

    def cifar100(self):
        batches = [("train", "train.bin", self.m), ("test", "test.bin", self.m)]
        self.cifar("cifar-100-python", "cifar-100-binary", batches,
                   ("meta", b"fine_label_names", "fine_label_names.txt"), b"fine_labels", NAMES["CIFAR100"][:self.n],
                   lambda label: bytes([label // 5, label]))

    def dtd(self):
        top, number = self.out / "dtd/dtd", 0
        for split in "train", "val", "test":
            lines = []
            for label, name in enumerate(NAMES["DTD"][:self.n]):
                for _ in range(self.m):
                    number += 1
                    line = "%s/%s_%04d.jpg" % (name, name, number)
                    self.picture(top / "images" / line, label, 48)
                    lines.append(line)
            for i in range(1, 11):
                self.text(top / ("labels/%s%d.txt" % (split, i)), lines)

    def eurosat(self):
        for label, name in enumerate(NAMES["EuroSAT"][:self.n]):
            for i in range(self.m * 2):
                self.picture(self.out / "eurosat/2750" / name / ("%s_%d.jpg" % (name, i + 1)), label, 64)

    def flowers(self):
        top, labels = self.out / "flowers-102", self.mixed("flowers", 3 * self.m)
        seen, ids = [0] * self.n, {"trnid": [], "valid": [], "tstid": []}
        for i, label in enumerate(labels):
            self.picture(top / "jpg" / ("image_%05d.jpg" % (i + 1)), label)
            ids[("trnid", "valid", "tstid")[seen[label] % 3]].append(i + 1)
            seen[label] += 1
        write_mat(top / "imagelabels.mat", [mat_numbers("labels", [label + 1 for label in labels])])
        write_mat(top / "setid.mat", [mat_numbers(name, ids[name], "H") for name in ("trnid", "valid", "tstid")])

    def food(self):
        top, names, number = self.out / "food-101", NAMES["Food"][:self.n], 1000
        for split in "train", "test":
            by_class = {name: [] for name in names}
            for label, name in enumerate(names):
                for _ in range(self.m):
                    number += 13
                    by_class[name].append("%s/%d" % (name, number))
                    self.picture(top / "images" / name / ("%d.jpg" % number), label)
            self.text(top / ("meta/%s.txt" % split), [line for name in names for line in by_class[name]])
            (top / ("meta/%s.json" % split)).write_text(json.dumps(by_class))
        self.text(top / "meta/classes.txt", names)
        self.text(top / "meta/labels.txt", [name.replace("_", " ").capitalize() for name in names])

    def mnist(self):
        top = self.out / "MNIST/raw"
        top.mkdir(parents=True, exist_ok=True)
        for prefix in "train", "t10k":
            labels = self.mixed("mnist" + prefix, self.m)
            pixels = b"".join(grey_pixels(label, self.rng("mnist", prefix, i)) for i, label in enumerate(labels))
            images = struct.pack(">IIII", 0x803, len(labels), 28, 28) + pixels
            wanted = struct.pack(">II", 0x801, len(labels)) + bytes(labels)
            # torchvision keeps the packed files beside the unpacked ones; others keep only one of them.
            (top / (prefix + "-images-idx3-ubyte.gz")).write_bytes(gzip.compress(images, mtime=0))
            (top / (prefix + "-labels-idx1-ubyte.gz")).write_bytes(gzip.compress(wanted, mtime=0))
            if prefix == "train":
                (top / (prefix + "-images-idx3-ubyte")).write_bytes(images)
                (top / (prefix + "-labels-idx1-ubyte")).write_bytes(wanted)

    def oxfordpet(self):
        top, names = self.out / "oxford-iiit-pet", NAMES["OxfordPet"][:self.n]
        for split, first in ("trainval", 1), ("test", 1 + self.m):
            lines = []
            for label, name in enumerate(names):
                for i in range(self.m):
                    lines.append("%s_%d %d %d 1" % (name, first + i, label + 1, 1 if name[0].isupper() else 2))
                    self.picture(top / "images" / ("%s_%d.jpg" % (name, first + i)), label)
            self.rng("pets" + split).shuffle(lines)
            self.text(top / ("annotations/%s.txt" % split), lines)
        (top / "images/Abyssinian_1.mat").write_bytes(b"not a picture, as in the archive")

    def stanfordcars(self):
        top, names = self.out / "stanford_cars", NAMES["StanfordCars"][:self.n]
        write_mat(top / "devkit/cars_meta.mat", [mat_cell("class_names", names)])
        boxes = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
        for split in "train", "test":
            rows, bare = [], []
            for i, label in enumerate(self.mixed("cars" + split, self.m)):
                name = "%05d.jpg" % (i + 1)
                self.picture(top / ("cars_" + split) / name, label)
                rows.append([3, 4, 300 + i, 28, label + 1, name])
                bare.append([3, 4, 300 + i, 28, name])
            whole = mat_structs("annotations", boxes + ["class", "fname"], rows)
            if split == "train":
                write_mat(top / "devkit/cars_train_annos.mat", [whole])
            else:
                write_mat(top / "cars_test_annos_withlabels.mat", [whole], packed=False)
                write_mat(top / "devkit/cars_test_annos.mat", [mat_structs("annotations", boxes + ["fname"], bare)])

    def sun397(self):
        top, names = self.out / "SUN397", NAMES["SUN397"][:self.n]
        self.text(top / "ClassName.txt", names)
        for label, name in enumerate(names):
            for i in range(self.m * 2):
                letters = "".join(self.rng(name, i).choices("abcdefghijklmnopqrstuvwxyz", k=16))
                self.picture(top / name[1:] / ("sun_%s.jpg" % letters), label)

    def tinyimagenet(self):
        top, classes = self.out / "tiny-imagenet-200", NAMES["TinyImageNet"][:self.n]
        self.text(top / "wnids.txt", [wnid for wnid, _ in classes])
        self.text(top / "words.txt", ["n00001740\tentity"] + sorted("%s\t%s" % c for c in classes))
        for label, (wnid, _) in enumerate(classes):
            boxes = []
            for i in range(self.m):
                self.picture(top / "train" / wnid / "images" / ("%s_%d.JPEG" % (wnid, i)), label, 64)
                boxes.append("%s_%d.JPEG\t0\t10\t63\t58" % (wnid, i))
            self.text(top / "train" / wnid / (wnid + "_boxes.txt"), boxes)
        lines = []
        for i, label in enumerate(self.mixed("tiny", self.m)):
            self.picture(top / "val/images" / ("val_%d.JPEG" % i), label, 64)
            lines.append("val_%d.JPEG\t%s\t0\t32\t44\t62" % (i, classes[label][0]))
        self.text(top / "val/val_annotations.txt", lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--classes", type=int, default=4, choices=range(2, 11), metavar="N")
    parser.add_argument("--images", type=int, default=8, metavar="M")
    parser.add_argument("--only", help="sets, with commas between them", metavar="SET,...")
    a = parser.parse_args()
    if not 1 <= a.images <= 1000:
        parser.error("--images must be from 1 to 1000")
    sets = list(NAMES) + ["MNIST", "Flowers"]
    wanted = a.only.split(",") if a.only else sets
    for name in wanted:
        if name not in sets:
            parser.error("%s is none of %s" % (name, ", ".join(sets)))
        getattr(Maker(a.out, a.classes, a.images), name.lower())()


if __name__ == "__main__":
    main()
