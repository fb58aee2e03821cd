"""Every kind of picture gives the features of the same picture as a file."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterable

import numpy as np
import pytest
from conftest import FOLDER
from PIL import Image

import moeclip

RANDOM = np.random.default_rng(5)


def picture(height: int, width: int, channels: int) -> Any:
    """Smooth, so that JPEG keeps it, and different at every turn."""
    small = Image.fromarray(RANDOM.integers(0, 256, (4, 5, channels), dtype=np.uint8).squeeze())
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def saved(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def same(model: moeclip.Model, data: bytes, others: Iterable[Any]) -> None:
    expected = model.encode_image(data)
    assert expected.shape == (1, model.sizes.embed)
    for other in others:
        np.testing.assert_array_equal(model.encode_image(other), expected)


def test_rgb(model: moeclip.Model, tmp_path: Path) -> None:
    array = picture(30, 21, 3)
    data = saved(Image.fromarray(array), "PNG")
    path = tmp_path / "ä picture.png"
    path.write_bytes(data)
    turned = np.asfortranarray(array)
    assert not turned.flags.c_contiguous
    same(model, data, [array, turned, array[None], path, str(path), bytearray(data), memoryview(data), Image.open(path)])
    lossy = saved(Image.fromarray(array), "JPEG", quality=90)
    same(model, lossy, [Image.open(io.BytesIO(lossy)), np.asarray(Image.open(io.BytesIO(lossy)))])
    web = saved(Image.fromarray(array), "WEBP", lossless=True)
    same(model, web, [array, Image.open(io.BytesIO(web))])


def test_grey_alpha_palette(model: moeclip.Model) -> None:
    grey = picture(20, 33, 1)
    data = saved(Image.fromarray(grey), "PNG")
    same(model, data, [grey, grey[:, :, None], Image.fromarray(grey), np.repeat(grey[:, :, None], 3, axis=2)])
    clear = picture(20, 33, 4)
    data = saved(Image.fromarray(clear, "RGBA"), "PNG")
    same(model, data, [clear, Image.fromarray(clear, "RGBA")])
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(np.ascontiguousarray(clear[:, :, 3]))])
    same(model, saved(both, "PNG"), [both])
    palette = Image.fromarray(picture(20, 33, 3)).quantize(16)
    same(model, saved(palette, "PNG"), [palette, palette.convert("RGB")])
    palette.info["transparency"] = 3
    data = saved(palette, "PNG", transparency=3)
    same(model, data, [palette, Image.open(io.BytesIO(data))])
    assert not np.array_equal(model.encode_image(data), model.encode_image(np.asarray(palette.convert("RGB"))))


def test_deep_and_turned(model: moeclip.Model) -> None:
    deep = RANDOM.integers(0, 65536, (19, 24)).astype(np.uint16)
    data = saved(Image.fromarray(deep), "PNG")
    same(model, data, [Image.open(io.BytesIO(data)), (deep >> 8).astype(np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(picture(16, 40, 3)), "JPEG", exif=exif, quality=95)
    same(model, data, [Image.open(io.BytesIO(data))])
    stripped = saved(Image.open(io.BytesIO(data)).copy(), "PNG", exif=b"")
    assert not np.array_equal(model.encode_image(data), model.encode_image(stripped))


def test_several(model: moeclip.Model) -> None:
    stack = np.stack([picture(24, 24, 3) for _ in range(70)])
    expected = model.encode_image(stack)
    assert expected.shape == (70, model.sizes.embed)
    np.testing.assert_array_equal(model.encode_image(list(stack)), expected)
    np.testing.assert_array_equal(model.encode_image(Image.fromarray(p) for p in stack), expected)
    # A picture's features do not depend on its neighbours, but for rounding.
    np.testing.assert_allclose(model.encode_image(stack[40]), expected[40:41], atol=1e-6)
    assert model.encode_image([]).shape == (0, model.sizes.embed)
    assert model.encode_text([]).shape == (0, model.sizes.embed)
    assert model.encode_text("one").shape == (1, model.sizes.embed)


@pytest.mark.parametrize("image, kind, message", [
    (np.zeros((4, 4, 3)), TypeError, "must be uint8"),
    (np.zeros((4, 4, 2), np.uint8), ValueError, r"not \[4, 4, 2\]"),
    (np.zeros((0, 4, 3), np.uint8), ValueError, "empty"),
    (np.zeros(4, np.uint8), ValueError, r"not \[4\]"),
    (3, TypeError, "not int"),
    ([3], TypeError, r"images\[0\] must be a path"),
    (None, TypeError, "not NoneType"),
    ("a\0b", ValueError, "NUL"),
    (b"", moeclip.MoeclipError, r"images\[0\]"),
    (b"\xff\xd8\xff\xe0no picture", moeclip.FormatError, r"images\[0\]"),
    (FOLDER / "none.png", moeclip.FileError, "none.png"),
])
def test_what_is_no_picture(model: moeclip.Model, learner: moeclip.Learner, image: Any, kind: type[Exception],
                            message: str) -> None:
    for call in (model.encode_image, learner.encode_image, learner.classify):
        with pytest.raises(kind, match=message):
            call(image)


def test_without_pillow() -> None:
    program = """
import sys
sys.modules["PIL"] = None
import moeclip, numpy
m = moeclip.Model(sys.argv[1])
assert m.encode_image([numpy.zeros((9, 9, 3), numpy.uint8), sys.argv[2]]).shape == (2, 32)
"""
    picture = next((FOLDER / "pictures/colours/test/red").glob("*.png"))
    subprocess.run([sys.executable, "-c", program, FOLDER / "clip.safetensors", picture], check=True)
