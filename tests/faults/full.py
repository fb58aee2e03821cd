#!/usr/bin/env python3
"""A disk that is full: learn, both benches (results and reports), pretrain, convert and index on a small tmpfs, and standard output.

usage: full.py MOECLIP PICTURES [JOB,...]

In a mount namespace of its own (unshare -m), which needs root; else it is skipped (exit code 77). Each command runs on disks of several
sizes that are too small: it must end with exit code 1, name a file and say that room must be made; what was there stays whole; and with room
made it ends with what an unbroken run gives.
"""
import os
import shutil
import subprocess
import sys

import common


def mount(where, size, *options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "moeclip", str(where)], check=True)


def one(bench, job, wanted, size, number):
    where = f"{job.name} on {size} bytes"
    out = bench.top / f"{job.name}-{number}"
    out.mkdir()
    mount(out, size)
    try:
        job.prepare(out)
        before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
        done = bench.run(job.arguments(out))
        if done.returncode == 0:
            common.compare(job, out, wanted, where)
            return 0
        if done.returncode != 1 or str(out) not in done.stderr or "make room" not in done.stderr:
            common.fail(f"{where}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        job.check_whole(out, where)
        for name, data in before.items():
            if (out / name).read_bytes() != data:
                common.fail(f"{where}: {name} is another than before")
        mount(out, 1 << 30, "remount")
        done = bench.run(job.arguments(out))
        if done.returncode != 0:
            common.fail(f"{where}, with room made: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        common.compare(job, out, wanted, where)
        return 1
    finally:
        subprocess.run(["umount", str(out)], check=True)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if os.environ.get("MOECLIP_OWN_MOUNTS") != "1":
        if subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k moeclip /mnt"], stderr=subprocess.DEVNULL).returncode:
            print("a small disk cannot be mounted here (that needs root and unshare): skipped")
            sys.exit(common.SKIP)
        os.environ["MOECLIP_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])
    names = sys.argv[3].split(",") if len(sys.argv) > 3 else list(common.JOBS)
    with common.Bench(sys.argv[1], sys.argv[2]) as bench:
        for name in names:
            job = common.JOBS[name](bench)
            whole = bench.top / f"{name}-whole"
            job.prepare(whole)
            bench.must(job.arguments(whole))
            wanted = job.results(whole)
            total = sum((p.stat().st_size + 4095) // 4096 * 4096 for p in whole.rglob("*") if p.is_file())
            kept = bench.clip.stat().st_size // 4096 * 4096 + 4096 if name == "convert" else 0  # what Convert.prepare puts there
            full = sum(one(bench, job, wanted, kept + max(4096, int(total * part)), k)
                       for k, part in enumerate((0.01, 0.3, 0.6, 0.9)))
            print(f"{name}: {full} of 4 disks were too small", flush=True)
            if full == 0:
                common.fail(f"{name}: no disk was too small")
            shutil.rmtree(whole)
        # What is printed counts too.
        for arguments in (["info", bench.clip], ["info", bench.clip, "--json"], ["bench", "mtil", "--print-preset"], ["help"]):
            with open("/dev/full", "w") as nowhere:
                done = subprocess.run([bench.program, *map(str, arguments)], stdout=nowhere, stderr=subprocess.PIPE, text=True)
            if done.returncode == 0 or not done.stderr:
                common.fail(f"{arguments} to a full disk: exit code {done.returncode}")
    common.end()


main()
