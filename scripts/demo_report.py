#!/usr/bin/env python3
"""Prints the accuracy matrices of the demo's runs beside zero-shot: demo_report.py RUNS (holds a folder for each of METHODS)."""
import json
import sys
from pathlib import Path


def percent(value):
    return "    -" if value is None else f"{100 * value:5.1f}"


def matrix(run):
    """Column names, [(after, {column: accuracy})]."""
    columns = [c["name"] for c in run["columns"]]
    return columns, [(r["after"], {c: r["cells"].get(c, {}).get("accuracy") for c in columns}) for r in run["rows"]]


METHODS = {"moe": "mixture-of-experts adapters", "analytic": "analytic: ridge regression on frozen features", "finetune": "fine-tuning"}


def main():
    runs = {name: json.loads((Path(sys.argv[1]) / name / "matrix.json").read_text()) for name in METHODS}
    columns, first = matrix(runs["moe"])
    rows = {name: matrix(run)[1] for name, run in runs.items()}
    tasks = [c["name"] for c in runs["moe"]["columns"] if c.get("task") is not None]
    heldout = [c for c in columns if c not in tasks]
    width = max(len(c) for c in columns) + 2
    print("accuracy in %, columns: what was tested, rows: after which task\n")
    for title, part in {"zero-shot (untouched CLIP)": first[:1], **{METHODS[name]: r[1:] for name, r in rows.items()}}.items():
        print(title)
        print(" " * 18 + "".join(c.rjust(width) for c in columns))
        for after, cells in part:
            label = "before any task" if after is None else f"after {after}"
            print(label.ljust(18) + "".join(percent(cells[c]).rjust(width) for c in columns))
        print()
    print(" " * 28 + "".join(name.rjust(11) for name in [*METHODS, "zero-shot"]))
    for key, what in (("transfer", "Transfer (not yet learned)"), ("average", "Average"), ("last", "Last")):
        zero = [first[0][1][t] for t in (tasks[1:] if key == "transfer" else tasks)]
        values = [runs[name][key]["mean"] for name in METHODS] + [sum(zero) / len(zero)]
        print(what.ljust(28) + "".join(percent(v).rjust(11) for v in values))
    seconds = [sum(t["seconds"] + (t["selector_seconds"] or 0) for t in runs[name]["learned"].values()) / len(tasks) for name in METHODS]
    print("seconds a task".ljust(28) + "".join(f"{s:11.0f}" for s in seconds))
    for name, r in rows.items():
        learned = {after: cells[after] for after, cells in r if after}
        kept = {t: r[-1][1][t] - learned[t] for t in tasks}
        print(f"{name:9s} change since each task was learned: " + ", ".join(f"{t} {100 * v:+.1f}" for t, v in kept.items()))
        gone = {h: r[-1][1][h] - r[0][1][h] for h in heldout}
        print(f"{name:9s} change of zero-shot accuracy:       " + ", ".join(f"{h} {100 * v:+.1f}" for h, v in gone.items()))


if __name__ == "__main__":
    main()
