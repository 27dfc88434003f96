"""Pillow as it opens the images of strangers: quiet, as large as our own limits allow, in several threads at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


class _Bound:
    """Pillow's bound on the pixels of an image, one for the process: as high as any reader at work needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needed: list[int] = []
        self._own: int | None = None

    def raise_to(self, pixels: int) -> None:
        with self._lock:
            if not self._needed:
                self._own = Image.MAX_IMAGE_PIXELS
            self._needed.append(pixels)
            self._apply()

    def release(self, pixels: int) -> None:
        with self._lock:
            self._needed.remove(pixels)
            self._apply()

    def _apply(self) -> None:
        if self._own is not None:
            Image.MAX_IMAGE_PIXELS = max([self._own, *self._needed])


_bound = _Bound()


@contextmanager
def allowing(pixels: int) -> Iterator[None]:
    """Let Pillow open and decode images of so many pixels, which it refuses at twice a bound of its own."""
    _bound.raise_to(pixels)
    try:
        yield
    finally:
        _bound.release(pixels)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow's warnings are not shown.

    Filters of warnings belong to the whole process: where threads overlap, this one may outlast them, and so it names
    Pillow alone.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
