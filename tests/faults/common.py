"""What the scripts of faults share: a tiny CLIP, pictures, and the commands that are broken off, with what they must give."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SKIP = 77

SIZES = ("--image-size 16 --patch 8 --visual-layers 2 --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600 "
         "--text-layers 2 --text-width 64 --text-hidden 64 --embed 32").split()

failures = 0


def fail(message):
    global failures
    failures += 1
    print(message, file=sys.stderr, flush=True)


def environment(**more):
    return {**os.environ, "OMP_WAIT_POLICY": "passive", **{k: str(v) for k, v in more.items()}}


class Bench:
    """The program, and a folder with what the commands need; a context manager."""

    def __init__(self, program, pictures, folder=None):
        self.program = str(Path(program).resolve())
        self.pictures = str(Path(pictures).resolve())
        self.folder = folder

    def __enter__(self):
        # In memory, where there is such a folder: what is tested are the calls, not the disk.
        self.top = Path(tempfile.mkdtemp(prefix="moeclip-faults-", dir=self.folder or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)))
        subprocess.run([self.pictures, self.top / "pictures"], check=True)
        subprocess.run([sys.executable, ROOT / "scripts/tiny_benchmarks.py", self.top / "sets", "--classes", "4", "--images", "4",
                        "--only", "DTD,MNIST,CIFAR100,TinyImageNet"], check=True, stdout=subprocess.DEVNULL)
        self.clip = self.top / "clip.safetensors"
        self.must(["pretrain", "--pairs", self.top / "pictures/colours/train", "--out", self.clip, *SIZES, "--epochs", "3", "--batch",
                   "6", "--warmup", "5", "--threads", "1", "--quiet"])
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.top, ignore_errors=True)

    def run(self, arguments, **how):
        how.setdefault("env", environment())
        return subprocess.run([self.program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace", timeout=600, **how)

    def must(self, arguments, **how):
        done = self.run(arguments, **how)
        if done.returncode != 0:
            sys.exit(f"moeclip {' '.join(map(str, arguments))}: exit code {done.returncode}: {done.stderr[-2000:]}")
        return done


def without_times(value):
    """JSON without what differs from run to run: times, and what a run tells of its own learning (steps of a run that was broken off)."""
    if isinstance(value, dict):
        kept = {k: without_times(v) for k, v in value.items() if "seconds" not in k and k not in ("learned", "peak_bytes")}
        # Of each task and step it must be told, by whichever run ended it.
        learned = value.get("learned")
        return {**kept, "learned": sorted(learned)} if isinstance(learned, dict) else kept
    if isinstance(value, list):
        return [without_times(v) for v in value]
    return value


def normal(path):
    """The bytes of a result file that must be the same however often a run was broken off."""
    data = path.read_bytes()
    if path.suffix == ".json":
        whole = json.loads(data)
        whole.pop("provenance", None)  # says how each run was started, and so with which folders
        text = json.dumps(without_times(whole), sort_keys=True)
        text = text.replace(str(path.parent), "")
        return re.sub(r"/[^\"]*/(pictures|sets|clip\.safetensors)", r"/\1", text).encode()
    if path.name == "results.csv":
        return b"\n".join(b",".join(line.split(b",")[:7]) for line in data.splitlines())
    return data


class Job:
    """One command that writes into `out`; finals are the files that must be whole whenever they are there."""

    small = "--experts 4 --bottleneck 4 --selector-hidden 8 --selector-iterations 3 --batch 8 --threads 1".split()
    compare = ()  # globs below out
    interruptible = "open,read,write,fsync,lock,"
    starts_others = False

    def __init__(self, bench):
        self.bench = bench

    def prepare(self, out):
        out.mkdir(parents=True, exist_ok=True)

    def arguments(self, out):
        raise NotImplementedError

    def results(self, out):
        return {str(p.relative_to(out)): normal(p) for pattern in self.compare for p in sorted(out.glob(pattern)) if p.is_file()}

    def check_whole(self, out, where):
        """Every file under a final name is whole: states, checkpoints and models load, JSON parses, nothing is empty."""
        for p in sorted(out.rglob("*")):
            if not p.is_file() or p.name.endswith((".tmp", "-journal")) or p.name == "log.txt":
                continue
            if p.suffix == ".sqlite" and p.stat().st_size == 0:
                continue  # SQLite creates the name before its first transaction: an index without anything yet
            if p.stat().st_size == 0:
                fail(f"{where}: {p.name} is empty")
            elif p.suffix == ".json":
                try:
                    json.loads(p.read_bytes())
                except ValueError as e:
                    fail(f"{where}: {p.name} is not whole: {e}")
            elif p.suffix in (".safetensors", ".pth", ".part", ".sqlite"):
                done = self.bench.run(["info", p])
                # SQLite takes back what a creation that was broken off had written.
                if done.returncode != 0 and not (p.suffix == ".sqlite" and "is empty" in done.stderr):
                    fail(f"{where}: {p.name} does not load: {done.stderr.strip()}")


class Learn(Job):
    name = "learn"
    compare = ("s.safetensors", "s.results/*")

    def arguments(self, out):
        pictures = self.bench.top / "pictures"
        return ["learn", "--model", self.bench.clip, "--state", out / "s.safetensors", *self.small, "--iterations", "12",
                "--checkpoint-seconds", "0", "--quiet", "--heldout", f"spots={pictures}/spots", f"{pictures}/colours",
                f"lines={pictures}/stripes"]


class OtherMethod(Learn):
    """Learning in another way."""
    more = ()

    def arguments(self, out):
        return [*super().arguments(out), *self.more]


class Analytic(OtherMethod):
    name = "learn analytic"
    more = ("--method", "analytic", "--ridge-hidden", "64")


class Probe(OtherMethod):
    name = "learn linear-probe"
    more = ("--method", "linear-probe")


class Lwf(OtherMethod):
    name = "learn lwf"
    more = ("--method", "lwf", "--lr", "1e-4")


class Dynamic(OtherMethod):
    name = "learn dynamic"
    more = ("--dynamic-experts", "--dynamic-margin", "0.001", "--dynamic-probe", "10")


class Prune(Job):
    """A state in its own place: the old one until the new one is whole."""
    name = "prune"
    compare = ("s.safetensors",)

    def prepare(self, out):
        super().prepare(out)
        state = self.bench.top / "to-prune.safetensors"
        if not state.exists():
            self.bench.must(["learn", "--model", self.bench.clip, "--state", state, *self.small, "--iterations", "4", "--no-eval", "--quiet",
                             self.bench.top / "pictures/colours"])
        if not (out / "s.safetensors").exists():
            shutil.copy(state, out / "s.safetensors")

    def arguments(self, out):
        return ["prune", "--model", self.bench.clip, out / "s.safetensors", "--output", out / "s.safetensors"]


class Compare(Job):
    """Several runs, each a process of its own, which must not outlive the one that was killed."""
    name = "bench compare"
    starts_others = True
    compare = ("compare.json", "*/state.safetensors", "*/matrix.*")

    def arguments(self, out):
        pictures = self.bench.top / "pictures"
        return ["bench", "compare", "--model", self.bench.clip, "--out", out, "--methods", "linear-probe,finetune,moe", "--lr", "1e-4",
                "--iterations", "6", "--batch", "8", "--threads", "1", "--quiet", "--with",
                "moe=--experts 4 --bottleneck 4 --checkpoint-seconds 0", "--with", "finetune=--checkpoint-seconds 0",
                f"{pictures}/colours", f"lines={pictures}/stripes"]


class Mtil(Job):
    name = "bench mtil"
    compare = ("state.safetensors", "results.csv", "table.txt", "matrix.txt", "matrix.svg")

    def arguments(self, out):
        return ["bench", "mtil", "--data", self.bench.top / "sets", "--model", self.bench.clip, "--sets", "DTD,MNIST", "--iterations",
                "8", "--reference-iterations", "3", "--lr", "2e-3", *self.small, "--seed", "3", "--checkpoint-seconds", "0", "--quiet",
                "--out", out]


class Xtail(Mtil):
    name = "bench xtail"

    def arguments(self, out):
        return ["bench", "xtail", *super().arguments(out)[2:]]


class Cil(Job):
    name = "bench cil"
    compare = ("state.safetensors", "results.json", "table.txt")

    def arguments(self, out):
        return ["bench", "cil", "--data", self.bench.top / "sets", "--model", self.bench.clip, "--base", "2",
                "--increment", "2", "--epochs", "3", "--experts", "2", "--bottleneck", "4", "--batch", "4", "--threads", "1",
                "--checkpoint-seconds", "0", "--quiet", "--out", out]


class Pretrain(Job):
    name = "pretrain"
    compare = ("c.safetensors",)

    def arguments(self, out):
        return ["pretrain", "--pairs", self.bench.top / "pictures/colours/train", "--out", out / "c.safetensors", *SIZES, "--epochs", "4",
                "--batch", "6", "--warmup", "5", "--threads", "1", "--checkpoint-seconds", "0", "--quiet"]


class Convert(Job):
    name = "convert"
    compare = ("c.*",)

    def prepare(self, out):
        super().prepare(out)
        # What is there before, and must stay until the new one is whole.
        if not (out / "c.pth").exists():
            shutil.copy(self.bench.clip, out / "c.pth")

    def arguments(self, out):
        return ["convert", "--dtype", "f16", self.bench.clip, out / "c.pth"]


class Index(Job):
    name = "index"
    interruptible = "open,read,write,"  # SQLite takes an interrupted fsync for an error; the next run goes on
    compare = ("hits",)

    def arguments(self, out):
        return ["index", "--model", self.bench.clip, "--index", out / "i.sqlite", "--threads", "1", "--quiet",
                self.bench.top / "pictures"]

    def results(self, out):
        done = self.bench.run(["search", "--model", self.bench.clip, "--index", out / "i.sqlite", "--top", "1000", "--json", "red"])
        if done.returncode != 0:
            return {"hits": done.stderr}
        answer = json.loads(done.stdout)
        del answer["provenance"]  # has the index file's hash, and SQLite's pages lie as the runs came
        return {"hits": json.dumps(answer)}


JOBS = {job.name.replace(" ", "-"): job for job in (Learn, Mtil, Cil, Pretrain, Convert, Index, Analytic, Probe, Lwf, Dynamic, Prune, Xtail,
                                                    Compare)}


def outlives(out):
    """Processes that still work in this folder, a second after the one that started them was killed."""
    left = []
    for _ in range(50):
        left = []
        for p in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = p.read_bytes()
            except OSError:
                continue
            if str(out).encode() in words:
                left.append(words.replace(b"\0", b" ").decode(errors="replace"))
        if not left:
            break
        time.sleep(0.02)
    return left


def compare(job, out, wanted, where):
    is_now = job.results(out)
    for name in sorted(set(wanted) | set(is_now)):
        if wanted.get(name) != is_now.get(name):
            fail(f"{where}: {name} is not what an unbroken run gives")
    left = [p.name for p in out.rglob("*.tmp")]
    if left:
        fail(f"{where}: left behind: {left}")


def end():
    print(f"{failures} failures")
    sys.exit(failures > 0)
