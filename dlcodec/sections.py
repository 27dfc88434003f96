"""What accompanies a picture, as sections of the container and back. ``docs/format.md`` is the specification."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from dlcodec.container import (
    SECTION_ALPHA,
    SECTION_EXIF,
    SECTION_GREY,
    SECTION_ICC,
    SECTION_NAMES,
    SECTION_XMP,
    Container,
    Section,
)
from dlcodec.errors import CorruptFileError
from dlcodec.metadata import upright_exif
from dlcodec.opening import allowing, quiet
from dlcodec.picture import Extras, Plane

MOST_METADATA = 2**24
"""The bytes that each of EXIF, ICC and XMP may have; checked while they are inflated."""

PNG_END = b"IEND\xaeB`\x82"
_MOST_WEBP_SIDE = 16383


def pack_extras(extras: Extras) -> tuple[Section, ...]:
    """The sections of what accompanies a picture; none for an opaque sRGB picture in colour without metadata."""
    sections = []
    if extras.alpha is not None:
        sections.append(Section(SECTION_ALPHA, _pack_plane(extras.alpha)))
    if extras.grey:
        sections.append(Section(SECTION_GREY, b""))
    for kind, data in ((SECTION_EXIF, extras.exif), (SECTION_ICC, extras.icc), (SECTION_XMP, extras.xmp)):
        if data is not None:
            sections.append(Section(kind, zlib.compress(data, 9)))
    return tuple(sections)


def unpack_extras(file: Container, *, alpha: bool = True) -> Extras:
    """What accompanies the picture of a file, on demand without its alpha plane.

    Nothing is allocated beyond the header's sides and MOST_METADATA. Raises CorruptFileError.
    """
    found: dict[int, bytes] = {}
    for section in file.sections:
        if section.type in found and section.type in SECTION_NAMES:
            raise CorruptFileError(f"the file has two sections of {SECTION_NAMES[section.type]}")
        found[section.type] = section.data
    if found.get(SECTION_GREY):
        raise CorruptFileError("the mark of a grey picture is not empty")
    exif = _inflate(found, SECTION_EXIF)
    if exif is not None and upright_exif(exif) != exif:
        raise CorruptFileError("the file's EXIF is damaged, or says that the picture is not upright")
    plane = found.get(SECTION_ALPHA) if alpha else None
    return Extras(
        alpha=None if plane is None else _unpack_plane(plane, file.header.width, file.header.height),
        grey=SECTION_GREY in found,
        icc=_inflate(found, SECTION_ICC),
        exif=exif,
        xmp=_inflate(found, SECTION_XMP),
    )


def _inflate(found: dict[int, bytes], kind: int) -> bytes | None:
    if kind not in found:
        return None
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(found[kind], MOST_METADATA + 1)
    except zlib.error as error:
        raise CorruptFileError(f"the file's {SECTION_NAMES[kind]} is damaged: {error}") from error
    if len(data) > MOST_METADATA:
        raise CorruptFileError(f"the file's {SECTION_NAMES[kind]} has more than {MOST_METADATA} bytes")
    if not data or not inflater.eof or inflater.unused_data:
        raise CorruptFileError(f"the file's {SECTION_NAMES[kind]} is empty, truncated or has bytes after its end")
    return data


def _pack_plane(plane: Plane) -> bytes:
    """(H, W) uint8 as lossless WebP, about half as large as PNG; as PNG where a side is too long for WebP."""
    stream = io.BytesIO()
    if max(plane.shape) <= _MOST_WEBP_SIDE:
        Image.fromarray(plane).convert("RGB").save(stream, "WEBP", lossless=True, quality=80)
    else:
        Image.fromarray(plane).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _check_webp(data: bytes, width: int, height: int) -> None:
    """Raise CorruptFileError unless ``data`` begins as a plain lossless WebP of these sides; allocates nothing.

    Pillow takes memory for the canvas of a WebP as soon as it opens it.
    """
    if len(data) < 25 or data[8:16] != b"WEBPVP8L" or data[20] != 0x2F:
        raise CorruptFileError("the file's alpha is damaged: neither PNG nor plain lossless WebP")
    whole, chunk, sides = (struct.unpack_from("<I", data, at)[0] for at in (4, 16, 21))
    if not 8 + whole == len(data) == 20 + chunk + chunk % 2:
        raise CorruptFileError("the file's alpha is damaged: it is not one chunk of WebP")
    if (sides & 0x3FFF) + 1 != width or (sides >> 14 & 0x3FFF) + 1 != height:
        raise CorruptFileError("the file's alpha has other sides than its picture")


def _unpack_plane(data: bytes, width: int, height: int) -> Plane:
    webp = data[:4] == b"RIFF"
    if webp:
        _check_webp(data, width, height)
    elif data[24:25] not in (b"\1", b"\x08") or not data.endswith(PNG_END):
        raise CorruptFileError("the file's alpha is damaged: it is not a whole PNG of 1 or 8 bits")
    try:
        formats = ("WEBP",) if webp else ("PNG",)
        with quiet(), allowing(width * height), Image.open(io.BytesIO(data), formats=formats) as image:
            if image.size != (width, height):
                raise CorruptFileError("the file's alpha has other sides than its picture")
            if image.mode not in (("RGB", "RGBA") if webp else ("1", "L")):
                raise CorruptFileError("the file's alpha has more than one channel")
            image.load()
            return np.array(image.getchannel("G") if webp else image.convert("L"))
    except CorruptFileError:
        raise
    except Exception as error:  # Pillow raises nearly anything for damaged bytes
        raise CorruptFileError(f"the file's alpha is damaged: {error}") from error
