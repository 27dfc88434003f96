"""The .dlc container: header, sections, checksum. ``docs/format.md`` is its specification."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from dlcodec import families
from dlcodec.arguments import LEVEL_STEPS
from dlcodec.errors import CorruptFileError, UnsupportedFileError
from dlcodec.limits import Limits

MAGIC = b"\x89DLC\r\n"
VERSION = 1
CODER_RANGE_32_64 = 1
SECTION_LATENTS = 1
SECTION_ALPHA = ord("A")
SECTION_EXIF = ord("E") | 0x80
SECTION_GREY = ord("G") | 0x80
SECTION_ICC = ord("I") | 0x80
SECTION_THUMBNAIL = ord("T") | 0x80
SECTION_XMP = ord("X") | 0x80
SECTION_NAMES = {
    SECTION_LATENTS: "latents",
    SECTION_ALPHA: "alpha",
    SECTION_EXIF: "EXIF",
    SECTION_GREY: "grey",
    SECTION_ICC: "ICC",
    SECTION_THUMBNAIL: "thumbnail",
    SECTION_XMP: "XMP",
}
"""What each known type of section is called; a file has at most one of each."""
_ANCILLARY = 0x80
_CRITICAL_FLAGS = 0xF0
TAU_STEPS = 254
_NO_TAU_HINT = 0xFF
_MOST_SECTIONS = 64
_FIXED = struct.Struct("<BBBBBHB8sI")
_CRC = struct.Struct("<I")

_NAMES: dict[int, str] = {family.number: family.name for family in families.FAMILIES}
"""Of the families, by their ids in the bitstream."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of itself.

    ``level`` is in steps of 1/256; ``tau_hint`` in steps of 1/254 or None; ``model_digest`` is 8 bytes;
    ``latent_digest`` is the CRC-32 over all decoded integers.
    """

    family: str
    width: int
    height: int
    level: int
    tau_hint: int | None
    model_digest: bytes
    latent_digest: int

    @property
    def rate_level(self) -> float:
        """The level as users name it: real, from 0."""
        return self.level / LEVEL_STEPS

    @property
    def default_tau(self) -> float:
        """The tau to decode with when nobody says another: the hint to 3 decimals, which keep its steps apart, or 0."""
        return 0.0 if self.tau_hint is None else round(self.tau_hint / TAU_STEPS, 3)


@dataclass(frozen=True, slots=True)
class Section:
    """One typed block; types of 128 and above are ancillary and may be skipped."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Container:
    """An unpacked file."""

    header: Header
    sections: tuple[Section, ...]
    version: int

    @property
    def payload(self) -> bytes:
        """The entropy-coded latents."""
        return next(section.data for section in self.sections if section.type == SECTION_LATENTS)


def _pack_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _unpack_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for length in range(5):
        if at + length >= len(data):
            raise CorruptFileError("the file is truncated inside a number")
        byte = data[at + length]
        value |= (byte & 0x7F) << (7 * length)
        if byte < 0x80:
            if length and byte == 0:
                raise CorruptFileError("a number is padded with zeros")
            if value >= 2**32:
                raise CorruptFileError("a number does not fit 32 bits")
            return value, at + length + 1
    raise CorruptFileError("a number is longer than 5 bytes")


def pack(header: Header, sections: tuple[Section, ...]) -> bytes:
    """The bytes of a file."""
    family = next(number for number, name in _NAMES.items() if name == header.family)
    hint = _NO_TAU_HINT if header.tau_hint is None else header.tau_hint
    fixed = _FIXED.pack(
        VERSION, VERSION, family, CODER_RANGE_32_64, 0, header.level, hint, header.model_digest, header.latent_digest
    )
    parts = [MAGIC, fixed, _pack_varint(header.width), _pack_varint(header.height)]
    for section in sections:
        parts += [bytes([section.type]), _pack_varint(len(section.data)), section.data]
    body = b"".join(parts)
    return body + _CRC.pack(zlib.crc32(body))


def _unpack_sections(body: bytes, at: int) -> tuple[Section, ...]:
    sections: list[Section] = []
    while at < len(body):
        kind = body[at]
        length, at = _unpack_varint(body, at + 1)
        if at + length > len(body):
            raise CorruptFileError(f"section {kind} claims {length} bytes where {len(body) - at} are left")
        if kind not in SECTION_NAMES and kind < _ANCILLARY:
            raise UnsupportedFileError(f"the file has a critical section of unknown type {kind}; use a newer dlcodec")
        if len(sections) == _MOST_SECTIONS:
            raise CorruptFileError(f"the file has more than {_MOST_SECTIONS} sections")
        sections.append(Section(kind, body[at : at + length]))
        at += length
    latents = sum(section.type == SECTION_LATENTS for section in sections)
    if latents != 1:
        raise CorruptFileError(f"the file has {latents} latent sections where one is needed")
    return tuple(sections)


def unpack(data: bytes, limits: Limits) -> Container:
    """Read a file's header and sections; nothing is allocated beyond ``data`` itself.

    Raises CorruptFileError, UnsupportedFileError, or LimitError for sides over the limits.
    """
    if data[: len(MAGIC)] != MAGIC:
        if not data or MAGIC.startswith(data[: len(MAGIC)]):
            raise CorruptFileError(f"the file is truncated: {len(data)} bytes")
        if data[1:4] == MAGIC[1:4]:
            raise CorruptFileError("the signature is damaged, as by a transfer in text mode")
        raise CorruptFileError("not a dlcodec file: the signature is missing")
    at = len(MAGIC)
    if len(data) < at + _FIXED.size + 2 + _CRC.size:
        raise CorruptFileError(f"the file is truncated: {len(data)} bytes")
    version, reader, family, coder, flags, level, hint, model, latents = _FIXED.unpack_from(data, at)
    if reader > VERSION:
        raise UnsupportedFileError(f"the file needs a reader of format {reader}; this one reads up to {VERSION}")
    body = data[: -_CRC.size]
    if zlib.crc32(body) != _CRC.unpack(data[-_CRC.size :])[0]:
        raise CorruptFileError("the file is truncated, damaged or has bytes after its end: the checksum does not match")
    if version == 0 or reader == 0 or reader > version:
        raise CorruptFileError(f"format version {version} with minimum reader {reader} does not exist")
    if family not in _NAMES:
        raise UnsupportedFileError(f"the file uses codec family {family}, which this dlcodec does not know")
    if coder != CODER_RANGE_32_64:
        raise UnsupportedFileError(f"the file uses entropy coder {coder}, which this dlcodec does not know")
    if flags & _CRITICAL_FLAGS:
        raise UnsupportedFileError(f"the file sets critical flags {flags:#04x}, which this dlcodec does not know")
    width, at = _unpack_varint(body, at + _FIXED.size)
    height, at = _unpack_varint(body, at)
    if width == 0 or height == 0:
        raise CorruptFileError(f"the image is {width} x {height} pixels")
    limits.check_size(width, height)
    tau_hint = None if hint == _NO_TAU_HINT else hint
    header = Header(_NAMES[family], width, height, level, tau_hint, model, latents)
    return Container(header, _unpack_sections(body, at), version)
