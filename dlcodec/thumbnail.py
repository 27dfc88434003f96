"""A small picture inside a file, seen without the networks. ``docs/format.md`` is the specification."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from dlcodec.colour import apply_profile
from dlcodec.container import SECTION_THUMBNAIL, Container, Section
from dlcodec.errors import CorruptFileError, UsageError
from dlcodec.picture import RGB, Picture

LEAST_SIDE, MOST_SIDE = 16, 1024
_QUALITY = 75


def check_side(side: int) -> None:
    """Raise UsageError unless a thumbnail may have this longer side, in pixels."""
    if not LEAST_SIDE <= side <= MOST_SIDE:
        raise UsageError(f"the thumbnail's side of {side} pixels is not between {LEAST_SIDE} and {MOST_SIDE}")


def pack_thumbnail(picture: Picture, side: int) -> Section:
    """The picture in sRGB, opaque, as lossy WebP whose longer side is ``side`` pixels, or the picture's if shorter."""
    image = Image.fromarray(picture.rgb)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
    if picture.extras.grey:
        image = image.convert("L")
    image, _ = apply_profile(image, picture.extras.icc, keep=False)
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "WEBP", quality=_QUALITY, method=6)
    return Section(SECTION_THUMBNAIL, stream.getvalue())


def read_thumbnail(file: Container) -> RGB | None:
    """(H, W, 3) uint8 sRGB, or None where the file has none; nothing is allocated beyond MOST_SIDE squared.

    Raises CorruptFileError.
    """
    found = [section.data for section in file.sections if section.type == SECTION_THUMBNAIL]
    if not found:
        return None
    if len(found) > 1:
        raise CorruptFileError("the file has two thumbnails")
    _check_webp(found[0])
    try:
        with Image.open(io.BytesIO(found[0]), formats=("WEBP",)) as image:
            return np.array(image.convert("RGB"))
    except Exception as error:  # Pillow raises nearly anything for damaged bytes
        raise CorruptFileError(f"the file's thumbnail is damaged: {error}") from error


def _check_webp(data: bytes) -> None:
    """Raise CorruptFileError unless ``data`` begins as a plain lossy WebP of allowed sides.

    Pillow takes memory for the canvas of a WebP as soon as it opens it.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8 " or data[23:26] != b"\x9d\x01\x2a":
        raise CorruptFileError("the file's thumbnail is damaged: not a plain lossy WebP")
    sides = [side & 0x3FFF for side in struct.unpack_from("<HH", data, 26)]
    if not 1 <= min(sides) <= max(sides) <= MOST_SIDE:
        raise CorruptFileError(f"the file's thumbnail has {sides[0]} x {sides[1]} pixels, more than {MOST_SIDE} a side")
