"""Renders the source pictures and composes them over plain backgrounds; needs Pillow and numpy."""
import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image, ImageDraw, ImageFont

SIDE = 96
PALE = [(240, 240, 240), (222, 235, 250), (252, 236, 220), (226, 245, 226), (250, 226, 236), (246, 244, 214),
        (215, 215, 215), (200, 220, 240), (232, 222, 246), (188, 208, 188)]
DARK = [(20, 20, 20), (0, 0, 0), (30, 40, 70), (50, 30, 40)]
INKS = [(0, 0, 0), (40, 40, 40), (30, 60, 140), (150, 30, 30), (20, 110, 60), (110, 50, 130), (180, 100, 0)]


@dataclass
class Canvas:
    """A picture of at least SIDE pixels a side with its transparency, and a thumbnail over white to compare by."""
    size: tuple
    rgba: bytes
    thumb: bytes
    light: float  # mean brightness of what is not transparent


Image.MAX_IMAGE_PIXELS = 700_000_000  # a few pieces of clip art are large, and the packages are checked


def open_picture(data):
    if isinstance(data, bytes):
        return Image.open(io.BytesIO(data)).convert("RGBA")
    if isinstance(data, tuple):
        return draw_glyph(*data)
    if Path(data).suffix == ".svg":
        command = ["rsvg-convert", "--width", "192", "--height", "192", "--keep-aspect-ratio", str(data)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        return Image.open(io.BytesIO(done.stdout)).convert("RGBA")
    picture = Image.open(data)
    if max(picture.size) > 4000:
        picture = picture.reduce(max(picture.size) // 1000)
    return picture.convert("RGBA")


def draw_glyph(path, character):
    picture = Image.new("RGBA", (160, 160), (255, 255, 255, 0))
    ink = INKS[ord(character) % len(INKS)]
    ImageDraw.Draw(picture).text((80, 80), character, ink, ImageFont.truetype(str(path), 112), anchor="mm")
    return picture


def trimmed(picture):
    """The picture less its empty border: transparent, or white where nothing is transparent."""
    if picture.getchannel("A").getextrema()[0] < 250:
        box = picture.getchannel("A").point(lambda value: 255 if value > 8 else 0).getbbox()
    else:
        grey = picture.convert("L").point(lambda value: 255 if value < 250 else 0)
        box = grey.getbbox()
    return picture.crop(box) if box else None


def render(data, whole):
    """The Canvas of a source picture, or None where it is empty, tiny or unreadable.

    whole: a photograph that fills its frame: it keeps its shape, and its short side becomes SIDE.
    """
    try:
        picture = open_picture(data)
    except (OSError, ValueError, SyntaxError, subprocess.CalledProcessError, Image.DecompressionBombError):
        return None
    if whole:
        scale = SIDE / min(picture.size)
        size = tuple(min(2 * SIDE, max(SIDE, round(side * scale))) for side in picture.size)
        canvas = picture.resize(size, Image.LANCZOS)
    else:
        picture = trimmed(picture)
        if picture is None or max(picture.size) < 24 or max(picture.size) > 12 * min(picture.size):
            return None
        inner = SIDE - 6
        scale = inner / max(picture.size)
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        canvas = Image.new("RGBA", (SIDE, SIDE), (255, 255, 255, 0))
        # Premultiplied, so that the colour of transparent pixels does not bleed into the edges.
        small = picture.convert("RGBa").resize(size, Image.LANCZOS).convert("RGBA")
        canvas.paste(small, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    pixels = numpy.asarray(canvas, dtype=numpy.float32)
    alpha = pixels[..., 3]
    if alpha.sum() < 255 * 60:
        return None
    light = float((pixels[..., :3].mean(axis=2) * alpha).sum() / alpha.sum())
    thumb = compose_pixels(canvas, (255, 255, 255)).resize((16, 16), Image.BOX)
    return Canvas(canvas.size, canvas.tobytes(), thumb.tobytes(), light)


def compose_pixels(canvas, colour):
    ground = Image.new("RGBA", canvas.size, colour + (255,))
    ground.alpha_composite(canvas)
    return ground.convert("RGB")


def background(canvas, chance):
    """White for most, a pale colour for some, dark for some light pictures; chance is a number in [0, 1)."""
    if chance < 0.70:
        return (255, 255, 255)
    if chance < 0.94 or canvas.light < 110:
        return PALE[int(chance * 1e6) % len(PALE)]
    return DARK[int(chance * 1e6) % len(DARK)]


def composed(canvas, colour):
    return compose_pixels(Image.frombytes("RGBA", canvas.size, canvas.rgba), colour)


def thumbs(canvases):
    """One row of floats a picture, for comparing."""
    return numpy.stack([numpy.frombuffer(canvas.thumb, dtype=numpy.uint8) for canvas in canvases]).astype(numpy.float32)


def near(rows, others, limit):
    """Which of rows lie within a root-mean-square difference of limit of one of others."""
    found = numpy.zeros(len(rows), dtype=bool)
    if len(others) == 0:
        return found
    squares = (others * others).sum(axis=1)
    for start in range(0, len(rows), 1024):
        block = rows[start:start + 1024]
        distance = (block * block).sum(axis=1)[:, None] + squares[None, :] - 2 * (block @ others.T)
        found[start:start + 1024] = distance.min(axis=1) < limit * limit * rows.shape[1]
    return found
