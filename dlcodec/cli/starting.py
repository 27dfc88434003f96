"""A quicker start, and threads that share a machine; both have to be before torch is imported."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

_SPINS = "3000"
"""How often GNU's OpenMP looks whether the other threads are done before one sleeps; its own figure is a hundred times
that, which wastes whole slices of time where cores are shared, and is no faster where they are not."""


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for each other give way soon, unless ``environment`` says how they shall wait."""
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _SPINS)


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
