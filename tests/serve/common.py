"""For the tests beside it: a tiny model with a learned task, pictures, and the real server.

usage of each test: python NAME.py MOECLIP PICTURES
"""
import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

try:
    import numpy as np
    from PIL import Image
except ImportError:
    print("skipped: numpy and Pillow are not there (scripts/setup.sh --with-tests)")
    sys.exit(77)

MOECLIP, PICTURES = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
QUICK = bool(os.environ.get("MOECLIP_QUICK"))
SIZES = """--image-size 16 --patch 8 --visual-layers 2 --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600
--text-layers 2 --text-width 64 --text-hidden 64 --embed 32""".split()
SMALL = "--experts 4 --bottleneck 4 --selector-hidden 8".split()
failed = 0


def check(condition, *what):
    global failed
    if not condition:
        failed += 1
        frame = sys._getframe(1)
        print(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}: does not hold:", *what, file=sys.stderr)
    return condition


def finish():
    for server in Server.all:
        server.kill()
    shutil.rmtree(T, ignore_errors=True)
    print("failed:", failed)
    sys.exit(1 if failed else 0)


def near(a, b, tolerance=2e-5):
    """Equal but for the rounding that the size of a batch decides."""
    if isinstance(a, dict) and isinstance(b, dict):
        # A selector's score divides by the spread of features, which is next to nothing over pictures of one colour.
        return a.keys() == b.keys() and all(near(a[k], b[k], 1e-3 if k == "score" else tolerance) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(near(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= tolerance * max(1, abs(b))
    return a == b


def soon(condition, seconds=10):
    until = time.time() + seconds
    while not condition() and time.time() < until:
        time.sleep(0.02)
    return condition()


def run(*arguments, code=0):
    r = subprocess.run([MOECLIP, *map(str, arguments)], capture_output=True, text=True)
    if r.returncode != code:
        raise SystemExit(f"moeclip {' '.join(map(str, arguments))}: {r.returncode}: {r.stderr}")
    return r.stdout


T = tempfile.mkdtemp(prefix="moeclip-serve-")
P = os.path.join(T, "pictures")
MODEL = os.path.join(T, "clip.safetensors")
STATE = os.path.join(T, "state.safetensors")


def prepare(state=True):
    """Pictures of three sets, a tiny CLIP, and a state that knows "colours"."""
    subprocess.run([PICTURES, P], check=True)
    run("pretrain", "--pairs", P + "/colours/train", "--out", MODEL, *SIZES, "--epochs", 30, "--batch", 6, "--warmup", 5,
        "--threads", 1, "--quiet")
    if state:
        def learn(name, *options):
            return run("learn", "--model", MODEL, "--state", name, *SMALL, "--selector-iterations", 20, "--batch", 8, "--threads",
                       1, "--iterations", 30, "--quiet", *options, P + "/colours")
        # With so little training, a threshold that is a little lower than the calibrated one turns the stripes away.
        calibrated = float(re.search("threshold ([0-9.e-]+)", learn(T + "/first.safetensors", "--no-eval")).group(1))
        learn(STATE, "--threshold", 0.93 * calibrated)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def form(parts, boundary="b0und4ry"):
    """parts: (name, value) or (name, file name, bytes)."""
    out = io.BytesIO()
    for part in parts:
        out.write(f"--{boundary}\r\n".encode())
        if len(part) == 2:
            out.write(f'Content-Disposition: form-data; name="{part[0]}"\r\n\r\n{part[1]}'.encode())
        else:
            out.write(f'Content-Disposition: form-data; name="{part[0]}"; filename="{part[1]}"\r\n'
                      "Content-Type: application/octet-stream\r\n\r\n".encode())
            out.write(part[2])
        out.write(b"\r\n")
    out.write(f"--{boundary}--\r\n".encode())
    return out.getvalue(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Server:
    all = []

    def __init__(self, *options, state=None, environment=None, token=None, start=True):
        self.options = ["serve", "--model", MODEL, "--state", state or STATE, "--port", "0", "--threads", "1",
                        "--learn-threads", "1", *map(str, options)]
        self.environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **(environment or {})}
        self.token = token
        Server.all.append(self)
        if start:
            self.start()

    def start(self):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([MOECLIP, *self.options], stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        env=self.environment)
        line = self.process.stdout.readline()
        if not line.startswith("listening on http://"):
            self.process.wait()
            raise SystemExit(f"the server did not start: {self.log()}")
        self.host, port = line.split("//")[1].strip().rsplit(":", 1)
        self.port = int(port)

    def log(self):
        self.errors.seek(0)
        return self.errors.read()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, number=signal.SIGTERM, timeout=120):
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def connect(self, timeout=120):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=120):
        headers = dict(headers or {})
        if self.token:
            headers.setdefault("Authorization", "Bearer " + self.token)
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **k):
        return self.ask("GET", path, **k)

    def post_form(self, path, parts, headers=None, **k):
        body, own = form(parts)
        return self.ask("POST", path, body, {**own, **(headers or {})}, **k)

    def post_json(self, path, value, headers=None, **k):
        return self.ask("POST", path, json.dumps(value), {"Content-Type": "application/json", **(headers or {})}, **k)

    def classify(self, files, **fields):
        parts = [("image", name, data) for name, data in files] + list(fields.items())
        return self.post_form("/v1/classify", parts)

    def wait_job(self, id, states=("done", "failed", "cancelled"), timeout=300):
        until = time.time() + timeout
        while time.time() < until:
            job = self.get(f"/v1/jobs/{id}").json["job"]
            if job["state"] in states:
                return job
            time.sleep(0.05)
        raise SystemExit(f"job {id} is still {job}; {self.log()}")

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def picture(width=24, height=24, seed=0, kind="PNG", **options):
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(out, kind, **options)
    return out.getvalue()


def tree(folder):
    """(path below folder, bytes) of all files."""
    for at, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            path = os.path.join(at, name)
            yield os.path.relpath(path, folder), read(path)


def zipped(files, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as z:
        for name, data in files:
            z.writestr(name, data)
    return out.getvalue()


SHORT = {"iterations": 20, "batch": 8, "selector_iterations": 10}
LONG = {"iterations": 100000, "batch": 8, "selector_iterations": 10}


def in_threads(n, work):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
