"""ICC profiles made from the one that Pillow can make."""

from __future__ import annotations

import struct

from PIL import ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exchanged() -> bytes:
    """sRGB with its red and green colourants exchanged."""
    profile = bytearray(SRGB)
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def _s15(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x04300000, b"mntr", space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _s15(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _s15(*values)


def _gamma(gamma: float) -> bytes:
    return b"para" + bytes(8) + _s15(gamma)


def _text(text: str) -> bytes:
    words = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(words), 28) + words


def adobe_rgb(name: str = "wide") -> bytes:
    """The colourants and the gamma of Adobe RGB (1998), whose greens lie outside sRGB."""
    curve = _gamma(2.19921875)
    tags = {b"desc": _text(name), b"cprt": _text("none"), b"wtpt": _xyz(0.9642, 1.0, 0.8249)}
    tags |= {b"rXYZ": _xyz(0.60974, 0.31111, 0.01947), b"gXYZ": _xyz(0.20528, 0.62567, 0.06087)}
    tags |= {b"bXYZ": _xyz(0.14919, 0.06322, 0.74457), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _profile(b"RGB ", tags)


def grey(gamma: float) -> bytes:
    """A profile of grey samples."""
    white = _xyz(0.9642, 1.0, 0.8249)
    return _profile(b"GRAY", {b"desc": _text("grey"), b"cprt": _text("none"), b"wtpt": white, b"kTRC": _gamma(gamma)})


def cmyk() -> bytes:
    """Four inks that are all grey: each darkens L* by a quarter."""
    lightness = (255 - 255 * number.bit_count() // 4 for number in range(16))
    corners = b"".join(bytes([value, 128, 128]) for value in lightness)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + _s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += bytes(range(256)) * 4 + corners + bytes(range(256)) * 3
    white = _xyz(0.9642, 1.0, 0.8249)
    tags = {b"desc": _text("inks"), b"cprt": _text("none"), b"wtpt": white, b"A2B0": table}
    return _profile(b"CMYK", tags, b"Lab ")
