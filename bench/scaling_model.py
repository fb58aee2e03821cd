#!/usr/bin/env python3
"""What learning with N ranks would take, from measured steps (bench/scaling.sh) and an assumed network.

usage: scaling_model.py [docs/scaling.json]

A step of n ranks with a batch of b each (formulae and their meaning: docs/SCALING.md):
  compute(b)   = fixed + per_picture * b, a line through the measured steps of one rank
  copies       = 3 * bytes / memory           gradients into the buffer, added up, and out of it
  latency      = 2 * messages * (n - 1) * alpha + 6 * ceil(log2 n) * alpha
  transport    = 2 * bytes * (n - 1) / n / bandwidth
  step         = compute + copies + latency + transport; nothing is assumed to overlap
"""
import json
import math
import sys

NETWORKS = [("10 Gb Ethernet", 30e-6, 1.1e9), ("100 Gb InfiniBand", 2e-6, 11e9)]
MEMORY = 8e9  # bytes a second that one core copies and adds
RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


def line(points):
    """Least squares of relative errors: small batches count as much as large ones."""
    w = [1 / y**2 for _, y in points]
    s, sx, sy = sum(w), sum(a * x for a, (x, _) in zip(w, points)), sum(a * y for a, (_, y) in zip(w, points))
    sxx, sxy = sum(a * x * x for a, (x, _) in zip(w, points)), sum(a * x * y for a, (x, y) in zip(w, points))
    slope = (s * sxy - sx * sy) / (s * sxx - sx * sx)
    return (sy - slope * sx) / s, slope


def step(fixed, slope, n_bytes, messages, batch, n, alpha, bandwidth):
    compute = fixed + slope * batch
    if n == 1:
        return compute
    latency = (2 * messages * (n - 1) + 6 * math.ceil(math.log2(n))) * alpha
    return compute + 3 * n_bytes / MEMORY + latency + 2 * n_bytes * (n - 1) / n / bandwidth


def table(title, rows):
    print(f"\n{title}\n")
    print("| ranks | pictures a rank | " + " | ".join(f"{name}: ms a step | pictures/s | efficiency" for name, _, _ in NETWORKS) + " |")
    print("|---:|---:|" + "---:|---:|---:|" * len(NETWORKS))
    for n, batch, cells in rows:
        print(f"| {n} | {batch:g} | " + " | ".join(f"{1e3 * t:.1f} | {n * batch / t:.0f} | {100 * e:.0f} %" for t, e in cells) + " |")


def main():
    data = json.load(open(sys.argv[1] if len(sys.argv) > 1 else "docs/scaling.json"))
    runs = {r["name"]: r for r in data["runs"]}
    ones = sorted((r["batch"], r["step_seconds"]) for r in data["runs"] if r["ranks"] == 1)
    two = runs["two-64"]
    fixed, slope = line(ones)
    print(f"Measured: {data['machine']}, 1 thread a rank, {data['steps']} steps each, {data['date']}, load {data['load']}\n")
    print("| ranks | batch | ms a step | pictures/s | in exchanges, ms |\n|---:|---:|---:|---:|---:|")
    for r in data["runs"]:
        name = " (nothing overlaps)" if r["name"].endswith("at-once") else ""
        exchange = f"{1e3 * r['exchange_seconds']:.1f}" if "exchange_seconds" in r else "-"
        print(f"| {r['ranks']}{name} | {r['batch']} | {1e3 * r['step_seconds']:.1f} | {r['batch'] / r['step_seconds']:.0f} | {exchange} |")
    print(f"\nA step: {1e3 * fixed:.1f} ms + {1e3 * slope:.2f} ms a picture. Summed: {two['bytes'] / 1e6:.1f} MB in {two['messages']} "
          "messages.")
    for b, t in ones:
        if abs(fixed + slope * b - t) > 0.2 * t:
            print(f"The line is {100 * (fixed + slope * b - t) / t:+.0f} % off at a batch of {b}.")

    def cells(batch, n, one):
        out = []
        for _, alpha, bandwidth in NETWORKS:
            t = step(fixed, slope, two["bytes"], two["messages"], batch, n, alpha, bandwidth)
            out.append((t, one / t))
        return out

    whole = fixed + slope * 64
    table("Strong scaling: a batch of 64, shared (64 ranks at most: one picture each)",
          [(n, 64 / n, cells(64 / n, n, whole / n)) for n in RANKS if n <= 64])
    table("Weak scaling: 64 pictures a rank (a batch of 64 n)", [(n, 64, cells(64, n, whole)) for n in RANKS])
    large = fixed + slope * 1024
    table("In between: a batch of 1,024, shared", [(n, 1024 / n, cells(1024 / n, n, large / n)) for n in RANKS])


main()
