#!/usr/bin/env python3
"""How well pictures of several tasks are ranked together: search_ranking.py MOECLIP INDEX PICTURES

PICTURES is what bench/search_pictures.py made, INDEX an index of it. Each class is a query; right are the pictures in its
folder. Prints mean average precision and the share of right ones among the first ten, for each domain, in percent.
"""
import json
import random
import subprocess
import sys
from pathlib import Path

DOMAINS = ["clothes", "digits", "fabric", "objects", "categories"]


def query_of(folder):
    word = {"digits": "digit ", "fabric": "textile "}.get(folder.parent.name, "")
    return word + folder.name


def precision(paths, right):
    found, total = 0, 0.0
    for place, path in enumerate(paths, 1):
        if path in right:
            found += 1
            total += found / place
    return total / len(right), sum(path in right for path in paths[:10]) / 10


def measure(moeclip, index, arguments, rights, own=None):
    out = subprocess.run([moeclip, "search", "--index", index, "--top", "1000000", "--json", *arguments], check=True,
                         capture_output=True, text=True).stdout
    sums = {}
    for i, (line, (domain, right)) in enumerate(zip(out.splitlines(), rights, strict=True)):
        paths = [hit["path"] for hit in json.loads(line)["hits"]]
        if own:
            paths = [path for path in paths if path != own[i]]
            right = right - {own[i]}
        sums.setdefault(domain, []).append(precision(paths, right))
    values = [tuple(100 * sum(column) / len(sums[d]) for column in zip(*sums[d])) for d in DOMAINS]
    values.append(tuple(sum(column) / len(DOMAINS) for column in zip(*values)))
    return "".join(f" {a:6.1f} /{b:5.1f}" for a, b in values)


def main():
    moeclip, index, pictures = sys.argv[1:]
    folders = sorted(path for d in DOMAINS for path in (Path(pictures).resolve() / d).iterdir() if path.is_dir())
    rights = [(f.parent.name, {str(path) for path in f.iterdir()}) for f in folders]
    queries = [query_of(f) for f in folders]
    print(f"{'':34}" + "".join(f" {d:>14}" for d in [*DOMAINS, "mean"]))
    for template in ("{}", "a photo of a {}.", "a picture of a {}"):
        for ranking in ("cosine", "calibrated"):
            print(f"{template + ', ' + ranking:34}" +
                  measure(moeclip, index, ["--ranking", ranking, "--template", template, *queries], rights))
    chance = random.Random(1)
    own = [chance.choice(sorted(right)) for _, right in rights for _ in range(3)]
    thrice = [right for right in rights for _ in range(3)]
    for ranking in ("cosine", "calibrated"):
        images = [part for path in own for part in ("--image", path)]
        print(f"{'a picture of the class, ' + ranking:34}" +
              measure(moeclip, index, ["--ranking", ranking, *images], thrice, own))


if __name__ == "__main__":
    main()
