"""Other codecs on the same images: JPEG, WebP, AVIF and JPEG XL through Pillow, swept over their quality settings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

from dlcodec.errors import UsageError
from dlcodec.image import RGB


@dataclass(frozen=True, slots=True)
class Peer:
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


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("jpeg", "JPEG", (5, 10, 20, 30, 45, 60, 75), {"subsampling": 0, "optimize": True}),
        Peer("webp", "WEBP", (0, 5, 15, 30, 50, 70, 85), {"method": 6}),  # its lossy mode is 4:2:0 only
        Peer("avif", "AVIF", (5, 12, 20, 30, 45, 60, 75), {"subsampling": "4:4:4", "speed": 4}),
        Peer("jxl", "JXL", (1, 5, 15, 35, 60, 75, 85), {"effort": 7}),
    )
}


def load_peer(name: str) -> Peer:
    """A peer that works here; raises UsageError when it is unknown or its library is absent."""
    if name not in PEERS:
        raise UsageError(f"peer {name!r} is none of {', '.join(PEERS)}")
    if name == "jxl":
        try:
            import pillow_jxl  # noqa: F401  (registers the format)
        except ImportError as error:
            raise UsageError(f"peer jxl needs the package pillow-jxl-plugin ({error})") from error
    elif name in ("webp", "avif") and not features.check(name):
        raise UsageError(f"peer {name} needs a Pillow that was built with {PEERS[name].format}")
    return PEERS[name]
