"""Give back what is not held, so that memory that is measured is memory that is held."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc


def tidy() -> None:
    """Collect garbage, and return what the C library keeps for later (glibc) to the system."""
    gc.collect()
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
