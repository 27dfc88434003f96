"""A folder of 200 mixed pictures from fixed seeds, 10 of each of 20 kinds, and what becomes of each."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from tests.batch import pictures
from tests.batch.pictures import Kept, Made, Outcome, Random, Refused, crop, file, luma, named
from tests.forged import mend


@dataclass(frozen=True, slots=True)
class Case:
    """One file of the folder; ``name`` is its path below it."""

    name: bytes
    data: bytes
    outcome: Outcome


def _claims(random: Random) -> Made:
    """Headers of 60000 x 60000 pixels, with the samples of a few."""
    sides, refused = 60000, Refused(6, "pixels")
    rgb = crop(random, 16, 16)
    for mode in ("RGB", "L", "RGBA"):
        data = bytearray(file("PNG", Image.fromarray(rgb).convert(mode)))
        data[16:24] = struct.pack(">II", sides, sides)
        yield f"{mode}.png", mend(bytes(data)), refused
        if mode == "RGB":
            jpeg = bytearray(file("JPEG", rgb))
            at = jpeg.index(b"\xff\xc0") + 5
            jpeg[at : at + 4] = struct.pack(">HH", sides, sides)
            yield "1.jpg", bytes(jpeg), refused
    gif, bmp = bytearray(file("GIF", rgb)), bytearray(file("BMP", rgb))
    gif[6:10] = struct.pack("<HH", sides, sides)
    bmp[18:26] = struct.pack("<ii", sides, sides)
    yield "2.gif", bytes(gif), refused
    yield "3.bmp", bytes(bmp), refused
    jp2, tiff = bytearray(file("JPEG2000", rgb)), bytearray(file("TIFF", rgb))
    at = jp2.index(b"ihdr") + 4
    jp2[at : at + 8] = struct.pack(">II", sides, sides)
    yield "4.jp2", bytes(jp2), refused
    for tag in (256, 257):
        at = tiff.index(struct.pack("<HHII", tag, 4, 1, 16)) + 8
        tiff[at : at + 4] = struct.pack("<I", sides)
    yield "5.tif", bytes(tiff), refused
    yield "6.ppm", b"P6 60000 60000 255\n" + rgb.tobytes(), refused
    yield "7.pgm", b"P5 60000 60000 65535\n" + rgb.tobytes(), refused


def _truncated(random: Random) -> Made:
    for (name, form, _), part in zip(
        named(".jpg .png .webp .tif .jpg .png .bmp .avif .jpg .png"), np.linspace(0.2, 0.95, 10), strict=True
    ):
        data = file(form, crop(random))
        yield name, data[: int(len(data) * part)], Refused(3, "as an image: ")


def _no_pictures(random: Random) -> Made:
    unknown = Refused(3, "as an image: it is not in a known image format")
    yield "empty.png", b"", Refused(3, " is empty")
    yield "letter.png", b"Dear reader,\nthis is no picture.\n", unknown
    yield "nothing.jpg", b"", Refused(3, " is empty")
    yield "page.jpg", b"<!doctype html><title>Not found</title>", unknown
    yield "drawing.webp", b'<svg xmlns="http://www.w3.org/2000/svg"/>', unknown
    yield "zeros.tif", bytes(5000), unknown
    yield "noise.bmp", random.bytes(5000), unknown
    yield "archive.gif", b"PK\x03\x04" + random.bytes(500), unknown
    yield "script.avif", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", unknown
    floats = file("TIFF", Image.fromarray(luma(crop(random)).astype(np.float32)))
    yield "float.tiff", floats, Refused(3, "the image's samples are neither 8-bit nor 16-bit")


_NAMES: list[bytes | str] = [
    *(b"two\nlines.png", "Überraschung 写真 🌲.png", b"-leading dash.png", b"with  spaces .png", b"\xff\xfe.png"),
    *(b"[a-z]*?.png", b"@list.png", b"$(touch x); 'quoted\".png", b"%s {0} \\xff.png", b"x" * 251 + b".png"),
]


def _odd_names(random: Random) -> Made:
    for name in _NAMES:
        rgb = crop(random)
        yield name, file("PNG", rgb), Kept(rgb)


def _tree(random: Random) -> Made:
    """The same name at every depth, in folders that look like files or hide a line break."""
    folders = (b"a", b"folder.png", b"two\nlines", b"\xff", b"-r", b"x.dlc", "ü".encode(), b" ", b"*", b"deep")
    for depth in range(10, 0, -1):
        rgb = crop(random)
        yield b"/".join([*folders[:depth], b"same.png"]), file("PNG", rgb), Kept(rgb)


KINDS: dict[str, Callable[[Random], Made]] = {
    "photographs": pictures.photographs,
    "alpha": pictures.with_alpha,
    "grey": pictures.grey,
    "grey and alpha": pictures.grey_with_alpha,
    "palette": pictures.palette,
    "rotated": pictures.rotated,
    "16-bit grey": pictures.grey_of_16_bits,
    "16-bit colour": pictures.colour_of_16_bits,
    "CMYK": pictures.cmyk,
    "CMYK with a profile": pictures.cmyk_with_profile,
    "Lab": pictures.lab,
    "profile": pictures.with_profile,
    "animated": pictures.animated,
    "1 x 1": pictures.one_pixel,
    "strips": pictures.strips,
    "claims": _claims,
    "truncated": _truncated,
    "no pictures": _no_pictures,
    "names": _odd_names,
    "tree": _tree,
}


def of_kind(kind: str, each: int) -> list[Case]:
    """The first ``each`` of a kind, at most 10, in a folder of their own."""
    made, folder = KINDS[kind](np.random.default_rng(list(KINDS).index(kind))), kind.encode() + b"/"
    return [
        Case(folder + (name.encode() if isinstance(name, str) else name), data, outcome)
        for name, data, outcome in islice(made, each)
    ]


def mixed(each: int) -> list[Case]:
    """The first ``each`` of every kind."""
    return [case for kind in KINDS for case in of_kind(kind, each)]


def write(folder: Path, cases: list[Case]) -> None:
    """Write the files of all cases below ``folder``."""
    for case in cases:
        path = folder / os.fsdecode(case.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
