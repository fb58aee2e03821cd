"""Writes the C source of moeclip._native: native.py HEADER_FOLDER OUT.c

cffi is told what the public headers themselves declare, and the C compiler then checks every struct and function
against them. Python's two callbacks are added.
"""

import re
import sys
from pathlib import Path

import cffi

CALLBACKS = """
extern "Python" int moeclip_python_progress(void *context, const moeclip_progress *progress);
extern "Python" void moeclip_python_broken(void *context, const char *item, const char *message);
"""


def declarations(folder: Path) -> str:
    """All headers, each after those that it includes, without comments, preprocessor lines and what is C++'s."""
    done: set[str] = set()
    parts: list[str] = []

    def add(name: str) -> None:
        if name in done:
            return
        done.add(name)
        text = (folder / name).read_text()
        for included in re.findall(r'#include "moeclip/([a-z_]+\.h)"', text):
            add(included)
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
        # Numbers stay: they are sizes of arrays.
        numbers = "".join(re.findall(r"^#define MOECLIP_[A-Z_]+ [0-9]+$\n", text, flags=re.MULTILINE))
        text = re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
        parts.append(numbers + text.replace("MOECLIP_API", ""))

    add("moeclip.h")
    return "\n".join(parts)


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    ffi = cffi.FFI()
    ffi.cdef(declarations(folder) + CALLBACKS)
    ffi.set_source("moeclip._native", "#include <moeclip/moeclip.h>")
    ffi.emit_c_code(str(out))


if __name__ == "__main__":
    main()
