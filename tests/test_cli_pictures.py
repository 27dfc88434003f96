"""Pictures through the command line, in child processes with the tiny weights."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlcodec
from tests.conftest import RGB
from tests.forged import seal
from tests.profiles import adobe_rgb
from tests.test_cli import fails, folder, run
from tests.test_metadata import XMP, make_exif

__all__ = ["fails", "folder"]  # fixtures


@pytest.fixture
def crop(photo: RGB) -> RGB:
    return photo[100:150, 200:270].copy()


def test_a_photograph_keeps_its_metadata_unless_stripped(folder: Path, crop: RGB) -> None:
    exif = make_exif(6)
    Image.fromarray(crop).save(folder / "a.jpg", exif=exif, xmp=XMP, icc_profile=adobe_rgb())
    assert run("encode", folder / "a.jpg", "-o", folder / "a.dlc").returncode == 0
    assert run("encode", folder / "a.jpg", "-o", folder / "bare.dlc", "--strip").returncode == 0
    kept, bare = json.loads(run("info", "--json", folder / "a.dlc", folder / "bare.dlc").stdout)
    assert set(kept["sections"]) == {"latents", "EXIF", "ICC", "XMP"}
    assert (kept["metadata"], bare["metadata"]) == (True, False)
    assert bare["sections"] == {"latents": bare["payload_bytes"]}
    decoded = run("decode", folder / "a.dlc", "-o", folder / "b.webp", "--tau", "1")
    assert (decoded.returncode, decoded.stdout, decoded.stderr) == (0, "", "")
    with Image.open(folder / "b.webp") as image:
        assert image.size == (50, 70)
        assert image.getexif()[0x0112] == 1
        assert image.info["icc_profile"] == adobe_rgb()


def test_info_shows_sections_in_words(folder: Path, crop: RGB) -> None:
    data = dlcodec.encode(np.dstack([crop, crop[..., 0]]))
    (folder / "a.dlc").write_bytes(data)
    lines = dict(line.split(maxsplit=1) for line in run("info", folder / "a.dlc").stdout.splitlines())
    sections = dlcodec.read_info(data).sections
    assert (lines["alpha"], lines["grey"], lines["metadata"]) == ("yes", "no", "no")
    assert lines["sections"] == f"latents {sections['latents']} bytes, alpha {sections['alpha']} bytes"


def test_unknown_sections_are_shown(tiny_file: bytes) -> None:
    body = tiny_file[:-4] + b"\xc8\x05hello" + b"\xc8\x02ho"
    assert dlcodec.read_info(seal(body)).sections["unknown 200"] == 7


def test_the_suffix_decides_the_format(folder: Path) -> None:
    result = run("decode", folder / "good.dlc", "-o", folder / "{tau}.jpg", "--tau", "0,1", "--quality", "30")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for name in ("0.jpg", "1.jpg"):
        with Image.open(folder / name) as image:
            assert (image.format, image.size) == ("JPEG", (70, 50))


def test_a_quality_where_nothing_is_lossy_is_code_2(folder: Path, fails: Callable[..., str]) -> None:
    assert "lossless" in fails(2, "decode", folder / "absent.dlc", "-o", folder / "a.png", "--quality", "90")
    assert "1 to 100" in fails(2, "decode", folder / "absent.dlc", "-o", folder / "a.jpg", "--quality", "0")


def test_a_format_that_cannot_hold_the_picture_is_code_2(folder: Path, crop: RGB, fails: Callable[..., str]) -> None:
    (folder / "a.dlc").write_bytes(dlcodec.encode(np.dstack([crop, crop[..., 0]])))
    assert "transparency" in fails(2, "decode", folder / "a.dlc", "-o", folder / "a.jpg")
    assert "colours" in fails(2, "decode", folder / "good.dlc", "-o", folder / "a.pgm")


def test_a_damaged_section_is_code_4(folder: Path, tiny_file: bytes, fails: Callable[..., str]) -> None:
    body = tiny_file[:-4] + b"A\x05hello"
    (folder / "bad.dlc").write_bytes(seal(body))
    assert "alpha is damaged" in fails(4, "decode", folder / "bad.dlc", "-o", folder / "a.png")


def test_an_animation_is_one_line_on_stderr(folder: Path, crop: RGB) -> None:
    frames = [Image.fromarray(crop), Image.fromarray(255 - crop)]
    frames[0].save(folder / "a.png", save_all=True, append_images=frames[1:])
    result = run("encode", folder / "a.png", "-o", folder / "a.dlc")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"dlcodec: {folder / 'a.png'} has several frames; only the first is kept\n"


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda image: b"", 3),
        (lambda image: _png(image)[:900], 3),
        (lambda image: _png(image)[:20], 3),
        (lambda image: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", 3),
        (lambda image: _png(image)[:16] + b"\0\0\xff\xff\0\0\xff\xff" + _png(image)[24:], 6),
    ],
    ids=["0 bytes", "truncated", "truncated in its header", "EPS", "bomb"],
)
def test_hostile_images_have_their_code(
    folder: Path, crop: RGB, fails: Callable[..., str], make: Callable[[Image.Image], bytes], code: int
) -> None:
    data = bytearray(make(Image.fromarray(crop)))
    if code == 6:
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (folder / "hostile.png").write_bytes(data)
    assert "hostile.png" in fails(code, "encode", folder / "hostile.png", "-o", folder / "a.dlc")
