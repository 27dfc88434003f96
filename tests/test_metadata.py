from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dlcodec.image import load_picture
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.metadata import upright_exif, upright_xmp

NOTES = bytes(range(256))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="A tree"/></x:xmpmeta>'


def make_exif(orientation: int | None = 6) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = NOTES
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif.tobytes()


def read(exif: bytes | None) -> Image.Exif:
    assert exif is not None
    parsed = Image.Exif()
    parsed.load(exif)
    return parsed


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_orientation_changes(order: str) -> None:
    """Written out by hand: an IFD of three entries, and bytes after it to which a maker's notes may point."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 3)
    make = struct.pack(f"{order}HHI", 0x010F, 2, 4) + b"Abc\0"
    turned = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 8, 0xABCD)
    upright = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 1, 0)
    assert upright_exif(b"Exif\0\0" + head + make + turned + make + NOTES) == head + make + upright + make + NOTES


def test_exif_without_orientation_stays_as_it_is() -> None:
    exif = make_exif(None)
    assert upright_exif(exif) == exif.removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("length", [0, 3, 7, 9, 20])
def test_damaged_exif_is_none(length: int) -> None:
    assert upright_exif(make_exif().removeprefix(b"Exif\0\0")[:length]) is None
    assert upright_exif(b"XX*\0" + bytes(30)) is None
    assert upright_exif(b"II*\0\xff\xff\xff\xff" + bytes(30)) is None


@pytest.mark.parametrize("form", [b'tiff:Orientation="%d"', b"<tiff:Orientation>%d</tiff:Orientation>"])
def test_xmp_says_upright(form: bytes) -> None:
    assert upright_xmp(b"a" + form % 6 + b"b") == b"a" + form % 1 + b"b"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
def test_exif_and_xmp_are_read_and_say_upright(tmp_path: Path, suffix: str) -> None:
    halves = np.zeros((32, 16, 3), dtype=np.uint8)
    halves[:16] = 255
    path = tmp_path / f"a.{suffix}"
    exif = make_exif()
    options: dict[str, object] = {"exif": exif, "xmp": XMP}
    if suffix == "png":
        from PIL.PngImagePlugin import PngInfo

        options = {"exif": exif, "pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())  # type: ignore[attr-defined]
    elif suffix == "tiff":
        both = read(exif)
        both[700] = XMP
        options = {"exif": both}
    Image.fromarray(halves).save(path, **options)  # type: ignore[arg-type]
    picture = load_picture(path, DEFAULT_LIMITS)
    assert picture.rgb.shape == (16, 32, 3)
    assert picture.rgb[8, 2, 0] < 50 < 200 < picture.rgb[8, 29, 0]
    parsed = read(picture.extras.exif)
    assert parsed.get(ExifTags.Base.Orientation, 1) == 1
    assert parsed[ExifTags.Base.Make] == "Maker"
    assert parsed.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == NOTES
    assert parsed.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert picture.extras.xmp is not None
    assert b"A tree" in picture.extras.xmp
    assert b'Orientation="6"' not in picture.extras.xmp
    assert load_picture(path, DEFAULT_LIMITS, strip=True).extras.exif is None


def test_the_orientation_of_xmp_alone_is_applied_once(tmp_path: Path) -> None:
    Image.new("RGB", (8, 24)).save(tmp_path / "a.jpg", xmp=XMP)
    picture = load_picture(tmp_path / "a.jpg", DEFAULT_LIMITS)
    assert picture.rgb.shape == (8, 24, 3)
    assert picture.extras.xmp == XMP.replace(b'"6"', b'"1"')


def test_exif_as_text_in_a_png_is_read(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    exif, text = make_exif(None), PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=text)
    assert read(load_picture(tmp_path / "a.png", DEFAULT_LIMITS).extras.exif)[ExifTags.Base.Make] == "Maker"


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_a_photograph_with_damaged_exif_is_taken_without_it(tmp_path: Path, exif: bytes) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jpg", exif=exif)
    notes: list[str] = []
    picture = load_picture(tmp_path / "a.jpg", DEFAULT_LIMITS, warn=notes.append)
    assert picture.extras.exif is None
    assert picture.rgb[4, 4, 0] > 200
    assert notes == [f"{tmp_path / 'a.jpg'}: its EXIF is damaged and left out"]


def test_metadata_over_the_bound_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcodec.image.MOST_METADATA", len(XMP) - 1)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "WEBP", xmp=XMP)
    (tmp_path / "a.webp").write_bytes(stream.getvalue())
    notes: list[str] = []
    assert load_picture(tmp_path / "a.webp", DEFAULT_LIMITS, warn=notes.append).extras.xmp is None
    assert len(notes) == 1
    assert "XMP" in notes[0]
