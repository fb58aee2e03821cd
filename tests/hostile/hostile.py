"""Hostile files through the program: each must end with an error that names the file, within 20 s of processor time and 256 MiB beyond what the
program needs to start, and run nothing. usage: hostile.py MOECLIP SOURCE_FOLDER

Uploads to the server are in tests/serve/limits.py, the parsers' own corner cases in tests/unit."""
import gzip
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib

MOECLIP, ROOT = sys.argv[1:3]
SANITIZED = bool(os.environ.get("MOECLIP_SANITIZED"))
SECONDS, MIB = (60 if SANITIZED else 20), 256
T = tempfile.mkdtemp(prefix="moeclip-hostile-")
MARK = T + "/ran"  # what a payload makes when it runs
n_checked = 0


def write(name, data):
    path = os.path.join(T, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def run(*arguments):
    """Exit code, standard error and output, seconds, and the most resident memory in MiB."""
    began = time.monotonic()

    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        if not SANITIZED:  # a sanitizer reserves terabytes of address space
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    # stdout and stderr go to a file: wait4 tells the memory of just this child.
    with open(T + "/output", "w+b") as out:
        p = subprocess.Popen([MOECLIP, *arguments], stdout=out, stderr=out, preexec_fn=limits)
        while True:
            pid, status, usage = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - began > 15 * SECONDS:  # waiting costs no processor time; a busy machine takes longer
                p.kill()
                os.wait4(p.pid, 0)
                sys.exit(f"{arguments}: still running after {15 * SECONDS} s")
            time.sleep(0.01)
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    return p.returncode, text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


BASE = max(run("info", ROOT + "/data/model.safetensors")[3], 32)


def refused(arguments, path, says, base=None):
    """An error of one line that names the file; says: one of these words is in it."""
    global n_checked
    code, text, seconds, mib = run(*arguments)
    what = f"{' '.join(arguments)}: exit code {code}, {seconds:.1f} s, {mib:.0f} MiB: {text[:600]}"
    assert code == 1, what
    assert os.path.basename(path) in text, what
    assert any(word in text for word in ([says] if isinstance(says, str) else says)), what
    assert mib < (base or BASE) + MIB * (3 if SANITIZED else 1), what
    assert not os.path.exists(MARK), "the payload ran: " + what
    n_checked += 1


def tensors_refused(name, data, says):
    path = write(name, data)
    refused(["info", path], path, says)
    refused(["convert", path, T + "/out.safetensors"], path, says)
    assert not os.path.exists(T + "/out.safetensors"), name


# --- safetensors that lie -------------------------------------------------------------------------------------------------------
def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


BIG = 1 << 62
tensors_refused("length.safetensors", safetensors(one(), bytes(8), length=1 << 63), "header")
tensors_refused("longer.safetensors", safetensors(one(), bytes(8), length=1 << 40), "header")
tensors_refused("offset.safetensors", safetensors(one(offsets=(1 << 40, (1 << 40) + 8)), bytes(8)), ("unused", "cut short", "beyond"))
tensors_refused("end.safetensors", safetensors(one(shape=(BIG,), offsets=(0, 4 * BIG)), bytes(8)), ("cut short", "too large", "match"))
tensors_refused("product.safetensors", safetensors(one(shape=(1 << 32, 1 << 32)), bytes(8)), "match")
tensors_refused("wrapped.safetensors", safetensors(one(shape=(BIG, 4)), bytes(8)), "match")
tensors_refused("negative.safetensors", safetensors(one(shape=(-2,)), bytes(8)), "whole number")
tensors_refused("dtype.safetensors", safetensors(one(dtype="F64"), bytes(8)), "match")
tensors_refused("unknown.safetensors", safetensors(one(dtype="Q99"), bytes(8)), "Q99")
tensors_refused("overlap.safetensors", safetensors({**one(offsets=(0, 8)), "b": one(offsets=(4, 12))["a"]}, bytes(12)), "overlap")
tensors_refused("deep.safetensors", safetensors(b'{"a":' + b"[" * 1000000), ("description", "object", "JSON", "expected"))

# --- pickles that call ----------------------------------------------------------------------------------------------------------
COMMAND = "touch " + MARK


class Calls:
    def __init__(self, f, *a):
        self.f, self.a = f, a

    def __reduce__(self):
        return self.f, self.a


def archive(data, compression=zipfile.ZIP_STORED, **others):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", compression) as z:
        z.writestr("archive/data.pkl", data)
        for name, value in others.items():
            z.writestr("archive/data/" + name, value)
        z.writestr("archive/version", "3\n")
    return b.getvalue()


def legacy(data):
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return head + data + pickle.dumps([], 2)


import builtins  # noqa: E402

payloads = {
    "system": Calls(os.system, COMMAND),
    "eval": Calls(builtins.eval, f"__import__('os').system({COMMAND!r})"),
    "exec": Calls(builtins.exec, f"open({MARK!r}, 'w')"),
    "popen": Calls(subprocess.Popen, ["/bin/sh", "-c", COMMAND]),
    "open": Calls(builtins.open, MARK, "w"),
    "getattr": Calls(builtins.getattr, Calls(__import__, "os"), "system"),
}
# Each of them, as the whole and in the place of a tensor, in both containers. With Python they do run.
for name, payload in payloads.items():
    for protocol in (2, 4):
        for value in (payload, {"weight": payload}):
            data = pickle.dumps(value, protocol)
            for kind, contents in (("zip", archive(data)), ("legacy", legacy(data))):
                path = write(f"{name}.{kind}.pth", contents)
                code, text, seconds, mib = run("info", path)
                # What is no tensor may be passed over, or refused; it never runs.
                assert code in (0, 1) and not os.path.exists(MARK), (name, kind, code, text)
                assert code == 1 or "0 tensors" in text or "tensors: 0" in text or "no tensors" in text, text[:500]
                n_checked += 1
                if protocol == 4:
                    continue
                code, text, seconds, mib = run("eval", "--model", path, "--quiet", T)
                assert code == 1 and not os.path.exists(MARK), (name, kind, code, text)
pickle.loads(pickle.dumps(payloads["open"]))
assert os.path.exists(MARK), "the payload of this test does nothing"
os.unlink(MARK)

# A tensor that lies: storage beyond its record, strides and offsets beyond the storage, a huge size, a huge shape.
def rebuild(offset=0, shape=(2,), stride=(1,), numel=2, storage=b"FloatStorage"):
    number = lambda v: pickle.dumps(v, 2)[2:-1]  # noqa: E731
    tup = lambda v: b"(" + b"".join(number(x) for x in v) + b"t"  # noqa: E731
    persistent = b"(X\x07\0\0\0storage" + b"ctorch\n" + storage + b"\n" + b"X\x01\0\0\0" + b"0" + b"X\x03\0\0\0cpu" + number(numel) + b"tQ"
    return (b"\x80\x02}(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" + persistent + number(offset) + tup(shape) + tup(stride)
            + b"\x89ccollections\nOrderedDict\n)RtRu.")


path = write("honest.pth", archive(rebuild(), **{"0": bytes(8)}))
code, text, _, _ = run("info", path)
assert code == 0 and "1 F32" in text, text  # so that what follows is refused for its lie alone
for name, tensor in {
    "numel": rebuild(numel=1 << 40), "numel-wraps": rebuild(numel=BIG), "numel-negative": rebuild(numel=-1),
    "offset": rebuild(offset=1), "offset-far": rebuild(offset=1 << 61), "offset-negative": rebuild(offset=-1),
    "shape": rebuild(shape=(1 << 40,)), "shape-wraps": rebuild(shape=(BIG, 4), stride=(0, 0)), "shape-negative": rebuild(shape=(-1,)),
    "stride": rebuild(stride=(2,)), "stride-far": rebuild(stride=(BIG,)), "stride-negative": rebuild(stride=(-1,)),
    "expanded": rebuild(shape=(1 << 31, 1 << 20), stride=(0, 0)), "dimensions": rebuild(shape=(1, 2), stride=(1,)),
    "dtype": rebuild(storage=b"DoubleStorage"), "class": rebuild(storage=b"QStorage"),
}.items():
    tensors_refused(name + ".pth", archive(tensor, **{"0": bytes(8)}), (name + ".pth",))

# --- archives that unpack to far more -------------------------------------------------------------------------------------------
def zeros(n):
    """n zero bytes, deflated, and their CRC. Each MiB is flushed to be independent of the one before, so that one serves for all."""
    c, piece, crc = zlib.compressobj(9, wbits=-15), bytes(1 << 20), 0
    packed = (c.compress(piece) + c.flush(zlib.Z_FULL_FLUSH)) * (n >> 20) + c.flush()
    for _ in range(n >> 20):
        crc = zlib.crc32(piece, crc)
    return packed, crc


def zip_of(entries):
    """(name, packed, crc, size, method): by hand, so that sizes can be lies and records can overlap."""
    body, directory = bytearray(), bytearray()
    for name, packed, crc, size, method in entries:
        local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, method, 0, 33, crc, len(packed), size, len(name), 0) + name
        directory += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, method, 0, 33, crc, len(packed), size, len(name), 0, 0,
                                 0, 0, 0, len(body)) + name
        body += local + packed
    return bytes(body + directory) + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(entries), len(entries), len(directory), len(body), 0)


packed, crc = zeros(512 << 20)
tensors_refused("bomb.pth", zip_of([(b"archive/data.pkl", packed, crc, 512 << 20, 8)]), "bomb.pth")
tensors_refused("bomb-lies.pth", zip_of([(b"archive/data.pkl", packed, crc, 1000, 8)]), "bomb-lies.pth")
tensors_refused("bomb-data.pth", zip_of([(b"archive/data.pkl", rebuild(), zlib.crc32(rebuild()), len(rebuild()), 0),
                                         (b"archive/data/0", packed, crc, 8, 8)]), "bomb-data.pth")
inner = archive(rebuild(), compression=zipfile.ZIP_DEFLATED, **{"0": bytes(8)})
for _ in range(20):
    inner = archive(inner, compression=zipfile.ZIP_DEFLATED)
tensors_refused("nested.pth", inner, "nested.pth")
many = zip_of([(b"archive/%d" % i, b"", 0, 0, 0) for i in range(60000)])
tensors_refused("many.pth", many, "many.pth")
path = write("bomb.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packed + struct.pack("<II", crc, 512 << 20))
assert len(gzip.decompress(open(path, "rb").read())) == 512 << 20
refused(["eval", "--model", ROOT + "/data/model.safetensors", "--quiet", path], path, "bomb.csv.gz", BASE + 300)

# --- pictures of 60,000 x 60,000 ------------------------------------------------------------------------------------------------
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
image_data = zlib.compress(bytes(1 << 20), 9)
pictures = {
    "huge.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", image_data) + chunk(b"IEND", b""),
    "huge.webp": b"RIFF" + struct.pack("<I", 30 + 100) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0"
                 + (59999).to_bytes(3, "little") + (59999).to_bytes(3, "little") + b"VP8L" + struct.pack("<I", 92) + b"\x2f" + bytes(91),
}
with open(ROOT + "/tests/data/image/photo_420.jpg", "rb") as f:
    jpeg = bytearray(f.read())
at = jpeg.index(b"\xff\xc0")
jpeg[at + 5:at + 9] = struct.pack(">HH", 60000, 60000)
pictures["huge.jpg"] = bytes(jpeg)
with open(ROOT + "/tests/data/image/progressive.jpg", "rb") as f:
    jpeg = bytearray(f.read())
at = jpeg.index(b"\xff\xc2")
jpeg[at + 5:at + 9] = struct.pack(">HH", 60000, 60000)
pictures["huge-progressive.jpg"] = bytes(jpeg)
model_base = run("classify", "--model", ROOT + "/data/model.safetensors", "--labels", "a,b", ROOT + "/tests/data/image/photo.png")
assert model_base[0] == 0, model_base
for name, data in pictures.items():
    path = write(name, data)
    refused(["classify", "--model", ROOT + "/data/model.safetensors", "--labels", "a,b", path], path, ("pixels", "damaged"), model_base[3])

print(f"{n_checked} hostile files refused")
for name in os.listdir(T):
    os.unlink(os.path.join(T, name))
os.rmdir(T)
