"""Errors of libmoeclip as exceptions."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

from ._native import ffi, lib


class Code(enum.IntEnum):
    """The library's error codes (moeclip/error.h)."""

    IO = lib.MOECLIP_ERROR_IO
    FORMAT = lib.MOECLIP_ERROR_FORMAT
    UNSUPPORTED = lib.MOECLIP_ERROR_UNSUPPORTED
    MISMATCH = lib.MOECLIP_ERROR_MISMATCH
    ARGUMENT = lib.MOECLIP_ERROR_ARGUMENT
    MEMORY = lib.MOECLIP_ERROR_MEMORY
    NUMERIC = lib.MOECLIP_ERROR_NUMERIC
    CANCELLED = lib.MOECLIP_ERROR_CANCELLED
    INTERNAL = lib.MOECLIP_ERROR_INTERNAL


class MoeclipError(Exception):
    """Whatever libmoeclip reports. The message names the file, tensor or option; `code` says of which kind it is."""

    code: ClassVar[Code] = Code.INTERNAL


class FileError(MoeclipError, OSError):
    """The system refused to open, read or write something."""

    code = Code.IO


class FormatError(MoeclipError):
    """A file is not what it claims to be, or is damaged."""

    code = Code.FORMAT


class UnsupportedError(MoeclipError):
    """Well-formed, but of a kind that moeclip does not handle."""

    code = Code.UNSUPPORTED


class MismatchError(MoeclipError):
    """Two things do not belong together, such as a state and another model."""

    code = Code.MISMATCH


class ArgumentError(MoeclipError, ValueError):
    """The library was asked for something that makes no sense."""

    code = Code.ARGUMENT


class OutOfMemoryError(MoeclipError, MemoryError):
    """Out of memory, or more than a bound allows."""

    code = Code.MEMORY


class NumericError(MoeclipError, ArithmeticError):
    """A loss or gradient is NaN or infinite."""

    code = Code.NUMERIC


class CancelledError(MoeclipError):
    """Stopped on request."""

    code = Code.CANCELLED


class InternalError(MoeclipError):
    """A library below failed unexpectedly."""

    code = Code.INTERNAL


_KINDS: dict[int, type[MoeclipError]] = {
    kind.code: kind
    for kind in (FileError, FormatError, UnsupportedError, MismatchError, ArgumentError, OutOfMemoryError, NumericError,
                 CancelledError, InternalError)
}


def new_error() -> Any:
    """A moeclip_error for the library to fill."""
    return ffi.new("moeclip_error *")


def check(code: int, err: Any) -> None:
    """Raises what the code says."""
    if code != lib.MOECLIP_OK:
        message = ffi.string(err.message).decode("utf-8", "replace")
        raise _KINDS.get(code, InternalError)(message)
