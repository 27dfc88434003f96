"""A quicker start, threads that share a machine, and memory that is used again: all before torch is imported."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

_SPINS = "3000"
"""How often GNU's OpenMP looks whether the other threads are done before one sleeps; its own figure is a hundred times
that, which wastes whole slices of time where cores are shared, and is no faster where they are not."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT, _MOST_KEPT = 2**28, 2**30
"""In bytes: feature maps of a tile are smaller, what belongs to a whole large picture is not."""


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for each other give way soon, unless ``environment`` says how they shall wait.

    NumPy's products, small ones in the waves of a context model, have one thread: OpenBLAS has no such setting. Its
    second one saves 30 ms of a picture on an idle machine and took half a minute on a busy one.
    """
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _SPINS)


def reuse_memory() -> None:
    """Let glibc keep what is freed: above 32 MiB it gives each array back, and takes the next one page by page."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option:  # musl has none
        set_option(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        set_option(_M_TRIM_THRESHOLD, _MOST_KEPT)


@contextmanager
def keeping_all() -> Iterator[None]:
    """For the import of torch: what it makes stays, so that nobody looks through it for garbage, now or later."""
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
