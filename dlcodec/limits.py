"""The sizes beyond which dlcodec refuses to work, checked before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dlcodec.errors import LimitError, UsageError

_SAMPLES = 4  # bytes of a pixel in a picture's file that is not compressed
_MOST_GIBIBYTES = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds: ``side`` and ``pixels`` in pixels, the others in bytes.

    ``memory`` is what the process may take while it encodes or decodes, on the CPU; None gives each tile a GiB.
    """

    side: int
    pixels: int
    file_bytes: int
    weights_bytes: int
    memory: int | None = None

    def allow(self, pixels: int | None, gibibytes: float | None) -> Limits:
        """These limits with another bound of pixels and of memory, where one is given; raises UsageError."""
        limits = self
        if pixels is not None:
            if not 1 <= pixels <= self.side**2:
                raise UsageError(f"--max-pixels {pixels} is outside 1 to {self.side**2}")
            limits = replace(limits, pixels=pixels, file_bytes=max(self.file_bytes, _SAMPLES * pixels))
        if gibibytes is not None:
            if not 0 < gibibytes <= _MOST_GIBIBYTES:
                raise UsageError(f"--max-memory {gibibytes} is outside 0 to {_MOST_GIBIBYTES}")
            limits = replace(limits, memory=int(gibibytes * 2**30))
        return limits

    def check_size(self, width: int, height: int) -> None:
        """Raise LimitError unless an image of this size may be processed."""
        if width > self.side or height > self.side or width * height > self.pixels:
            raise LimitError(
                f"the image is {width} x {height} pixels; the limits are {self.side} a side and {self.pixels} in all "
                "(--max-pixels of encode, decode, info, compare and explore, in Python max_pixels, changes the latter)"
            )


DEFAULT_LIMITS = Limits(side=65535, pixels=2**27, file_bytes=2**29, weights_bytes=2**28)
