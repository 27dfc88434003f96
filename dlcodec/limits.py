"""The sizes beyond which dlcodec refuses to work, checked before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass

from dlcodec.errors import LimitError


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds: ``side`` and ``pixels`` in pixels, ``file_bytes`` and ``weights_bytes`` in bytes."""

    side: int
    pixels: int
    file_bytes: int
    weights_bytes: int

    def check_size(self, width: int, height: int) -> None:
        """Raise LimitError unless an image of this size may be processed."""
        if width > self.side or height > self.side or width * height > self.pixels:
            raise LimitError(
                f"the image is {width} x {height} pixels; the limits are {self.side} a side and {self.pixels} in all"
            )


DEFAULT_LIMITS = Limits(side=65535, pixels=2**24, file_bytes=2**28, weights_bytes=2**28)
