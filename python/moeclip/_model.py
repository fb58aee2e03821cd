"""moeclip.Model"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._core import Guard, Owner, Path, as_list, c_path, c_texts, choose, own, py_text, set_numbers
from ._errors import check, new_error
from ._images import ImagesLike, c_images, pieces
from ._native import ffi, lib

FloatArray = npt.NDArray[np.float32]

_PRECISIONS = {"auto": lib.MOECLIP_PRECISION_AUTO, "float32": lib.MOECLIP_PRECISION_FLOAT32,
               "bfloat16": lib.MOECLIP_PRECISION_BFLOAT16}
_ACTIVATIONS = {"auto": lib.MOECLIP_ACTIVATION_AUTO, "quick-gelu": lib.MOECLIP_ACTIVATION_QUICK_GELU,
                "gelu": lib.MOECLIP_ACTIVATION_GELU}


@dataclass(frozen=True)
class ModelSizes:
    """What a CLIP model consists of."""

    image_size: int  #: pixels of a side
    patch: int  #: pixels of a side
    visual_layers: int
    visual_width: int
    visual_hidden: int
    context: int  #: tokens of a text, marks included
    vocabulary: int
    text_layers: int
    text_width: int
    text_hidden: int
    embed: int  #: numbers of a feature
    activation: str  #: "quick-gelu" or "gelu"
    n_parameters: int
    visual_heads: int  #: of attention
    text_heads: int


class Model(Owner):
    """A CLIP model.

    path: a safetensors, .pth or .pt file in OpenAI's, OpenCLIP's or Hugging Face's names. threads: that compute; 0 is
    as many as the process may use. activation: "auto" (what the file or the configuration beside it says, else quick
    GELU), "quick-gelu" or "gelu". precision: of the towers' matrix products, "auto" (bfloat16 where the processor has
    AMX), "float32" or "bfloat16".

    Any number of Python threads may use a model and the learners made from it: they take turns, and the GIL is released
    while one computes. `close()` (or the end of a `with`) gives the model up; its memory is freed once the learners made
    from it are gone too.

    Raises FileError, FormatError (damaged, or no CLIP), UnsupportedError.
    """

    _what = "model"

    def __init__(self, path: Path, threads: int = 0, *, activation: str = "auto", precision: str = "auto") -> None:
        self._handle: Any = None
        self._guard = Guard()
        options, out, err = ffi.new("moeclip_model_options *"), ffi.new("moeclip_model **"), new_error()
        lib.moeclip_model_options_defaults(options)
        set_numbers(options, {"n_threads": threads})
        options.activation = choose(activation, _ACTIVATIONS, "activation")
        options.precision = choose(precision, _PRECISIONS, "precision")
        check(lib.moeclip_model_load(c_path(path, "path"), options, out, err), err)
        self._handle = own(out[0], lib.moeclip_model_destroy)

    @property
    def path(self) -> str:
        return py_text(lib.moeclip_model_path(self._get()))

    @property
    def precision(self) -> str:
        """What it computes with: "float32" or "bfloat16"."""
        names = {number: name for name, number in _PRECISIONS.items()}
        return names[int(lib.moeclip_model_precision(self._get()))]

    @property
    def sizes(self) -> ModelSizes:
        c = ffi.new("moeclip_model_sizes *")
        lib.moeclip_model_get_sizes(self._get(), c)
        names = {number: name for name, number in _ACTIVATIONS.items()}
        values = {name: getattr(c, name) for name in ModelSizes.__dataclass_fields__}
        return ModelSizes(**{**values, "activation": names.get(c.activation, "auto")})

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on all weights: which model a state belongs to."""
        return py_text(self._guard.call(lib.moeclip_model_fingerprint, self._get()))

    def encode_image(self, images: ImagesLike) -> FloatArray:
        """Features of pictures by the untouched CLIP: float32 [n, embed], each of length 1.

        Raises FileError or FormatError for a picture that cannot be read, TypeError or ValueError for what is none.
        """
        sizes, model, transform = self.sizes, self._get(), ffi.new("moeclip_transform *")
        lib.moeclip_model_transform(model, transform)
        rows: list[FloatArray] = [np.empty((0, sizes.embed), np.float32)]
        for piece in pieces(images):
            pixels = np.empty((len(piece), 3, sizes.image_size, sizes.image_size), np.uint8)
            err, array = new_error(), c_images(piece)
            for i in range(len(piece)):
                out = ffi.from_buffer("uint8_t[]", pixels[i], require_writable=True)
                check(lib.moeclip_image_transform(ffi.addressof(array, i), transform, out, err), err)
            rows.append(np.empty((len(piece), sizes.embed), np.float32))
            check(self._guard.call(lib.moeclip_encode_images, model, ffi.from_buffer("uint8_t[]", pixels), len(piece),
                                   ffi.from_buffer("float[]", rows[-1], require_writable=True), err), err)
        return np.concatenate(rows)

    def encode_text(self, texts: Union[str, Sequence[str]]) -> FloatArray:
        """Features of texts, as they are (no template): float32 [n, embed], each of length 1."""
        array, n = c_texts(as_list(texts), "texts")
        err, out = new_error(), np.empty((n, self.sizes.embed), np.float32)
        if n > 0:
            check(self._guard.call(lib.moeclip_encode_texts, self._get(), array, n,
                                   ffi.from_buffer("float[]", out, require_writable=True), err), err)
        return out

    def __repr__(self) -> str:
        return "<moeclip.Model, closed>" if self._handle is None else f"<moeclip.Model {self.path!r}>"
