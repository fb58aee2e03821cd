#!/usr/bin/env python3
"""Losses and weights that become NaN or infinite: learning stops and names step, task and learning rate; what was there stays.

usage: numeric.py MOECLIP PICTURES
"""
import re
import shutil
import sys

import common


def stops(bench, arguments, pattern, kept, where):
    before = {p: p.read_bytes() if p.exists() else None for p in kept}
    done = bench.run(arguments)
    if done.returncode != 1 or not re.search(pattern, done.stderr):
        common.fail(f"{where}: exit code {done.returncode}, no \"{pattern}\": {done.stderr.strip()[-500:]}")
    for p, data in before.items():
        if (p.read_bytes() if p.exists() else None) != data:
            common.fail(f"{where}: {p.name} is another than before")
        if data is not None:
            bench.must(["info", p])
    for p in kept[0].parent.rglob("*.part"):
        # What was kept on the way is whole, and finite.
        bench.must(["info", p])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with common.Bench(sys.argv[1], sys.argv[2]) as bench:
        top, pictures = bench.top, bench.top / "pictures"
        state = top / "s.safetensors"
        learn = ["learn", "--model", bench.clip, "--state", state, *common.Job.small, "--no-eval", "--quiet"]
        bench.must([*learn, "--iterations", "4", f"{pictures}/colours"])
        both = [f"{pictures}/colours", f"lines={pictures}/stripes"]
        for rate in ("1e30", "1e39"):
            for more in (["--iterations", "20"], ["--iterations", "20", "--checkpoint-seconds", "0"]):
                stops(bench, [*learn, *more, "--lr", rate, *both], rf"task lines, step \d+, learning rate .*(not finite|infinite)", [state],
                      f"learn --lr {rate} {more}")
                (top / "s.safetensors.part").unlink(missing_ok=True)
        # One step alone, which no further loss would tell of.
        stops(bench, [*learn, "--iterations", "1", "--warmup", "0", "--lr", "1e39", *both],
              r"task lines, step \d, learning rate .*(not finite|infinite)", [state], "few steps")
        # A model with an infinite weight, in place of the one that the state belongs to.
        broken, data = top / "infinite.safetensors", bytearray(bench.clip.read_bytes())
        data[-4:] = b"\x00\x00\x80\x7f"
        broken.write_bytes(data)
        first = top / "first.safetensors"
        stops(bench, ["learn", "--model", broken, "--state", first, *common.Job.small, "--no-selector", "--iterations", "4", "--no-eval",
                      "--quiet", f"{pictures}/colours"], r"task colours, step 0, learning rate .*not finite", [first], "infinite model")

        clip = top / "mine.safetensors"
        shutil.copy(bench.clip, clip)
        for more in ([*common.SIZES, "--lr", "1e6", "--weight-decay", "1000"], ["--init", broken], ["--init", broken, "--checkpoint-seconds", "0"]):
            stops(bench, ["pretrain", "--pairs", f"{pictures}/colours/train", "--out", clip, "--epochs", "4", "--batch", "6",
                          "--warmup", "0", "--threads", "1", "--quiet", *more],
                  r"pretrain, step \d+, learning rate .*(not finite|infinite)", [clip], f"pretrain {more[-2:]}")
            (top / "mine.safetensors.part").unlink(missing_ok=True)

        for job, more, pattern in ((common.Mtil, [], r"(task|the selector of) .*, step \d+, learning rate .*not finite"),
                                   (common.Cil, [], r"task step 1, step \d+, learning rate .*not finite")):
            out = top / job.name
            arguments = [*job(bench).arguments(out), *more, "--lr", "1e3"]
            arguments[arguments.index(bench.clip)] = broken
            if job is common.Mtil:
                at = arguments.index("2e-3")
                arguments[at - 1:at + 1] = []
            done = bench.run(arguments)
            if done.returncode != 1 or not re.search(pattern, done.stderr):
                common.fail(f"{job.name}: exit code {done.returncode}, no \"{pattern}\": {done.stderr.strip()[-500:]}")
            job(bench).check_whole(out, job.name)
    common.end()


main()
