"""What a hostile or careless client meets: bounds, the token, other sites' pages, paths and archives that lead elsewhere."""
import socket
import stat
import struct
import warnings
import zlib

from common import *

prepare()
root = T + "/root"
outside = T + "/outside"
shutil.copytree(P + "/stripes", root + "/stripes")
shutil.copytree(P + "/spots", outside)
spots = list(tree(P + "/spots"))
red = ("red.png", read(P + "/colours/test/red/0.png"))


def raw(server, data, timeout=20):
    """Bytes there, bytes back until the server closes or is silent."""
    out = b""
    with socket.create_connection((server.host, server.port), timeout=timeout) as c:
        try:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            while piece := c.recv(65536):
                out += piece
        except OSError:
            pass
    return out


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


# --- paths that lead out of the root; links too -----------------------------------------------------------------------------
s = Server("--root", root, *SMALL)
os.symlink(outside, root + "/link")
shutil.copytree(P + "/stripes", root + "/inside")
os.symlink(outside + "/few", root + "/inside/train/few")
os.makedirs(root + "/loop/a")
os.symlink("..", root + "/loop/a/up")
with open(root + "/list.csv", "w") as f:
    f.write("".join(f"{outside}/few/{i}.png,few\n{outside}/many/{i}.png,many\n" for i in range(5)))
with open(root + "/up.csv", "w") as f:
    f.write("".join(f"../outside/few/{i}.png,few\n../outside/many/{i}.png,many\n" for i in range(5)))
for path in ("../outside", "stripes/../../outside", outside, "/etc", "link", "link/few", "inside", "list.csv", "up.csv", "stripes//train", "./stripes",
             "stripes/./train", "..", "", "a\\b", "a\nb", "x" * 5000, "loop", "no/such"):
    a = s.post_json("/v1/learn", {"name": "escape", "path": path})
    check(a.status == 400, path, a)
    check(b"root:" not in a.body and len(a.body) < 2000, a)
with open(root + "/good.csv", "w") as f:
    f.write("".join(f"stripes/train/{c}/{i}.png,{c}\n" for i in range(8) for c in ("across", "down")))
a = s.post_json("/v1/learn", {"name": "from a list", "path": "good.csv", **SHORT})
check(a.status == 202 and s.wait_job(a.json["job"]["id"])["state"] == "done", a)

# --- archives ------------------------------------------------------------------------------------------------------------------
before = sorted(os.listdir(T))


def archive(data, word, name="hostile"):
    a = s.post_form("/v1/learn", [("name", name), ("archive", "x.zip", data)] + list(SHORT.items()))
    check(a.status == 400 and word in a.json["error"]["message"], word, a)
    check(os.listdir(STATE + ".data/incoming") == [] and sorted(os.listdir(T)) == before, os.listdir(T))


for name in ("../evil.png", "a/../../evil.png", "/tmp/moeclip-evil.png", "a\\..\\evil.png", "a/./b.png", "a//b.png", "C:\\evil.png",
             "/".join("abcdefghijklm") + ".png", "x" * 300 + ".png"):
    archive(zipped(spots + [(name, red[1])]), "refused")
check(not os.path.exists("/tmp/moeclip-evil.png"))
link = zipfile.ZipInfo("few/link.png")
link.create_system = 3
link.external_attr = (stat.S_IFLNK | 0o777) << 16
archive(zipped(spots + [(link, "/etc/passwd")]), "link")
archive(zipped([("few/zeros.png", bytes(40 << 20)), *spots], compression=zipfile.ZIP_DEFLATED), "tightly")
archive(zipped([(f"few/z{i}.png", bytes(900 << 10)) for i in range(30)] + spots, compression=zipfile.ZIP_DEFLATED), "tightly")
archive(b"PK\x03\x04" + os.urandom(1000), "not a zip")
archive(b"", "not a zip")
good = bytearray(zipped(spots))
archive(bytes(good[:len(good) // 2]), "not a zip")
good[40:60] = b"\xff" * 20
a = s.post_form("/v1/learn", [("name", "hostile"), ("archive", "x.zip", bytes(good))])
check(a.status == 400, a)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    archive(zipped([("few/a.png", red[1]), ("few/a.png", red[1])]), "twice")
for name in ("../evil/a.png", "/abs/a.png", "a/../b.png", "..", "few/..", "."):
    a = s.post_form("/v1/learn", [("name", "hostile"), ("file", name, red[1])])
    check(a.status == 400 and "refused" in a.json["error"]["message"], name, a)

# a picture whose header says that it is huge: answered as broken; a task with it fails
header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + read(P + "/colours/test/red/0.png")[33:]
a = s.classify([("huge.png", huge), red])
check("pixels" in a.json["answers"][0]["error"] and "labels" in a.json["answers"][1], a)
a = s.post_form("/v1/learn", [("name", "huge"), ("archive", "x.zip", zipped(spots + [("few/huge.png", huge)]))] + list(SHORT.items()))
job = s.wait_job(a.json["job"]["id"])
check(job["state"] == "failed" and "pixels" in job["error"], job)

# --- other sites' pages, other names for this machine ---------------------------------------------------------------------------
for host, status in (("evil.example", 421), (f"evil.example:{s.port}", 421), ("127.0.0.1.evil.example", 421), ("", 421), ("localhost", 200), (f"localhost:{s.port}", 200),
                     (f"[::1]:{s.port}", 200), (f"127.0.0.1:{s.port}", 200)):
    check(s.get("/v1/tasks", headers={"Host": host}).status == status, host)
body, kind = form([("image", *red)])
own = f"http://{s.host}:{s.port}"
for origin, status in ((own, 200), ("http://evil.example", 403), ("null", 403), (own + ".evil.example", 403), (f"http://{s.host}:1", 403)):
    check(s.ask("POST", "/v1/classify", body, {**kind, "Origin": origin}).status == status, origin)
check(s.ask("POST", "/v1/classify", body, {**kind, "Sec-Fetch-Site": "cross-site"}).status == 403)
check(s.ask("DELETE", "/v1/jobs/1", headers={"Origin": "http://evil.example"}).status == 403)

# --- malformed -----------------------------------------------------------------------------------------------------------------
for data in (b"GET\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
             b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\nZZ\r\n", b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n\r\n",
             b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20000 + b"\r\n"):
    check(status_of(raw(s, data)) in (400, 413, 414, 431, 505, None), data[:60])
head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n%s"


def multipart(data, boundary=b"bb"):
    return status_of(raw(s, head % (boundary, len(data), data)))


part = b'--bb\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
check(multipart(part + red[1] + b"\r\n--bb--\r\n") == 200)
for data in (b"", b"junk", part, part + red[1], part + red[1] + b"\r\n--bb", part + b"\r\n--c--\r\n", b"--bb\r\n\r\n\r\n--bb--\r\n", b"--bb\r\n" + b"X" * 100000 + b"\r\n\r\nx\r\n--bb--\r\n",
             b'--bb\r\nContent-Disposition: form-data; name="' + b"n" * 5000 + b'"\r\n\r\nx\r\n--bb--\r\n', part.replace(b'name="image"', b"") + b"x\r\n--bb--\r\n",
             b'--bb\r\nContent-Disposition: form-data; name="top"\r\n\r\n1\0002\r\n--bb--\r\n', b'--bb\r\nContent-Disposition: form-data; name="top\r\n\r\n1\r\n--bb--\r\n',
             (b'--bb\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' * 100) + b"--bb--\r\n", b"--bb--\r\n" * 1000):
    check(multipart(data) in (400, None), data[:80], multipart(data))
check(status_of(raw(s, b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc")) == 400)
# a client that leaves in the middle of its body
for _ in range(20):
    with socket.create_connection((s.host, s.port)) as c:
        c.sendall(head % (b"bb", 100000, part + red[1]))
check(s.classify([red]).status == 200)
check(soon(lambda: b"moeclip_request_memory_bytes 0" in s.get("/metrics").body))
check(s.stop() == 0)

# --- sizes ---------------------------------------------------------------------------------------------------------------------
s = Server("--body", 1, "--max-images", 3, "--queue", 4, "--megapixels", 0.02, "--upload", 1, "--archive", 1, "--archive-files", 25, "--max-prompts", 10,
           "--request-seconds", 2, "--connections", 6, *SMALL)
check(s.classify([("big.png", bytes(1100 << 10))]).status == 413)
a = raw(s, head % (b"bb", 50 << 20, b"x"))
check(status_of(a) == 413 and b"too_large" in a, a)
a = raw(s, b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 20 + b"0\r\n\r\n")
check(status_of(a) == 413, a[:100])
check(s.classify([red] * 3).status == 200 and s.classify([red] * 4).status == 413)
check("pixels" in s.classify([("wide.png", picture(200, 200))]).json["answers"][0]["error"])
check(s.classify([red], labels=json.dumps(["a"] * 11)).status == 400)
check(s.classify([red], labels=json.dumps(["a"] * 5), templates=json.dumps(["{}", "a {}", "b {}"])).status == 400)
check(s.classify([red], labels=json.dumps(["a" * 3000])).status == 400)
check(s.post_json("/v1/embed/text", {"texts": ["a"] * 5}).status == 400)
noise = [(f"{c}/{i}.png", picture(200, 200, i)) for i in range(10) for c in "ab"]
check(s.post_form("/v1/learn", [("name", "x"), ("archive", "x.zip", zipped(noise))]).status == 413)
a = s.post_form("/v1/learn", [("name", "x"), ("archive", "x.zip", zipped([(f"{c}/{i}.png", red[1]) for i in range(20) for c in "ab"]))])
check(a.status == 400 and "entries" in a.json["error"]["message"], a)
loose = zipped([(f"{c}/{i}.png", picture(60, 60, 1) * 10) for i in range(6) for c in "ab"], compression=zipfile.ZIP_DEFLATED)
a = s.post_form("/v1/learn", [("name", "x"), ("archive", "x.zip", loose)])
check(a.status == 400 and "unpacks to more" in a.json["error"]["message"], a)
# a body that trickles in
with socket.create_connection((s.host, s.port)) as c:
    c.settimeout(20)
    c.sendall(head % (b"bb", 3000, part))
    began = time.time()
    try:
        while time.time() - began < 15:
            c.sendall(b"x")
            time.sleep(0.1)
    except OSError:
        pass
    check(time.time() - began < 40)
check(soon(lambda: s.classify([red]).status == 200))
check(s.stop() == 0)

# --- overload: with one slow engine and a short queue, some are answered with 503 and Retry-After, all others rightly ---------------
s = Server("--queue", 8, "--max-images", 4, "--label-cache", 0, "--batch", 4, *SMALL)
counts, odd = {}, []
slow = json.dumps([f"word {i}" for i in range(60 if QUICK else 300)])
expected = s.classify([red] * 4, labels=slow, top=3).json


def load(i):
    for _ in range(2 if QUICK else 6):
        a = s.classify([red] * 4, labels=slow, top=3)
        counts[a.status] = counts.get(a.status, 0) + 1
        if a.status == 503 and not (a.headers["Retry-After"] == "1" and a.json["error"]["code"] == "overloaded") or a.status == 200 and not near(a.json, expected) \
                or a.status not in (200, 503):
            odd.append(a)


in_threads(12, load)
check(counts.get(503, 0) > 0 and counts.get(200, 0) > 0 and not odd, counts, odd[:1])
check(s.classify([red]).status == 200 and s.stop() == 0)
s = Server("--memory", 1, "--megapixels", 20, *SMALL)
check(s.classify([("big.png", bytes(1100 << 10))]).status == 503)
check(s.classify([red]).status == 200 and s.stop() == 0)

# --- the token -------------------------------------------------------------------------------------------------------------------
secret = "correct horse battery staple"
with open(T + "/token", "w") as f:
    f.write(secret + "\n")
for options, environment in ((("--token-file", T + "/token"), {}), ((), {"MOECLIP_TOKEN": secret})):
    s = Server(*options, *SMALL, "--host", "0.0.0.0", environment=environment)
    s.host = "127.0.0.1"
    for path in ("/healthz", "/", "/openapi.json", "/assets/index.html"):
        check(s.get(path).status == 200, path)
    check(s.get("/healthz").json["auth"] is True)
    for path in ("/v1/tasks", "/metrics", "/v1/jobs", "/v1/jobs/1", "/v1/jobs/1/events"):
        check(s.get(path).status == 401, path)
    for header in (None, "Bearer", "Bearer ", "Bearer wrong", "Basic " + secret, "Bearer " + secret[:-1], "Bearer " + secret + "x", secret):
        a = s.get("/v1/tasks", headers={"Authorization": header} if header else None)
        check(a.status == 401 and a.headers["WWW-Authenticate"].startswith("Bearer") and a.json["error"]["code"] == "unauthorized", header, a)
    check(s.classify([red]).status == 401)
    s.token = secret
    check(s.get("/v1/tasks").status == 200 and s.classify([red]).status == 200 and s.get("/v1/tasks", headers={"Host": "moeclip.example"}).status == 200)
    check(s.stop() == 0)
for options, word in ((("--host", "0.0.0.0"), "token"), (("--host", "::"), "token"), (("--host", "example.org"), "digits"), (("--token-file", T + "/none"), "none"),
                      (("--root", T + "/none"), "--root"), (("--state", MODEL), "state")):
    r = subprocess.run([MOECLIP, "serve", "--model", MODEL, "--state", STATE, "--port", "0", "--data", T + "/d", *options] if options[0] != "--state" else
                       [MOECLIP, "serve", "--model", MODEL, "--port", "0", *options], capture_output=True, text=True)
    check(r.returncode == 1 and word in r.stderr and r.stderr.count("\n") == 1, options, r)
with open(T + "/token", "w") as f:
    f.write("short\n")
r = subprocess.run([MOECLIP, "serve", "--model", MODEL, "--state", STATE, "--token-file", T + "/token"], capture_output=True, text=True)
check(r.returncode == 1 and "16" in r.stderr, r)
s = Server()
r = subprocess.run([MOECLIP, "serve", "--model", MODEL, "--state", STATE, "--port", "0"], capture_output=True, text=True)
check(r.returncode == 1 and "another server" in r.stderr, r)
r = subprocess.run([MOECLIP, "serve", "--model", MODEL, "--state", STATE, "--port", str(s.port), "--data", T + "/d"], capture_output=True, text=True)
check(r.returncode == 1 and "cannot listen" in r.stderr, r)
check(s.stop() == 0)
finish()
