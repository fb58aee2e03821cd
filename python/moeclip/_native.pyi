# Written by python/native.py and compiled: the functions and types of include/moeclip/*.h, as cffi sees them.
from typing import Any

ffi: Any
lib: Any
