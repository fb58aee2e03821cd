"""Continual learning of CLIP with mixture-of-experts adapters: Python on libmoeclip.

    import moeclip

    model = moeclip.Model("clip.safetensors")
    learner = moeclip.Learner(model)
    learner.learn("pictures/birds", iterations=500)
    for answer in learner.classify(["photo.jpg"]):
        print(answer.task, answer.label, answer.probability)
    learner.save("state.safetensors")
"""

from __future__ import annotations

from ._core import Progress, py_text
from ._dataset import Dataset
from ._errors import (ArgumentError, CancelledError, Code, FileError, FormatError, InternalError, MismatchError,
                      MoeclipError, NumericError, OutOfMemoryError, UnsupportedError)
from ._images import ImageLike, ImagesLike
from ._learner import Answer, Evaluation, Explanation, Label, Learner, LearnReport, Task
from ._model import Model, ModelSizes
from ._native import ffi as _ffi
from ._native import lib as _lib

__version__: str = py_text(_lib.moeclip_version())


def versions() -> dict[str, str]:
    """moeclip's version, those of the libraries below, the processor's instructions in use, and the compiler."""
    n = _lib.moeclip_libraries(_ffi.NULL, 0)
    libraries = _ffi.new("moeclip_library[]", n)
    _lib.moeclip_libraries(libraries, n)
    found = {"moeclip": __version__}
    for library in libraries:
        found[py_text(library.name)] = _ffi.string(library.version).decode()
    return {**found, "processor": py_text(_lib.moeclip_cpu_features()), "compiler": py_text(_lib.moeclip_build())}


__all__ = [
    "Answer", "ArgumentError", "CancelledError", "Code", "Dataset", "Evaluation", "Explanation", "FileError", "FormatError",
    "ImageLike", "ImagesLike", "InternalError", "Label", "LearnReport", "Learner", "MismatchError", "Model", "ModelSizes",
    "MoeclipError", "NumericError", "OutOfMemoryError", "Progress", "Task", "UnsupportedError", "__version__", "versions",
]
