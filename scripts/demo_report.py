#!/usr/bin/env python3
"""Prints the accuracy matrices of the demo's two runs beside zero-shot: demo_report.py RUNS (holds moe/ and finetune/)."""
import json
import sys
from pathlib import Path


def percent(value):
    return "    -" if value is None else f"{100 * value:5.1f}"


def matrix(run):
    """Column names, [(after, {column: accuracy})]."""
    columns = [c["name"] for c in run["columns"]]
    return columns, [(r["after"], {c: r["cells"].get(c, {}).get("accuracy") for c in columns}) for r in run["rows"]]


def main():
    runs = {name: json.loads((Path(sys.argv[1]) / name / "matrix.json").read_text()) for name in ("moe", "finetune")}
    columns, moe = matrix(runs["moe"])
    _, finetune = matrix(runs["finetune"])
    tasks = [c["name"] for c in runs["moe"]["columns"] if c.get("task") is not None]
    heldout = [c for c in columns if c not in tasks]
    width = max(len(c) for c in columns) + 2
    print("accuracy in %, columns: what was tested, rows: after which task\n")
    head = " " * 18 + "".join(c.rjust(width) for c in columns)
    for title, rows in (("zero-shot (untouched CLIP)", moe[:1]), ("mixture-of-experts adapters", moe[1:]),
                        ("fine-tuning", finetune[1:])):
        print(title)
        print(head)
        for after, cells in rows:
            label = "before any task" if after is None else f"after {after}"
            print(label.ljust(18) + "".join(percent(cells[c]).rjust(width) for c in columns))
        print()
    print("".ljust(30) + "   moe  fine-tuning  zero-shot")
    for key, what in (("transfer", "Transfer (not yet learned)"), ("average", "Average"), ("last", "Last")):
        zero = [moe[0][1][t] for t in (tasks[1:] if key == "transfer" else tasks)]
        print(f"{what:30s} {percent(runs['moe'][key]['mean'])}       {percent(runs['finetune'][key]['mean'])}"
              f"      {percent(sum(zero) / len(zero))}")
    for name, rows in (("moe", moe), ("finetune", finetune)):
        learned = {after: cells[after] for after, cells in rows if after}
        kept = {t: rows[-1][1][t] - learned[t] for t in tasks}
        print(f"{name:9s} change since each task was learned: " + ", ".join(f"{t} {100 * v:+.1f}" for t, v in kept.items()))
        gone = {h: rows[-1][1][h] - rows[0][1][h] for h in heldout}
        print(f"{name:9s} change of zero-shot accuracy:       " + ", ".join(f"{h} {100 * v:+.1f}" for h, v in gone.items()))


if __name__ == "__main__":
    main()
