"""Structure out of the bytes of a fuzzer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Source:
    """Hands out bytes from the front; what is missing reads as zero."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end."""
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, size: int = 1) -> int:
        """The next ``size`` bytes as an unsigned number, low byte first."""
        return int.from_bytes(self.take(size), "little")

    def block(self) -> bytes:
        """A length of two bytes, and as many bytes."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(max(0, len(self.data) - self.at))

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.data)
