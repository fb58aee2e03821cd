#!/usr/bin/env python3
"""moeclip beside PyTorch (and ONNX Runtime, where it is installed) on the same machine, in one run: the same mathematics, the same sizes
(CLIP ViT-B/16, 22 experts in every block of both towers, 100 class names), random weights. Each piece of work is done by both, turn by
turn, in fresh processes; the fastest turn of each counts. Prints a table and, with --json FILE, writes the numbers.

usage: bench/compare.py [--batch 64] [--turns 2] [--work step,encode,prompts,start,growth] [--precision float32,bfloat16]
                        [--python PYTHON] [--json FILE] [--build FOLDER]

--precision: which arithmetic both sides use, one after the other (PyTorch's bfloat16 is its autocast); bfloat16 by itself only where the
processor has it.

Needs the release build, and a Python with PyTorch for the peer (scripts/setup.sh --with-tests puts one into .deps/venv)."""
import argparse
import itertools
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENGINE = PROGRAM = None
precision = "float32"


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def engine(work, **settings):
    return run([ENGINE, work, f"precision={precision}", *(f"{k}={v}" for k, v in settings.items())])


class Peer:
    def __init__(self, python):
        self.python = python

    def __call__(self, work, **settings):
        return run([self.python, "-W", "ignore", ROOT / "bench/peer_torch.py", work, f"dtype={precision}",
                    *(f"{k}={v}" for k, v in settings.items())])


def best(results, key, largest=False):
    return (max if largest else min)((r for r in results), key=lambda r: r[key])


rows = []


def row(what, ours, theirs, unit, larger_is_better=False):
    ratio = ours / theirs if larger_is_better else theirs / ours
    rows.append({"what": what, "moeclip": ours, "peer": theirs, "unit": unit, "times": ratio})
    print(f"{what:64} {ours:9.2f} {theirs:9.2f} {unit:11} {ratio:5.2f} times", flush=True)


def note(text):
    rows.append({"note": text})
    print(f"  {text}", flush=True)


def compare_step(a, peer):
    """Float32: the first step. bfloat16, whose first step also packs weights and makes primitives: the best of two after it."""
    ours, theirs, trimmed = [], [], []
    repeat = 1 if precision == "float32" else 2
    for _ in range(a.turns):
        ours.append(engine("step", batch=a.batch, repeat=repeat))
        theirs.append(peer("step", batch=a.batch, repeat=repeat))
        trimmed.append(peer("step", batch=a.batch, repeat=repeat, trim=1))
    o, t, r = best(ours, "best_seconds"), best(theirs, "best_seconds"), best(trimmed, "best_seconds")
    row(f"training step, {a.batch} pictures, 100 classes, {precision}", o["best_seconds"], t["best_seconds"], "s")
    note(f"PyTorch's parts: {', '.join(f'{k} {v:.1f} s' for k, v in t['parts'].items())}")
    row(f"the same, PyTorch given prompts cut to their longest (its own edit)", o["best_seconds"], r["best_seconds"], "s")
    row(f"peak memory of the step, {precision}", max(x["peak_mib"] for x in ours), t["peak_mib"], "MiB")
    rate = [engine("products", batch=16, repeat=3) for _ in range(2)]
    note(f"the step's frozen matrix products alone (oneDNN): {max(x['gflops'] for x in rate):.0f} GFLOP/s; "
         f"the step reaches {o['gflops']:.0f} GFLOP/s over all its products")


def compare_encode(a, peer):
    with tempfile.TemporaryDirectory() as folder:
        alexnet = f"{folder}/alexnet.safetensors"
        subprocess.run([ENGINE, "alexnet", f"out={alexnet}"], check=True)
        ours, theirs = [], []
        for _ in range(a.turns):
            ours.append(engine("encode", batch=16, tasks=12, repeat=8, alexnet=alexnet))
            theirs.append(peer("encode", batch=32))
        o, t = best(ours, "adapted", True), best(theirs, "adapted", True)
        row(f"encoding pictures, plain CLIP, {precision}", best(ours, "plain", True)["plain"], best(theirs, "plain", True)["plain"], "pictures/s", True)
        row(f"encoding pictures, with adapters, {precision}", o["adapted"], t["adapted"], "pictures/s", True)
        row(f"the same, ours with the choice among 12 tasks too, {precision}", o["in_passing"], t["adapted"], "pictures/s", True)
        note(f"adapters cost {100 * (o['plain'] / o['adapted'] - 1):.1f} %, with the choice among 12 tasks made in passing "
             f"{100 * (o['plain'] / o['in_passing'] - 1):.1f} % over plain CLIP; each task {100 * o['in_passing_share_per_task']:.4f} % of a "
             f"picture's encoding")
        note(f"with the paper's selector: AlexNet and 12 autoencoders {100 * (o['plain'] / o['autoencoders'] - 1):.1f} % over plain CLIP; each "
             f"autoencoder {100 * o['choose_share_per_task']:.2f} % of a picture's encoding")
    if precision != "float32":
        return
    onnx = ROOT / "bench/peer_onnx.py"
    done = subprocess.run([peer.python, "-W", "ignore", onnx, "batch=32"], capture_output=True, text=True)
    if done.returncode == 0:
        x = json.loads(done.stdout.strip().splitlines()[-1])
        row(f"encoding pictures, plain CLIP, beside ONNX Runtime {x['onnxruntime']}", best(ours, "plain", True)["plain"], x["plain"],
            "pictures/s", True)
    else:
        note(f"ONNX Runtime: not measured ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'})")


def compare_prompts(a, peer):
    ours, theirs = [], []
    for _ in range(a.turns):
        ours.append(engine("prompts", classes=100))
        theirs.append(peer("prompts", classes=100))
    row(f"100 prompts with adapters, {precision}", best(ours, "seconds")["seconds"], best(theirs, "seconds")["seconds"], "s")


def start(a, peer):
    """`classify` of one picture, ViT-B/16 as safetensors, its pages in the system's cache."""
    with tempfile.TemporaryDirectory() as folder:
        model, state, pictures = f"{folder}/model.safetensors", f"{folder}/state.safetensors", pathlib.Path(folder, "set")
        subprocess.run([ENGINE, "model", f"out={model}"], check=True)
        source = next((ROOT / "data/pictures").glob("*.png"), None) or next((ROOT / "tests/data/image").glob("*.png"))
        for c in "ab":
            (pictures / c).mkdir(parents=True)
            for i in range(5):
                (pictures / c / f"{i}.png").write_bytes(source.read_bytes() + bytes([i, ord(c)]))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
        subprocess.run([PROGRAM, "learn", "--model", model, "--state", state, "--iterations", "1", "--batch", "2",
                        "--selector-iterations", "1", pictures], **quiet)
        times = {}
        for name, extra in (("zero-shot, two labels", ["--labels", "a cat,a dog"]), ("with a state of one task", ["--state", state])):
            taken = []
            for _ in range(5):
                begin = time.perf_counter()
                subprocess.run([PROGRAM, "classify", "--precision", precision, "--model", model, *extra, pictures / "a/0.png"], **quiet)
                taken.append(time.perf_counter() - begin)
            times[name] = min(taken)
        for name, seconds in times.items():
            note(f"start to first answer, `classify` one picture, {name}, {precision}: {seconds:.2f} s")


def growth(a, peer):
    """Flat in the number of tasks and of experts? Turn by turn, so that a neighbour's minute does not fall on one number alone."""
    for key, values in (("tasks", (1, 12, 50)), ("experts", (2, 22, 128))):
        best = dict.fromkeys(values, 0)
        for _ in range(a.turns + 1):
            for v in values:
                best[v] = max(best[v], engine("encode", batch=16, **{key: v})["in_passing"])
        note(f"pictures/s with adapters and selector, {precision}, at {key} {', '.join(map(str, values))}: "
             f"{', '.join(format(best[v], '.2f') for v in values)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--turns", type=int, default=2)
    p.add_argument("--work", default="step,encode,prompts,start,growth")
    p.add_argument("--python", default=next((str(x) for x in (ROOT / ".deps/venv/bin/python",) if x.exists()), sys.executable))
    p.add_argument("--precision")
    p.add_argument("--build", default=str(ROOT / "build/release"))
    p.add_argument("--json")
    a = p.parse_args()
    global ENGINE, PROGRAM, precision
    ENGINE, PROGRAM = pathlib.Path(a.build, "bench/bench_engine"), pathlib.Path(a.build, "moeclip")
    peer = Peer(a.python)
    flags = next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), "")
    wanted = [f for f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if f" {f} " in flags + " "]
    torch = peer("products", model="tiny", batch=4)
    print(f"{platform.machine()}, {os.cpu_count()} processors, {' '.join(wanted) or 'none of the wide instruction sets'}; "
          f"load {os.getloadavg()[0]:.1f}; PyTorch {torch['torch']} with {torch['threads']} threads")
    print(subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout)
    print(f"{'work':64} {'moeclip':>9} {'peer':>9}")
    both = "float32,bfloat16" if "amx_bf16" in wanted or "avx512_bf16" in wanted else "float32"
    for precision, work in itertools.product((a.precision or both).split(","), a.work.split(",")):
        {"step": compare_step, "encode": compare_encode, "prompts": compare_prompts, "start": start, "growth": growth}[work](a, peer)
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps({"cpu": wanted, "rows": rows}, indent=1))


main()
