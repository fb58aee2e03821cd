#!/usr/bin/env python3
"""Makes the pictures beside it, expected.safetensors and the seeds in tests/fuzz/seeds/image. Needs NumPy and Pillow
before 13 (made with 12.0); the tests do not. Pillow 13 shrinks tall pictures vertically first, which rounds otherwise;
the published numbers are from before that.

expected.safetensors holds, for every picture NAME, what Pillow decodes it to (uint8 [height, width, 3], turned by its
EXIF orientation and composed over white), "resize/W,H/X,Y,W,H" for a crop of photo.png resized to W x H, and
"preprocess/SIZE/NAME" for what CLIP's evaluation transform makes of NAME (uint8 [3, SIZE, SIZE]).
"""
import json
import os
import shutil
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "..", "..", "fuzz", "seeds", "image")
SEEDED = ["cmyk.jpg", "gray.jpg", "progressive.jpg", "orient6.jpg", "palette_trns.png", "interlaced.png", "gray16.png",
          "exif.png", "alpha.png", "lossy.webp", "lossless_alpha.webp", "exif.webp", "picture.gif"]
assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 resizes in another order"
tensors = {}


def path(name):
    return os.path.join(HERE, name)


def photo(width, height, seed=0):
    """Smooth colours, edges and a little noise."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    a = np.stack([128 + 120 * np.sin(x / 5 + y / 11), 255 * x / max(width - 1, 1), 255 * ((x // 7 + y // 5) % 2)], 2)
    return np.clip(a + r.normal(0, 9, a.shape), 0, 255).astype(np.uint8)


def expect(name):
    im = ImageOps.exif_transpose(Image.open(path(name)))
    if "transparency" in im.info or im.mode in ("RGBA", "LA", "PA"):
        im = im.convert("RGBA")
        im = Image.alpha_composite(Image.new("RGBA", im.size, "white"), im)
    tensors[name] = np.asarray(im.convert("RGB"))


def save(name, im, **options):
    im.save(path(name), **options)
    expect(name)


def exif(orientation, order="<", kind=3):
    head = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    value = struct.pack(order + ("HH" if kind == 3 else "L"), *((orientation, 0) if kind == 3 else (orientation,)))
    # A tag before it, so that it has to be looked for.
    return (head + struct.pack(order + "HHHLL", 2, 0x0100, 3, 1, 0) + struct.pack(order + "HHL", 0x0112, kind, 1) +
            value + b"\0\0\0\0")


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(name, samples, color, depth, interlaced=False, before=b"", after=b""):
    """samples: [height, width, channels], as many bits each as depth says."""
    height, width, channels = samples.shape
    raw = b""
    for x0, y0, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        for row in samples[y0::dy, x0::dx]:
            if row.size == 0:
                continue
            bits = (row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1
            raw += b"\0" + np.packbits(bits.astype(np.uint8)).tobytes()
    with open(path(name), "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, color, 0, 0,
                                                                  interlaced)))
        f.write(before + chunk(b"IDAT", zlib.compress(raw, 9)) + after + chunk(b"IEND", b""))


def over_white(rgb, alpha):
    """By the definition, in whole numbers: the nearest to (v a + 255 (255 - a)) / 255."""
    x = rgb.astype(int) * alpha + 255 * (255 - alpha.astype(int))
    return ((2 * x + 255) // 510).astype(np.uint8)


def make_jpegs():
    im = Image.fromarray(photo(37, 29))
    save("photo_420.jpg", im, quality=90, subsampling=2)
    save("photo_422.jpg", im, quality=90, subsampling=1)
    save("photo_444.jpg", im, quality=90, subsampling=0)
    save("progressive.jpg", im, quality=80, progressive=True)
    save("restart.jpg", im, quality=80, restart_marker_blocks=1)
    save("rgb.jpg", im, quality=90, keep_rgb=True)
    save("gray.jpg", im.convert("L"), quality=90)
    save("cmyk.jpg", im.convert("CMYK"), quality=90)
    # The same data, said to be YCCK: Adobe's marker ends in the transform, 0 for CMYK.
    data = open(path("cmyk.jpg"), "rb").read()
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    open(path("ycck.jpg"), "wb").write(data[:at] + b"\2" + data[at + 1:])
    expect("ycck.jpg")
    for o in range(1, 9):
        save("orient%d.jpg" % o, Image.fromarray(photo(19, 11, o)), quality=90, subsampling=0,
             exif=b"Exif\0\0" + exif(o, "<>"[o % 2], 3))


def make_pngs():
    a = photo(23, 17, 1)
    alpha = np.add.outer(np.arange(17) * 11, np.arange(23) * 5).astype(np.uint8)[..., None]
    im = Image.fromarray(a)
    save("photo.png", Image.fromarray(photo(61, 47, 2)))
    save("alpha.png", Image.fromarray(np.concatenate([a, alpha], 2)))
    save("gray_alpha.png", Image.fromarray(np.concatenate([a[..., :1], alpha], 2), "LA"))
    save("palette.png", im.quantize(16))
    save("palette_trns.png", im.quantize(200), transparency=bytes(range(0, 256, 2)))
    save("gray1.png", im.convert("1"))
    for depth in (2, 4, 8):
        png("gray%d.png" % depth, a[..., :1] >> (8 - depth), 0, depth)
        expect("gray%d.png" % depth)
    png("interlaced.png", a, 2, 8, True)
    expect("interlaced.png")
    png("interlaced4.png", a[..., :1] >> 4, 0, 4, True)
    expect("interlaced4.png")
    png("trns_gray.png", a[..., :1] & 15, 0, 8, before=chunk(b"tRNS", struct.pack(">H", 7)))
    expect("trns_gray.png")
    two = (a & 1) * 200
    png("trns_rgb.png", two, 2, 8, before=chunk(b"tRNS", struct.pack(">HHH", 200, 0, 200)))
    expect("trns_rgb.png")
    png("exif.png", a, 2, 8, before=chunk(b"eXIf", exif(6, ">")))
    expect("exif.png")
    png("exif_after.png", a, 2, 8, after=chunk(b"eXIf", exif(8, "<", 4)))
    tensors["exif_after.png"] = np.rot90(a)
    # Pillow clips 16-bit greys at 255; we keep the high byte, as for every other kind of 16-bit picture.
    wide = a.astype(np.uint16) * 256 + np.roll(a, 1, 0)
    wide_alpha = alpha.astype(np.uint16) * 256 + 77
    png("gray16.png", wide[..., :1], 0, 16)
    tensors["gray16.png"] = np.repeat(a[..., :1], 3, 2)
    png("rgb16.png", wide, 2, 16)
    tensors["rgb16.png"] = a
    png("gray_alpha16.png", np.concatenate([wide[..., :1], wide_alpha], 2), 4, 16)
    tensors["gray_alpha16.png"] = over_white(np.repeat(a[..., :1], 3, 2), alpha)
    png("alpha16.png", np.concatenate([wide, wide_alpha], 2), 6, 16)
    tensors["alpha16.png"] = over_white(a, alpha)
    assert (over_white(a, alpha) == tensors["alpha.png"]).all()
    # The definition is Pillow's for every value at every opacity.
    v, o = np.meshgrid(np.arange(256), np.arange(256))
    every = Image.fromarray(np.stack([v, v, v, o], 2).astype(np.uint8))
    composed = np.asarray(Image.alpha_composite(Image.new("RGBA", every.size, "white"), every))
    assert (composed[..., :3] == over_white(np.stack([v, v, v], 2), o[..., None])).all()


def make_webps():
    a = photo(30, 22, 3)
    alpha = np.add.outer(np.arange(22) * 9, np.arange(30) * 4).astype(np.uint8)[..., None]
    im, clear = Image.fromarray(a), Image.fromarray(np.concatenate([a, alpha], 2))
    save("lossy.webp", im, quality=80)
    save("lossless.webp", im, lossless=True)
    save("lossy_alpha.webp", clear, quality=80)
    save("lossless_alpha.webp", clear, lossless=True)
    save("exif.webp", im, quality=60, exif=exif(5))
    im.save(path("animated.webp"), save_all=True, append_images=[Image.fromarray(255 - a)], quality=50)


def make_others():
    im = Image.fromarray(photo(8, 6, 4))
    im.quantize(8).save(path("picture.gif"))
    im.save(path("picture.bmp"))
    im.save(path("picture.tif"))


def make_resizes():
    im = Image.open(path("photo.png"))
    for size, box in [((61, 47), (0, 0, 61, 47)), ((20, 15), (0, 0, 61, 47)), ((61, 13), (0, 0, 61, 47)),
                      ((100, 90), (0, 0, 61, 47)), ((33, 70), (5, 3, 41, 27)), ((1, 1), (0, 0, 61, 47)),
                      ((17, 9), (60, 0, 1, 47)), ((48, 31), (2, 46, 59, 1)), ((7, 50), (11, 13, 2, 3)),
                      ((33, 1), (0, 0, 33, 47)), ((60, 7), (10, 0, 19, 47))]:
        x, y, w, h = box
        name = "resize/%d,%d/%d,%d,%d,%d" % (size + box)
        tensors[name] = np.asarray(im.crop((x, y, x + w, y + h)).resize(size, Image.BICUBIC))


def make_preprocessed():
    wide, tall = photo(50, 3, 5), photo(2, 75, 6)
    save("wide.png", Image.fromarray(wide))
    save("tall.png", Image.fromarray(tall))
    for name, size in [("photo.png", 32), ("photo.png", 47), ("photo.png", 46), ("photo.png", 64), ("wide.png", 16),
                       ("tall.png", 9), ("interlaced.png", 17), ("photo_420.jpg", 24), ("photo.png", 1)]:
        im = Image.open(path(name)).convert("RGB")
        w, h = im.size
        short, long = min(w, h), max(w, h)
        new = int(size * long / short)
        im = im.resize((size, new) if w <= h else (new, size), Image.BICUBIC)
        left, top = (int(round((side - size) / 2.0)) for side in im.size)
        out = np.asarray(im.crop((left, top, left + size, top + size)))
        tensors["preprocess/%d/%s" % (size, name)] = out.transpose(2, 0, 1)


def write_expected():
    header, data = {}, b""
    for name, t in tensors.items():
        raw = np.ascontiguousarray(t).tobytes()
        header[name] = {"dtype": "U8", "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path("expected.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


make_jpegs()
make_pngs()
make_webps()
make_others()
make_resizes()
make_preprocessed()
write_expected()
os.makedirs(SEEDS, exist_ok=True)
for seed in SEEDED:
    shutil.copy(path(seed), os.path.join(SEEDS, seed))
