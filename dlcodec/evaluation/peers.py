"""Other codecs on the same images, swept over their quality settings: four through Pillow, two by their programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image, features

from dlcodec.errors import UsageError
from dlcodec.evaluation.classical import load_bpg, load_vtm
from dlcodec.picture import RGB


class Peer(Protocol):
    """Another codec: what it is called, the qualities it is swept over, and one round trip."""

    @property
    def name(self) -> str:
        """As ``--peers`` names it."""

    @property
    def qualities(self) -> tuple[int, ...]:
        """On the codec's own scale, from the smallest file to the largest."""

    def code(self, rgb: RGB, quality: float) -> tuple[int, RGB]:
        """Encode and decode (H, W, 3) uint8; the size of the file in bytes and the decoded picture."""


@dataclass(frozen=True, slots=True)
class PillowPeer:
    """One codec of Pillow: its format name, the qualities it is swept over, and what else its encoder is told."""

    name: str
    format: str
    qualities: tuple[int, ...]
    options: Mapping[str, Any]

    def encode(self, rgb: RGB, quality: float) -> bytes:
        """(H, W, 3) uint8 to the bytes of a file."""
        stream = io.BytesIO()
        Image.fromarray(rgb).save(stream, self.format, quality=int(quality), **self.options)
        return stream.getvalue()

    def decode(self, data: bytes) -> RGB:
        """The bytes of a file to (H, W, 3) uint8."""
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return np.array(image.convert("RGB"))

    def code(self, rgb: RGB, quality: float) -> tuple[int, RGB]:
        """As in Peer."""
        data = self.encode(rgb, quality)
        return len(data), self.decode(data)


PILLOW_PEERS: Mapping[str, PillowPeer] = {
    peer.name: peer
    for peer in (
        PillowPeer("jpeg", "JPEG", (5, 10, 20, 30, 45, 60, 75), {"subsampling": 0, "optimize": True}),
        PillowPeer("webp", "WEBP", (0, 5, 15, 30, 50, 70, 85), {"method": 6}),  # its lossy mode is 4:2:0 only
        PillowPeer("avif", "AVIF", (5, 12, 20, 30, 45, 60, 75), {"subsampling": "4:4:4", "speed": 4}),
        PillowPeer("jxl", "JXL", (20, 27, 35, 47, 60, 75, 85), {"effort": 7}),  # below 19 it halves the picture first
    )
}


PROGRAMS: Mapping[str, Callable[[], Peer]] = {"bpg": load_bpg, "vtm": load_vtm}


def load_peer(name: str) -> Peer:
    """A peer that works here; raises UsageError when it is unknown or its library or program is absent."""
    if name in PROGRAMS:
        return PROGRAMS[name]()
    if name not in PILLOW_PEERS:
        raise UsageError(f"peer {name!r} is none of {', '.join([*PILLOW_PEERS, *PROGRAMS])}")
    if name == "jxl":
        try:
            import pillow_jxl  # noqa: F401  (registers the format)
        except ImportError as error:
            raise UsageError(f"peer jxl needs the package pillow-jxl-plugin ({error})") from error
    elif name in ("webp", "avif") and not features.check(name):
        raise UsageError(f"peer {name} needs a Pillow that was built with {PILLOW_PEERS[name].format}")
    return PILLOW_PEERS[name]
