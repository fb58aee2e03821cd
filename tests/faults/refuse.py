#!/usr/bin/env python3
"""Calls on files that go wrong, one after another (shim.c): refused, failing, cut short, interrupted, or the last before SIGKILL.

usage: refuse.py MOECLIP PICTURES SHIM [EVERY [JOB,...]]

EVERY: 1 tries each call, 5 each fifth (the default). For each: an error is said and the exit code is not 0, or the result is the right
one; every file under a final name is whole; and the same command given again ends with what an unbroken run gives, byte for byte.
"""
import shutil
import signal
import sys
from pathlib import Path

import common

# What goes wrong, with which calls. A state that cannot be examined must not be taken for one that is not there.
KINDS = [("EIO", "write,"), ("ENOSPC", "write,"), ("EIO", "fsync,"), ("EIO", "rename,"), ("EACCES", "open,"), ("EIO", "open,"),
         ("EACCES", "mkdir,"), ("EIO", "stat,"), ("EIO", "read,"), ("EACCES", "unlink,"), ("EIO", "truncate,"), ("EIO", "lock,"),
         ("ENOMEM", "open,"), ("kill", "open,write,fsync,rename,unlink,mkdir,truncate,lock,")]


class Refusal:
    def __init__(self, bench, shim, job):
        self.bench, self.shim, self.job, self.runs = bench, shim, job, 0
        whole = bench.top / f"{job.name}-whole"
        job.prepare(whole)
        bench.must(job.arguments(whole))
        self.wanted = job.results(whole)

    def run(self, out, **how):
        counted = self.bench.top / "count"
        counted.unlink(missing_ok=True)
        done = self.bench.run(self.job.arguments(out), env=common.environment(
            LD_PRELOAD=self.shim, MOECLIP_SHIM_UNDER=out, MOECLIP_SHIM_COUNT=counted,
            **{f"MOECLIP_SHIM_{k.upper()}": v for k, v in how.items()}))
        return done, int(counted.read_text()) if counted.exists() else 0

    def fresh(self):
        self.runs += 1
        out = self.bench.top / f"{self.job.name}-{self.runs}"
        self.job.prepare(out)
        return out

    def go_on(self, out, where):
        done = self.bench.run(self.job.arguments(out))
        if done.returncode != 0:
            common.fail(f"{where}: given again: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        else:
            common.compare(self.job, out, self.wanted, where)
        shutil.rmtree(out)

    def one(self, error, calls, at, on):
        out = self.fresh()
        where = f"{self.job.name}: {error} from call {at} of {calls}{' on' if on else ''}"
        done, _ = self.run(out, do=error, calls=calls, at=at, on=int(on))
        self.job.check_whole(out, where)
        if done.returncode == 0:
            common.compare(self.job, out, self.wanted, where)
        elif error == "kill":
            if done.returncode != -signal.SIGKILL:
                common.fail(f"{where}: exit code {done.returncode}")
        elif done.returncode != 1 or not done.stderr.strip():
            common.fail(f"{where}: exit code {done.returncode}: {done.stderr.strip()}")
        elif error == "ENOSPC" and str(out) not in done.stderr:
            common.fail(f"{where}: no file is named: {done.stderr.strip()}")
        elif error == "ENOSPC" and not ("make room" in done.stderr or "disk is full" in done.stderr):
            common.fail(f"{where}: it is not said what to do: {done.stderr.strip()}")
        self.go_on(out, where)

    def sweep(self, error, calls, every):
        out = self.fresh()
        _, n = self.run(out, do=error, calls=calls, at=0)
        shutil.rmtree(out)
        tried = [at for at in range(1, n + 1) if at % every == self.runs % every or at == 1 or at == n]
        for at in tried:
            self.one(error, calls, at, False)
        if error not in ("kill", "ENOMEM") and n > 0:
            self.one(error, calls, 1 + self.runs % n, True)
        return n, len(tried)

    def always(self, error, calls):
        """All calls are cut short or interrupted: nothing may come of it."""
        out = self.fresh()
        where = f"{self.job.name}: {error}"
        done, n = self.run(out, do=error, calls=calls)
        if done.returncode != 0:
            common.fail(f"{where}: exit code {done.returncode}: {done.stderr.strip()}")
        else:
            common.compare(self.job, out, self.wanted, where)
        shutil.rmtree(out)
        return n


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    every = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    names = sys.argv[5].split(",") if len(sys.argv) > 5 else list(common.JOBS)
    with common.Bench(sys.argv[1], sys.argv[2]) as bench:
        for name in names:
            r = Refusal(bench, str(Path(sys.argv[3]).resolve()), common.JOBS[name](bench))
            n_short = r.always("short", "read,write,")
            n_interrupted = r.always("EINTR", r.job.interruptible)
            if not n_short or not n_interrupted:
                sys.exit(f"{name}: {sys.argv[3]} is not seen by the program")
            said = []
            for error, calls in KINDS:
                n, tried = r.sweep(error, calls, every)
                said.append(f"{error} {calls.split(',')[0] if error != 'kill' else 'any'} {tried}/{n}")
            print(f"{name}: short {n_short}, interrupted {n_interrupted}, {', '.join(said)}", flush=True)
    common.end()


main()
