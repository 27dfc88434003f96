"""What accompanies a picture: alpha, EXIF, ICC and XMP of any bytes, up to the image files that hold them.

An input is: width and height (1 byte each), then blocks of type (1), form (1), length (2) and data. A block of an odd
form is deflated before it becomes a section; of a PNG the checksums are made right.
"""

from __future__ import annotations

import zlib

import numpy as np

from dlcodec.container import SECTION_LATENTS, Header, Section, pack, unpack
from dlcodec.errors import CorruptFileError, OutputError, UnsupportedFileError
from dlcodec.formats import FORMATS, Writing
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import Extras, Picture
from dlcodec.sections import pack_extras, unpack_extras
from tests.forged import mend
from tests.fuzz.source import Source

_MOST_SIDE = 32
_PNG = b"\x89PNG\r\n\x1a\n"
FORMS = tuple(FORMATS[suffix] for suffix in (".png", ".jpg", ".webp", ".tiff", ".ppm"))
"""The formats to write; AVIF takes too long."""


def check(data: bytes) -> bool:
    """Sections are refused by an error of ours, or come back when packed anew; whether every image file can hold them.

    A file that cannot is refused by an error of ours too.
    """
    source = Source(data)
    width, height = 1 + source.number() % _MOST_SIDE, 1 + source.number() % _MOST_SIDE
    sections = [Section(SECTION_LATENTS, b"")]
    while not source.empty:
        kind, form, block = source.number(), source.number(), source.block()
        if form & 1:
            block = zlib.compress(block, 1)
        sections.append(Section(kind, mend(block) if block.startswith(_PNG) else block))
    header = Header("mean-scale", width, height, 0, None, bytes(8), 0)
    try:
        extras = unpack_extras(unpack(pack(header, tuple(sections)), DEFAULT_LIMITS))
    except (CorruptFileError, UnsupportedFileError):
        return False
    assert extras.alpha is None or (extras.alpha.shape == (height, width) and extras.alpha.dtype == np.uint8)
    packed = pack(header, (sections[0], *pack_extras(extras)))
    _check_same(unpack_extras(unpack(packed, DEFAULT_LIMITS)), extras)
    picture = Picture(np.full((height, width, 3), 99, np.uint8), extras)
    written = True
    for form in (form for form in FORMS if form.alpha or extras.alpha is None):
        try:
            Writing("", form, form.quality).encode(picture, lambda _: None)
        except OutputError:
            written = False
    return written


def _check_same(first: Extras, second: Extras) -> None:
    assert (first.alpha is None) == (second.alpha is None)
    assert first.alpha is None or np.array_equal(first.alpha, second.alpha)
    fields = [(extras.grey, extras.icc, extras.exif, extras.xmp) for extras in (first, second)]
    assert fields[0] == fields[1]
