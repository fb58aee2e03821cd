"""Pictures of every kind that the package takes, as moeclip_image."""

from __future__ import annotations

import os
from typing import Any, Iterable, Iterator, Protocol, Union

import numpy as np
import numpy.typing as npt

from ._core import c_path, c_text
from ._errors import check, new_error
from ._native import ffi, lib

UInt8Array = npt.NDArray[np.uint8]


class PillowImage(Protocol):
    """What is used of PIL.Image.Image; Pillow itself is not needed."""

    @property
    def mode(self) -> str: ...
    @property
    def info(self) -> dict[Any, Any]: ...
    def convert(self, mode: str) -> Any: ...
    def tobytes(self) -> bytes: ...


#: A picture: the path of a JPEG, PNG or WebP file, its bytes, a numpy array (uint8, [height, width] grey,
#: [height, width, 3] RGB or [height, width, 4] RGB with alpha), or a Pillow image.
ImageLike = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, UInt8Array, PillowImage]

#: One picture, several, or a numpy array [n, height, width, 3].
ImagesLike = Union[ImageLike, Iterable[ImageLike]]

# As `moeclip classify` does: so many pictures, or decoded bytes, are held at a time.
PIECE = 32
PIECE_BYTES = 512 << 20


class Picture:
    """A decoded picture: pixels that C reads, and what keeps them alive."""

    def __init__(self, width: int, height: int, rgb: Any, keep: Any) -> None:
        self.width, self.height, self.rgb, self._keep = width, height, rgb, keep


def _of_array(array: Any, what: str) -> Picture:
    if array.dtype != np.uint8:
        raise TypeError(f"{what}: an array of pixels must be uint8 (0 to 255), not {array.dtype}")
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ValueError(f"{what}: an array of pixels must be [height, width], [height, width, 3] or [height, width, 4], "
                         f"not {list(array.shape)}")
    height, width, channels = array.shape
    if height == 0 or width == 0:
        raise ValueError(f"{what}: the array is empty: {list(array.shape)}")
    if channels == 1:
        array = np.repeat(array, 3, axis=2)
    if channels == 4:
        array = _over_white(array)
    pixels = np.ascontiguousarray(array)
    return Picture(width, height, ffi.from_buffer("uint8_t[]", pixels), pixels)


def _over_white(rgba: UInt8Array) -> UInt8Array:
    """Composed over white, rounded as the library does for files with an alpha channel."""
    alpha = rgba[:, :, 3:].astype(np.uint32)
    value = rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 128
    return ((value + (value >> 8)) >> 8).astype(np.uint8)


def _of_pillow(image: Any, what: str) -> Picture:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)  # as for files
    if image.mode.startswith("I;16"):
        return _of_array((np.asarray(image) >> 8).astype(np.uint8), what)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _of_array(np.asarray(image.convert("RGBA")), what)
    return _of_array(np.asarray(image.convert("RGB")), what)


def _of_file(path: Any, data: Any, what: str) -> Picture:
    image, err = ffi.new("moeclip_image *"), new_error()
    if data is None:
        code = lib.moeclip_image_load(c_path(path, what), image, err)
    else:
        memory = ffi.from_buffer(data)
        code = lib.moeclip_image_decode(memory, len(memory), c_text(what, what), image, err)
    check(code, err)
    return Picture(image.width, image.height, image.rgb, ffi.gc(image, lib.moeclip_image_clear))


def _is_pillow(image: Any) -> bool:
    return all(hasattr(image, name) for name in ("mode", "info", "convert", "tobytes"))


def decode(image: Any, what: str) -> Picture:
    """A picture of any kind. `what` stands for it in messages."""
    if isinstance(image, np.ndarray):
        return _of_array(image, what)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _of_file(None, image, what)
    if isinstance(image, (str, os.PathLike)):
        return _of_file(image, None, what)
    if _is_pillow(image):
        return _of_pillow(image, what)
    raise TypeError(f"{what} must be a path, bytes, a uint8 array or a Pillow image, not {type(image).__name__}")


def _each(images: Any) -> Iterable[Any]:
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 else [images]
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or _is_pillow(images):
        return [images]
    try:
        iter(images)
    except TypeError:
        raise TypeError(f"images must be a picture or several, not {type(images).__name__}") from None
    checked: Iterable[Any] = images
    return checked


def pieces(images: ImagesLike) -> Iterator[list[Picture]]:
    """Decodes picture after picture, and gives them out a piece at a time."""
    piece: list[Picture] = []
    n_bytes = 0
    for i, image in enumerate(_each(images)):
        piece.append(decode(image, f"images[{i}]"))
        n_bytes += 3 * piece[-1].width * piece[-1].height
        if len(piece) == PIECE or n_bytes >= PIECE_BYTES:
            yield piece
            piece, n_bytes = [], 0
    if piece:
        yield piece


def c_images(piece: list[Picture]) -> Any:
    """moeclip_image[]; the pictures must outlive it."""
    array = ffi.new("moeclip_image[]", len(piece))
    for out, picture in zip(array, piece):
        out.width, out.height, out.rgb = picture.width, picture.height, picture.rgb
    return array
