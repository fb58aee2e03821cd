"""What the classes share: texts and options on their way to C, one thread at a time, callbacks."""

from __future__ import annotations

import operator
import os
import threading
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Callable, ClassVar, Iterable, Optional, Sequence, TypeVar, Union

from ._native import ffi, lib

Path = Union[str, "os.PathLike[str]"]


# --- what C made and Python owns --------------------------------------------------------------------------------------


Self = TypeVar("Self", bound="Owner")


class Owner:
    """A handle of the library's, and a context that gives it up at its end."""

    _what: ClassVar[str]
    _handle: Any

    def _get(self) -> Any:
        if self._handle is None:
            raise ValueError(f"the {self._what} is closed")
        return self._handle

    def close(self) -> None:
        """Gives it up. A call that another thread has in progress ends first; what was made of it stays usable."""
        self._handle = None

    def __enter__(self: Self) -> Self:
        self._get()
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()


# --- values for C -----------------------------------------------------------------------------------------------------


def c_text(text: str, what: str) -> Any:
    """A char[] of UTF-8. TypeError for what is no str, ValueError for a NUL or a lone surrogate in it."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL character: {text!r}")
    return ffi.new("char[]", text.encode("utf-8"))


def c_path(path: Path, what: str) -> Any:
    """A char[] of the name as the file system spells it."""
    if isinstance(path, bytes) or not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{what} must be a path (str or os.PathLike), not {type(path).__name__}")
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"{what} holds a NUL character: {path!r}")
    return ffi.new("char[]", name)


def c_texts(texts: Iterable[str], what: str) -> tuple[Any, int]:
    """const char *[] and its length. The strings live as long as the array does."""
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"{what} must be a sequence of str, not one {type(texts).__name__}")
    items = [c_text(text, f"{what}[{i}]") for i, text in enumerate(texts)]
    array = ffi.new("const char *[]", items)
    return ffi.gc(array, lambda _, keep=items: None), len(items)


def py_text(text: Any) -> str:
    return "" if text == ffi.NULL else ffi.string(text).decode("utf-8", "replace")


def finite(value: float) -> Optional[float]:
    """None for NaN and infinities, which stand for "there is none"."""
    return value if value - value == 0 else None


def set_numbers(struct: Any, values: dict[str, Any]) -> None:
    """Fields of a struct of options; None leaves the default."""
    fields = dict(ffi.typeof(struct).item.fields)
    for name, value in values.items():
        if value is None:
            continue
        try:
            real = fields[name].type.cname in ("double", "float")
            setattr(struct, name, float(value) if real else operator.index(value))
        except TypeError:
            raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None
        except OverflowError:
            raise ValueError(f"{name} is out of range: {value!r}") from None


def choose(value: str, choices: dict[str, int], what: str) -> int:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return choices[value]


SELECTIONS = {"per_image": lib.MOECLIP_SELECT_PER_IMAGE, "per_batch": lib.MOECLIP_SELECT_PER_BATCH}


# --- handles ----------------------------------------------------------------------------------------------------------


def own(pointer: Any, destroy: Callable[[Any], Any], *stands_on: Any) -> Any:
    """A handle that destroys itself when nobody refers to it, and keeps what it stands on for as long."""
    return ffi.gc(pointer, lambda p, keep=stands_on: destroy(p))


class Guard:
    """One thread at a time uses a model and the learners made from it; the others wait, without holding the GIL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        me = threading.get_ident()
        if self._owner == me:
            raise RuntimeError("the model is at work already: a progress callback cannot use it or its learners")
        with self._lock:
            self._owner = me
            try:
                return function(*arguments)
            finally:
                self._owner = 0


# --- progress ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """What a run tells while it works."""

    phase: str  #: "selector", "probe", "train" or "evaluate"
    task: str
    step: int  #: steps done
    n_steps: int
    images: int  #: pictures handled in this phase
    loss: Optional[float]  #: of the last step; None where there is none
    learning_rate: float
    seconds: float  #: since the phase began
    waited_seconds: float  #: of those, how long the compute waited for pictures


ProgressCallback = Callable[[Progress], object]
BrokenCallback = Callable[[str, str], object]


class _Running(threading.local):
    run: Optional[Run] = None


class Run:
    """One call that reports progress. An exception in a callback, Ctrl-C's among them, stops it and is kept."""

    def __init__(self, progress: Optional[ProgressCallback], broken: Optional[BrokenCallback]) -> None:
        for callback, what in ((progress, "progress"), (broken, "broken")):
            if callback is not None and not callable(callback):
                raise TypeError(f"{what} must be callable, not {type(callback).__name__}")
        self.progress = progress
        self.broken = broken
        self.error: Optional[BaseException] = None
        self.callbacks = ffi.new("moeclip_callbacks *")
        self.callbacks.progress = lib.moeclip_python_progress
        self.callbacks.broken = lib.moeclip_python_broken

    def call(self, guard: Guard, function: Callable[..., Any], *arguments: Any) -> int:
        before = _running.run
        _running.run = self
        try:
            code: int = guard.call(function, *arguments)
        finally:
            _running.run = before
        if self.error is not None:
            raise self.error
        return code


# The library calls back from the thread that called it.
_running = _Running()


def _keep(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    run = _running.run
    if run is not None and run.error is None:
        run.error = error


def _on_progress(context: Any, now: Any) -> int:
    # Whatever Python code runs here also lets Python notice Ctrl-C.
    run = _running.run
    if run is None or run.error is not None:
        return 1
    if run.progress is not None:
        run.progress(Progress(py_text(now.phase), py_text(now.task), now.step, now.n_steps, now.images, finite(now.loss),
                              now.learning_rate, now.seconds, now.waited_seconds))
    return 0


def _on_broken(context: Any, item: Any, message: Any) -> None:
    run = _running.run
    if run is None or run.error is not None:
        return
    if run.broken is not None:
        run.broken(py_text(item), py_text(message))
    else:
        warnings.warn(f"left out: {py_text(message)}", RuntimeWarning, stacklevel=2)


ffi.def_extern(name="moeclip_python_progress", error=1, onerror=_keep)(_on_progress)
ffi.def_extern(name="moeclip_python_broken", onerror=_keep)(_on_broken)


def as_list(texts: Union[str, Sequence[str]]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts
