#!/usr/bin/env python3
"""Malformed requests and pictures against a real server on this machine: it must not fall, grow or stop answering.

usage: serve_malformed.py [--requests 100000] [--threads 8] [--seed 1] [--model FILE] [MOECLIP]

Starts MOECLIP (build/release/moeclip) with the small model and no state, sends the requests, and prints one line of JSON: how many
were sent, the answers by status, the server's resident memory after a tenth of them and at the end. Exit code 0 when the server
lives, answers /healthz and a good picture as it did before, and its memory grew by less than 10 % + 16 MiB since the first tenth.
"""
import argparse
import http.client
import io
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib

here = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser()
p.add_argument("moeclip", nargs="?", default=os.path.join(here, "../build/release/moeclip"))
p.add_argument("--model", default=os.path.join(here, "../data/model.safetensors"))
p.add_argument("--requests", type=int, default=100000)
p.add_argument("--threads", type=int, default=8)
p.add_argument("--seed", type=int, default=1)
o = p.parse_args()


def png(width=32, height=32, level=6):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((x * 7 + y * 3 + c * 50) & 255 for x in range(width) for c in range(3)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows, level)) + chunk(b"IEND", b"")


GOOD = png()
HUGE = bytearray(GOOD)
HUGE[16:24] = struct.pack(">II", 32000, 32000)
HUGE[29:33] = struct.pack(">I", zlib.crc32(bytes(HUGE[12:29])))
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb004300") + b"\x10" * 64 + bytes.fromhex(
    "ffc0000b080010001001011100ffc40014000100000000000000000000000000000009ffc40014100100000000000000000000000000000000ffda0008010100003f00") + b"T" * 40 + b"\xff\xd9"
WEBP = b"RIFF" + struct.pack("<I", 60) + b"WEBPVP8L" + struct.pack("<I", 48) + b"\x2f\x1f\xc0\x07\x00" + bytes(range(43))
LABELS = '["cat","dog"]'


def mutate(rng, data, n=None):
    data = bytearray(data)
    for _ in range(n or rng.randint(1, 8)):
        kind = rng.randrange(4)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[at:at + rng.randint(1, 40)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 20))
        else:
            data[at:at] = data[rng.randrange(len(data) + 1):][:rng.randint(1, 60)]
    return bytes(data)


def multipart(parts, boundary=b"bound"):
    out = b""
    for name, file, data in parts:
        out += b"--" + boundary + b'\r\nContent-Disposition: form-data; name="' + name + b'"' + (b'; filename="' + file + b'"' if file is not None else b"") + b"\r\n\r\n" + data + b"\r\n"
    return out + b"--" + boundary + b"--\r\n"


def request(method, path, body=b"", kind=None, extra=b""):
    head = method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if kind:
        head += b"Content-Type: " + kind + b"\r\n"
    return head + extra + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body


def picture(rng):
    return mutate(rng, rng.choice((GOOD, bytes(HUGE), JPEG, WEBP)))


def archive(rng):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for i in range(rng.randint(0, 4)):
            z.writestr(rng.choice(("a/%d.png", "../%d.png", "/etc/%d.png", "b/c/%d.png", "%d.png", "a/%d.txt")) % i, GOOD[:rng.randint(0, len(GOOD))])
    return mutate(rng, out.getvalue()) if rng.random() < 0.7 else out.getvalue()


FORM = b"multipart/form-data; boundary=bound"
PATHS = [b"/v1/classify", b"/v1/embed/image", b"/v1/embed/text", b"/v1/learn", b"/v1/jobs/1", b"/v1/tasks", b"/metrics", b"/", b"/assets/x", b"/v1/jobs/1/events"]


def make(rng):
    kind = rng.randrange(10)
    if kind == 0:  # a broken picture as it is
        return request(b"POST", rng.choice((b"/v1/classify?task=none&labels=%5B%22a%22%2C%22b%22%5D", b"/v1/embed/image")), picture(rng), b"image/png")
    if kind == 1:  # broken and good pictures in a form
        parts = [(b"image", b"p%d" % i, picture(rng) if rng.random() < 0.8 else GOOD) for i in range(rng.randint(1, 4))]
        return request(b"POST", b"/v1/classify", multipart(parts + [(b"labels", None, LABELS.encode())]), FORM)
    if kind == 2:  # a broken form
        return request(b"POST", rng.choice(PATHS[:2]), mutate(rng, multipart([(b"image", b"a.png", GOOD), (b"labels", None, LABELS.encode())])), FORM)
    if kind == 3:  # fields that make no sense
        name = rng.choice((b"labels", b"templates", b"top", b"explain", b"task", b"other"))
        value = rng.choice((b"", b"[", b"[]", b"[1]", b"-1", b"1e9", b"\xff\xfe", b"\0", b"[" * 3000, b'["' + b"x" * 5000 + b'"]', mutate(rng, LABELS.encode())))
        return request(b"POST", b"/v1/classify", multipart([(b"image", b"a.png", GOOD), (name, None, value)]), FORM)
    if kind == 4:  # broken JSON
        return request(b"POST", rng.choice((b"/v1/embed/text", b"/v1/learn")), mutate(rng, b'{"texts": ["a cat", "a dog"], "task": "none", "name": "x", "path": "../.."}'), b"application/json")
    if kind == 5:  # a task that cannot be learned
        parts = [(b"archive", b"x.zip", archive(rng))] if rng.random() < 0.7 else [(b"file", rng.choice((b"../x.png", b"/x.png", b"a/x.png", b"", b"a//b.png", b"\xff.png")), picture(rng))]
        return request(b"POST", b"/v1/learn", multipart(parts + [(b"name", None, rng.choice((b"", b"..", b"a/b", b"\xff", b"x" * 200)))]), FORM)
    if kind == 6:  # a request that is none
        return mutate(rng, request(rng.choice((b"GET", b"POST", b"PUT", b"DELETE", b"\xff")), rng.choice(PATHS), GOOD[:20], b"image/png"), rng.randint(1, 20))
    if kind == 7:  # wrong methods, hosts and origins
        return request(rng.choice((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS")), rng.choice(PATHS), b"x" * rng.randint(0, 50), rng.choice((None, b"text/plain", b"image/png")),
                       rng.choice((b"", b"Origin: http://evil.example\r\n", b"Authorization: Bearer " + rng.randbytes(10).hex().encode() + b"\r\n")))
    if kind == 8:  # chunks
        body = b"".join(b"%x\r\n%s\r\n" % (n, GOOD[:n]) for n in (rng.randint(1, 60) for _ in range(4))) + rng.choice((b"0\r\n\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"zz\r\n", b""))
        return b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    whole = request(b"POST", b"/v1/classify", multipart([(b"image", b"a.png", GOOD)]), FORM)
    return whole[:rng.randrange(len(whole))]  # one that ends too early


def send(port, data):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as c:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            out = b""
            while len(out) < 12 and (piece := c.recv(4096)):
                out += piece
            while c.recv(65536):
                pass
            return out[9:12].decode("latin-1") if out.startswith(b"HTTP/1.") else "closed"
    except OSError:
        return "reset"


folder = tempfile.TemporaryDirectory()
server = subprocess.Popen([o.moeclip, "serve", "--model", o.model, "--state", folder.name + "/state", "--port", "0", "--threads", "1", "--learn-threads", "1",
                           "--request-seconds", "20"], stdout=subprocess.PIPE, text=True, env={"OMP_WAIT_POLICY": "passive", **os.environ})
line = server.stdout.readline()
if not line.startswith("listening"):
    sys.exit("the server did not start")
port = int(line.rsplit(":", 1)[1])


def resident():
    with open(f"/proc/{server.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def good():
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", "/v1/classify?labels=%5B%22cat%22%2C%22dog%22%5D", GOOD, {"Content-Type": "image/png"})
    answer = json.loads(c.getresponse().read())["answers"][0]
    c.request("GET", "/healthz")
    health = json.loads(c.getresponse().read())["status"]
    c.close()
    return health, [(x["name"], round(x["probability"], 4)) for x in answer["labels"]]


def work(thread, first, n, counts):
    rng = random.Random(o.seed * 1000003 + thread * 1009 + first)
    for _ in range(n):
        status = send(port, make(rng))
        counts[status] = counts.get(status, 0) + 1
        if server.poll() is not None:
            return


def round_of(first, n, totals):
    counts = [{} for _ in range(o.threads)]
    threads = [threading.Thread(target=work, args=(i, first, n // o.threads, counts[i])) for i in range(o.threads)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for c in counts:
        for k, v in c.items():
            totals[k] = totals.get(k, 0) + v


before, totals, began = good(), {}, time.time()
round_of(0, o.requests // 10, totals)
early = resident() if server.poll() is None else 0
round_of(1, o.requests - o.requests // 10, totals)
dead = server.poll() is not None
after = None if dead else good()
late = 0 if dead else resident()
server.terminate()
code = server.wait(120)
result = {"sent": sum(totals.values()), "answers": dict(sorted(totals.items())), "seconds": round(time.time() - began, 1), "resident_after_a_tenth_MiB": round(early / 2**20, 1),
          "resident_at_the_end_MiB": round(late / 2**20, 1), "exit_code": code, "same_answers": before == after}
ok = not dead and code == 0 and before == after and late < 1.1 * early + (16 << 20) and totals.get("500", 0) == 0
print(json.dumps({**result, "ok": ok}))
sys.exit(0 if ok else 1)
