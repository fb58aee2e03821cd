#!/usr/bin/env python3
"""SIGKILL at random moments of everything that writes (common.JOBS): learning in several ways, the benchmarks, pretrain, convert, index, prune.

usage: kill.py MOECLIP PICTURES [KILLS [SEED [JOB,...|N]]]

N: only so many of the jobs, drawn by the seed. SEED 0: the number of today's date, so that in some days all have had their turn.

After each kill every file under a final name must be whole; the run that is continued to its end must give what an unbroken one gives,
byte for byte, and leave no temporary file. PICTURES is the program that makes pictures (tests/cli/tools/pictures.c).
"""
import datetime
import random
import shutil
import subprocess
import sys
import time

import common


def kill_once(bench, job, out, delay):
    """True when the process was killed, False when it had ended."""
    job.prepare(out)
    process = subprocess.Popen([bench.program, *map(str, job.arguments(out))], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, env=common.environment())
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
    error = process.communicate()[1]
    if process.returncode < 0 and job.starts_others:
        for left in common.outlives(out):
            common.fail(f"{job.name}: outlives the process that was killed: {left}")
    if process.returncode > 0:
        common.fail(f"{job.name}: exit code {process.returncode} when continued: {error.decode()[-1000:]}")
    return process.returncode < 0


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else int(time.time())
    seed = seed or datetime.date.today().toordinal()
    names = list(common.JOBS)
    if len(sys.argv) > 5:
        # Neighbouring days draw neighbouring ones.
        names = [names[(seed * int(sys.argv[5]) + k) % len(names)] for k in range(int(sys.argv[5]))] if sys.argv[5].isdigit() else sys.argv[5].split(",")
    chance = random.Random(seed)
    print(f"seed {seed}", flush=True)
    with common.Bench(sys.argv[1], sys.argv[2]) as bench:
        total = 0
        for k, name in enumerate(names):
            job = common.JOBS[name](bench)
            whole = bench.top / f"{name}-whole"
            job.prepare(whole)
            began = time.monotonic()
            bench.must(job.arguments(whole))
            takes = time.monotonic() - began
            wanted = job.results(whole)
            if not wanted:
                common.fail(f"{name}: there is nothing to compare")
            mine, runs, left = 0, 0, kills // len(names) + (k < kills % len(names))
            while mine < left and runs < 20 * left:
                out = bench.top / f"{name}-{runs}"
                runs += 1
                # Again and again, until the run gets through by itself or has had its share.
                while mine < left:
                    if not kill_once(bench, job, out, chance.uniform(0.1, 1.05) * takes):
                        break
                    mine += 1
                    job.check_whole(out, f"{name}, kill {mine}")
                    if chance.random() < 0.3:
                        break
                job.prepare(out)
                bench.must(job.arguments(out))
                common.compare(job, out, wanted, f"{name}, run {runs} (kill {mine})")
                shutil.rmtree(out)
            total += mine
            print(f"{name}: killed {mine} times in {runs} runs of {takes:.2f} s", flush=True)
        if total < kills:
            common.fail(f"{total} kills, not {kills}")
    common.end()


main()
