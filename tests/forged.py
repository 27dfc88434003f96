"""Files as an attacker would leave them: anything inside, and checksums that fit."""

from __future__ import annotations

import struct
import zlib


def seal(body: bytes) -> bytes:
    """A .dlc file: ``body`` and its checksum."""
    return body + struct.pack("<I", zlib.crc32(body))


def varint(value: int) -> bytes:
    """A number as the header and the sections of a .dlc file have it."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def mend(png: bytes) -> bytes:
    """A PNG with the checksum of each chunk that is still whole made right."""
    out, at = bytearray(png), 8
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        if at + 12 + length > len(png):
            break
        struct.pack_into(">I", out, at + 8 + length, zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)
