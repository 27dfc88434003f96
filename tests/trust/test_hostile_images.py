"""Images that are damaged, or that would cost far more than their pixels."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dlcodec
from dlcodec.errors import InputError, LimitError
from dlcodec.image import read_picture
from dlcodec.limits import DEFAULT_LIMITS
from tests.cli.conftest import Run
from tests.conftest import RGB
from tests.forged import chunk

FORMATS = ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "GIF", "JPEG2000"]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def refused_or_whole(data: bytes) -> bool:
    """Whether damaged bytes are refused; a picture of the sides that it claims is the other thing they may give."""
    try:
        rgb = read_picture(data, "the image", DEFAULT_LIMITS).rgb
    except (InputError, LimitError):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            assert sorted(rgb.shape) == sorted((*image.size, 3))  # upright
    return False


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_image_is_refused_at_every_length(photo: RGB, kind: str) -> None:
    """What may be missing is the end of the file's frame, behind the last pixel."""
    data = saved(Image.fromarray(photo[:64, :96]), kind)
    lengths = np.linspace(0, len(data) - 40, 60).astype(int).tolist()
    assert all(refused_or_whole(data[:length]) for length in lengths)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_images_give_a_picture_or_our_error_in_bounded_time(photo: RGB, kind: str, count: int) -> None:
    data = saved(Image.fromarray(photo[:64, :96]), kind)
    random, refused, slowest = np.random.default_rng(4), 0, 0.0
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(int(random.integers(1, 5))):
            damaged[int(random.integers(min(len(data), 600)))] = int(random.integers(256))
        begun = time.process_time()
        refused += refused_or_whole(bytes(damaged))
        slowest = max(slowest, time.process_time() - begun)
    print(f"{kind}: {refused} of {count} refused, at most {slowest:.2f} s")
    assert slowest < 5


def png(extra: bytes = b"", *, sides: tuple[int, int] = (4, 4), rows: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *sides, 8, 2, 0, 0, 0))
    pixels = bytes((1 + 3 * sides[0]) * sides[1]) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg_with(kind: int, data: bytes, count: int) -> bytes:
    """A small JPEG with one more segment, many times over."""
    whole = saved(Image.new("RGB", (8, 8)), "JPEG")
    segment = b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data
    return whole[:2] + segment * count + whole[2:]


def jpeg_with_scans(count: int) -> bytes:
    whole = saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * count + whole[-2:]


def tiff_with_frames(count: int) -> bytes:
    """A chain of directories, each a frame."""
    data = bytearray(saved(Image.new("L", (1, 1)), "TIFF"))
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    directory = bytes(data[at : at + 2 + 12 * entries])
    link = at + len(directory)
    data += bytes(-len(data) % 4)
    for _ in range(count - 1):
        struct.pack_into("<I", data, link, len(data))
        link = len(data) + len(directory)
        data += directory + bytes(4)
        data += bytes(-len(data) % 4)
    return bytes(data)


def gif_with_frames(count: int) -> bytes:
    one = saved(Image.new("P", (1, 1)), "GIF")
    return one[:-1] + one[one.index(b",") : -1] * (count - 1) + b";"


BOMB = zlib.compress(bytes(2**27), 9)
TRAPS: dict[str, tuple[Callable[[], bytes], type[Exception] | None]] = {
    "more rows than sides": (lambda: png(rows=bytes(2**27)), None),
    "sides of 60000": (lambda: png(sides=(60000, 60000), rows=b""), LimitError),
    "zTXt": (lambda: png(chunk(b"zTXt", b"a\0\0" + BOMB)), InputError),
    "zTXt, 200 of a megabyte": (lambda: png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 200), InputError),
    "iTXt": (lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)), InputError),
    "iCCP": (lambda: png(chunk(b"iCCP", b"a\0\0" + BOMB)), InputError),
    "eXIf": (lambda: png(chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(2**20))), None),
    "ICC profile of 16 MB": (lambda: saved(Image.new("RGB", (8, 8)), "JPEG", icc_profile=bytes(2**24 - 1)), None),
    "2000 comments": (lambda: jpeg_with(0xFE, bytes(65000), 2000), None),
    "256 segments of EXIF": (lambda: jpeg_with(0xE1, b"Exif\0\0" + bytes(65000), 256), None),
    "257 segments of EXIF": (lambda: jpeg_with(0xE1, b"Exif\0\0" + bytes(100), 257), LimitError),
    "65000 segments of EXIF": (lambda: jpeg_with(0xE1, b"Exif\0\0" + bytes(100), 65000), LimitError),
    "190 scans": (lambda: jpeg_with_scans(190), None),
    "200 scans more": (lambda: jpeg_with_scans(200), LimitError),
    "20000 scans": (lambda: jpeg_with_scans(20000), LimitError),
    "TIFF of 60000 frames": (lambda: tiff_with_frames(60000), None),
    "GIF of 200000 frames": (lambda: gif_with_frames(200000), None),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_costs_little(name: str) -> None:
    """Two of them once cost minutes: frames of TIFF and EXIF of JPEG, in time that grew with their square."""
    make, error = TRAPS[name]
    data = make()
    begun = time.process_time()
    if error is None:
        assert read_picture(data, "the image", DEFAULT_LIMITS).rgb.size
    else:
        with pytest.raises(error):
            read_picture(data, "the image", DEFAULT_LIMITS)
    assert time.process_time() - begun < 2


def test_a_thumbnail_inside_exif_is_no_scan(photo: RGB) -> None:
    thumbnail = jpeg_with_scans(250)
    data = jpeg_with(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + thumbnail, 1)
    assert read_picture(data, "the image", DEFAULT_LIMITS).rgb.shape == (8, 8, 3)


def _kinds() -> dict[str, tuple[bytes, int]]:
    colours = Image.effect_mandelbrot((40, 20), (-2, -1, 1, 1), 50).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = colours.quantize(16)
    wide = Image.fromarray(np.arange(800, dtype=np.uint16).reshape(20, 40) * 80)
    return {
        "grey": (saved(colours.convert("L"), "PNG"), 0),
        "16-bit grey": (saved(wide, "PNG"), 0),
        "palette with alpha": (saved(palette, "PNG", transparency=3), 0),
        "grey with alpha": (saved(colours.convert("LA"), "PNG"), 0),
        "CMYK": (saved(colours.convert("CMYK"), "JPEG"), 0),
        "turned by EXIF": (saved(colours, "JPEG", exif=turned), 0),
        "animated": (saved(colours, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 20))]), 0),
        "floating point": (saved(Image.new("F", (40, 20)), "TIFF"), 3),
        "empty": (b"", 3),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", 3),
        "truncated PNG": (saved(colours, "PNG")[:200], 3),
        "truncated JPEG": (saved(colours, "JPEG")[:400], 3),
        "a bomb": (png(sides=(60000, 60000), rows=b""), 6),
        "a long side": (png(sides=(65536, 1), rows=bytes(1)), 6),
        "too many scans": (jpeg_with_scans(300), 6),
        "not an image": (b"garbage " * 20, 3),
    }


KINDS = _kinds()


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_image_is_encoded_or_refused_with_its_code(run: Run, tmp_path: Path, name: str) -> None:
    data, code = KINDS[name]
    (tmp_path / "in").write_bytes(data)
    result = run("encode", tmp_path / "in", "-o", tmp_path / "out.dlc")
    assert (result.code, result.out) == (code, "")
    assert (tmp_path / "out.dlc").exists() == (code == 0)
    if code:
        assert (result.err.startswith("dlcodec: "), result.err.count("\n")) == (True, 1)
    else:
        info = dlcodec.read_info((tmp_path / "out.dlc").read_bytes())
        assert (info.width, info.height) == ((20, 40) if name == "turned by EXIF" else (40, 20))
        assert result.err.endswith("only the first is kept\n") == (name == "animated")
