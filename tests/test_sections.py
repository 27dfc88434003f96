from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dlcodec.container import Container, Header, Section, pack, unpack
from dlcodec.errors import CorruptFileError
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import EXIF_PREFIX, Extras
from dlcodec.sections import MOST_METADATA, pack_extras, unpack_extras
from tests.forged import mend
from tests.test_metadata import make_exif

HEADER = Header("mean-scale", 7, 5, 0, None, bytes(8), 0)
ALPHA, EXIF, GREY, ICC, XMP = 65, 197, 199, 201, 216
TIFF = b"II*\0\x08\0\0\0\0\0"
LATENTS = Section(1, b"")


def plane(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (5, 7), dtype=np.uint8)


def png(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def same(first: Extras, second: Extras) -> bool:
    rest = [(e.grey, e.icc, e.exif, e.xmp, e.alpha is None) for e in (first, second)]
    return rest[0] == rest[1] and (first.alpha is None or np.array_equal(first.alpha, second.alpha))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "extras",
    [
        Extras(),
        Extras(grey=True),
        Extras(alpha=plane()),
        Extras(alpha=np.where(plane() > 99, 255, 0).astype(np.uint8)),
        Extras(alpha=plane(), grey=True, icc=b"I" * 600, exif=TIFF + bytes(range(256)), xmp=b"<x/>"),
    ],
    ids=["nothing", "grey", "alpha", "mask", "all"],
)
def test_what_goes_in_comes_out(extras: Extras) -> None:
    file = unpack(pack(HEADER, (LATENTS, *pack_extras(extras))), DEFAULT_LIMITS)
    assert same(unpack_extras(file), extras)


def test_nothing_takes_no_bytes() -> None:
    assert pack_extras(Extras()) == ()


def test_the_sections_are_those_of_the_specification() -> None:
    packed = pack_extras(Extras(alpha=plane(), grey=True, icc=b"icc", exif=b"exif", xmp=b"xmp"))
    sections = {section.type: section.data for section in packed}
    with Image.open(io.BytesIO(sections[ALPHA])) as image:
        assert (image.format, image.mode) == ("WEBP", "RGB")
        assert np.array_equal(np.asarray(image), plane()[..., None].repeat(3, axis=2))
    assert sections[GREY] == b""
    assert [zlib.decompress(sections[kind]) for kind in (EXIF, ICC, XMP)] == [b"exif", b"icc", b"xmp"]
    assert len(sections) == len(packed) == 5


def test_alpha_too_long_for_webp_is_a_png() -> None:
    for shape, form in (((1, 16383), "WEBP"), ((1, 16384), "PNG"), ((16384, 1), "PNG")):
        alpha = np.arange(max(shape), dtype=np.uint32).astype(np.uint8).reshape(shape)
        (section,) = pack_extras(Extras(alpha=alpha))
        with Image.open(io.BytesIO(section.data)) as image:
            assert image.format == form
        header = Header("mean-scale", shape[1], shape[0], 0, None, bytes(8), 0)
        assert same(unpack_extras(Container(header, (LATENTS, section), 1)), Extras(alpha=alpha))


def test_alpha_may_be_a_png_of_one_bit() -> None:
    mask = plane() > 99
    section = Section(ALPHA, png(mask))
    assert same(unpack_extras(Container(HEADER, (LATENTS, section), 1)), Extras(alpha=mask * np.uint8(255)))


ZEROS = zlib.compress(bytes(MOST_METADATA + 1), 9)
PNG = png(plane())
WEBP = pack_extras(Extras(alpha=plane()))[0].data


def webp(array: npt.NDArray[np.uint8], **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "WEBP", **options)
    return stream.getvalue()


FAULTS: dict[str, tuple[Section, str]] = {
    "alpha is empty": (Section(ALPHA, b""), "alpha is damaged"),
    "alpha is no PNG": (Section(ALPHA, b"GIF89a" + bytes(40)), "alpha is damaged"),
    "alpha is cut": (Section(ALPHA, PNG[:60]), "alpha is damaged"),
    "alpha is turned": (Section(ALPHA, png(plane().T.copy())), "other sides"),
    "alpha in colour": (Section(ALPHA, png(np.zeros((5, 7, 3), dtype=np.uint8))), "more than one channel"),
    "alpha of 16 bit": (Section(ALPHA, png(np.zeros((5, 7), dtype=np.uint16))), "1 or 8 bits"),
    "alpha of 4 bit": (Section(ALPHA, PNG[:24] + b"\4" + PNG[25:]), "1 or 8 bits"),
    "alpha with an appendix": (Section(ALPHA, PNG + b"x"), "not a whole PNG"),
    "alpha of two chunks": (Section(ALPHA, WEBP + b"EXIF\0\0\0\0"), "not one chunk"),
    "EXIF of nothing": (Section(EXIF, zlib.compress(b"no TIFF")), "EXIF is damaged"),
    "EXIF of a turned picture": (Section(EXIF, zlib.compress(make_exif(6).removeprefix(EXIF_PREFIX))), "not upright"),
    "alpha is a bomb": (
        Section(ALPHA, PNG[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + PNG[24:]),
        "alpha is damaged",
    ),
    "alpha as WebP is cut": (Section(ALPHA, WEBP[:40]), "alpha is damaged"),
    "alpha as WebP is cut in its header": (Section(ALPHA, WEBP[:22]), "alpha is damaged"),
    "alpha as lossy WebP": (Section(ALPHA, webp(np.zeros((5, 7, 3), np.uint8))), "plain lossless"),
    "alpha as WebP with metadata": (Section(ALPHA, webp(plane(), lossless=True, exif=b"II*")), "plain lossless"),
    "alpha as WebP is turned": (
        Section(ALPHA, pack_extras(Extras(alpha=plane().T.copy()))[0].data),
        "other sides",
    ),
    "alpha as WebP is a bomb": (Section(ALPHA, WEBP[:21] + b"\xff" * 4 + WEBP[25:]), "other sides"),
    "grey is not empty": (Section(GREY, b"\0"), "not empty"),
    "EXIF is no deflate": (Section(EXIF, b"II*\0"), "EXIF is damaged"),
    "EXIF is nothing": (Section(EXIF, b""), "EXIF is empty"),
    "EXIF inflates to nothing": (Section(EXIF, zlib.compress(b"")), "EXIF is empty"),
    "ICC is cut": (Section(ICC, zlib.compress(bytes(range(200)))[:-1]), "ICC is empty, truncated"),
    "ICC goes on": (Section(ICC, zlib.compress(b"icc") + b"\0"), "bytes after its end"),
    "XMP is a bomb": (Section(XMP, ZEROS), "XMP has more than 16777216 bytes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_a_corrupt_file(name: str) -> None:
    section, fragment = FAULTS[name]
    with pytest.raises(CorruptFileError) as caught:
        unpack_extras(Container(HEADER, (LATENTS, section), 1))
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [ALPHA, EXIF, GREY, ICC, XMP])
def test_a_kind_twice_is_refused(kind: int) -> None:
    good = {ALPHA: PNG, GREY: b"", EXIF: zlib.compress(TIFF)}.get(kind, zlib.compress(b"data"))
    unpack_extras(Container(HEADER, (LATENTS, Section(kind, good)), 1))
    with pytest.raises(CorruptFileError, match="two sections"):
        unpack_extras(Container(HEADER, (LATENTS, Section(kind, good), Section(kind, good)), 1))


def test_as_much_as_is_allowed_is_allowed() -> None:
    (section,) = pack_extras(Extras(xmp=bytes(MOST_METADATA)))
    assert unpack_extras(Container(HEADER, (LATENTS, section), 1)).xmp == bytes(MOST_METADATA)


def _damage(data: bytes, random_: random.Random) -> bytes:
    body = bytearray(data)
    for _ in range(random_.randint(1, 3)):
        at = random_.randrange(len(body))
        if random_.randrange(4) == 0:
            del body[at : at + random_.randint(1, 9)]
            body += b"\0"
        else:
            body[at] = random_.randrange(256)
    return bytes(body)


@pytest.mark.parametrize(
    ("alpha", "repair"), [(PNG, bytes), (PNG, mend), (WEBP, bytes)], ids=["PNG", "PNG, checksums mended", "WebP"]
)
def test_mutants_raise_only_our_errors(alpha: bytes, repair: Callable[[bytes], bytes]) -> None:
    random_, refused = random.Random(7), 0
    good = [Section(ALPHA, alpha), *pack_extras(Extras(icc=bytes(range(99)), exif=b"II*\0" * 9, xmp=b"<x>" * 30))]
    for _ in range(1500):
        target = random_.randrange(len(good))
        mutant = [*good]
        mutant[target] = Section(good[target].type, repair(_damage(good[target].data, random_)))
        file = unpack(pack(HEADER, (LATENTS, *mutant)), DEFAULT_LIMITS)
        try:
            extras = unpack_extras(file)
        except CorruptFileError:
            refused += 1
        else:
            assert extras.alpha is not None
            assert extras.alpha.shape == (5, 7)
    assert refused > 900
