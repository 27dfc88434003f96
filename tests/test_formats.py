from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags, features

from dlcodec.errors import OutputError, UsageError
from dlcodec.formats import FORMATS, choose_writing
from dlcodec.image import load_picture, read_size
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.metadata import upright_exif, upright_xmp
from dlcodec.picture import Extras, Picture
from tests.conftest import RGB
from tests.profiles import exchanged
from tests.profiles import grey as grey_profile
from tests.test_metadata import NOTES, make_exif, read
from tests.test_metadata import XMP as TURNED

LOSSLESS = [".png", ".webp", ".tif", ".tiff", ".ppm"]
EXIF = upright_exif(make_exif())
XMP = upright_xmp(TURNED)


def refuse(text: str) -> NoReturn:
    raise AssertionError(text)


@pytest.fixture
def crop(photo: RGB) -> RGB:
    return photo[100:150, 200:270].copy()


def write(suffix: str, picture: Picture, quality: int | None = None) -> Image.Image:
    image = Image.open(io.BytesIO(choose_writing(Path(f"a{suffix}"), quality).encode(picture, refuse)))
    image.load()
    return image


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_hold_the_pixels(crop: RGB, suffix: str) -> None:
    image = write(suffix, Picture(crop, Extras()))
    assert (image.mode, image.format) == ("RGB", FORMATS[suffix].name)
    assert np.array_equal(np.asarray(image), crop)


@pytest.mark.parametrize(("suffix", "peak"), [(".jpg", 24), (".jpeg", 24), (".avif", 40)])
def test_lossy_formats_are_close_unless_told_otherwise(crop: RGB, suffix: str, peak: int) -> None:
    image = write(suffix, Picture(crop, Extras()))
    assert image.format == FORMATS[suffix].name
    error = np.abs(np.asarray(image).astype(int) - crop)
    assert error.max() <= peak
    assert error.mean() < 3


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality_decides_the_bytes(crop: RGB, suffix: str) -> None:
    picture = Picture(crop, Extras())
    sizes = [len(choose_writing(Path(f"a{suffix}"), quality).encode(picture, refuse)) for quality in (1, 50, 90, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 2


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm", ".pgm", ".PNG"])
def test_quality_where_nothing_is_lossy_is_refused(suffix: str) -> None:
    with pytest.raises(UsageError, match="lossless"):
        choose_writing(Path(f"a{suffix}"), 90)


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_quality_outside_its_range_is_refused(quality: int) -> None:
    with pytest.raises(UsageError, match="outside 1 to 100"):
        choose_writing(Path("a.jpg"), quality)


@pytest.mark.parametrize("name", ["a.gif", "a", ".png", "a.png.txt"])
def test_an_unknown_suffix_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="must end in"):
        choose_writing(Path(name), None)


def test_avif_where_pillow_has_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(UsageError, match="no AVIF"):
        choose_writing(Path("a.avif"), None)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(".png", "L"), (".jpg", "L"), (".tiff", "L"), (".pgm", "L"), (".ppm", "L"), (".webp", "RGB"), (".avif", "RGB")],
)
def test_grey_is_written_as_grey_where_the_format_has_it(crop: RGB, suffix: str, mode: str) -> None:
    image = write(suffix, Picture(crop, Extras(grey=True)))
    assert image.mode == mode
    luma = np.asarray(Image.fromarray(crop).convert("L")).astype(int)
    assert np.abs(np.asarray(image.convert("RGB")) - luma[..., None]).max() <= 12
    assert len(np.unique(np.ptp(np.asarray(image.convert("RGB")), axis=-1))) == 1


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".avif"])
@pytest.mark.parametrize("grey", [False, True])
def test_alpha_is_written_unchanged(crop: RGB, suffix: str, grey: bool) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, crop.shape[:2], dtype=np.uint8)
    alpha = np.asarray(Image.fromarray(alpha).resize((7, 5)).resize((70, 50)))
    image = write(suffix, Picture(crop, Extras(alpha=alpha, grey=grey)), 100 if suffix == ".avif" else None)
    assert image.mode == ("LA" if grey and suffix in (".png", ".tiff") else "RGBA")
    assert np.array_equal(np.asarray(image.getchannel("A")), alpha)


@pytest.mark.parametrize("suffix", [".jpg", ".ppm"])
def test_alpha_that_cannot_be_held_is_refused(suffix: str) -> None:
    target = choose_writing(Path(f"a{suffix}"), None)
    with pytest.raises(UsageError, match="transparency"):
        target.check(70, 50, grey=False, alpha=True)
    target.check(70, 50, grey=False, alpha=False)


def test_colours_and_sides_that_cannot_be_held_are_refused() -> None:
    with pytest.raises(UsageError, match="colours"):
        choose_writing(Path("a.pgm"), None).check(8, 8, grey=False, alpha=False)
    with pytest.raises(UsageError, match="16383"):
        choose_writing(Path("a.webp"), None).check(8, 16384, grey=False, alpha=False)
    with pytest.raises(UsageError, match="65500"):
        choose_writing(Path("a.jpg"), None).check(65501, 8, grey=False, alpha=False)
    choose_writing(Path("a.png"), None).check(65535, 8, grey=False, alpha=True)


@pytest.mark.parametrize(("suffix", "sides"), [(".webp", (16383, 1)), (".jpg", (65500, 1)), (".tiff", (1, 65535))])
def test_the_longest_sides_are_written(suffix: str, sides: tuple[int, int]) -> None:
    assert write(suffix, Picture(np.zeros((sides[1], sides[0], 3), dtype=np.uint8), Extras())).size == sides


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif"])
def test_metadata_is_written_back(crop: RGB, suffix: str) -> None:
    image = write(suffix, Picture(crop, Extras(icc=exchanged(), exif=EXIF, xmp=XMP)))
    assert image.info["icc_profile"] == exchanged()
    assert image.info["xmp"] == XMP
    parsed = image.getexif() if suffix == ".tiff" else read(image.info["exif"])
    assert parsed[ExifTags.Base.Make] == "Maker"
    assert parsed.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == NOTES
    assert parsed.get(ExifTags.Base.Orientation, 1) == 1
    if suffix in (".png", ".jpg", ".webp"):
        assert image.info["exif"].removeprefix(b"Exif\0\0") == EXIF


def mistyped_exif() -> bytes:
    """Orientation 6, and a date that is not text but a fraction."""
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    date = struct.pack("<HHII", 0x0132, 5, 1, 38)
    return b"II*\0" + struct.pack("<IH", 8, 2) + orientation + date + struct.pack("<III", 0, 1, 2)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_a_tag_of_a_wrong_type_loses_no_picture(crop: RGB, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    notes: list[str] = []
    if suffix == ".tiff":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0132], tags.tagtype[0x0132] = (1.5,), TiffTags.RATIONAL
        Image.fromarray(crop).save(path, tiffinfo=tags)
        sides = (70, 50)
    else:
        Image.fromarray(crop).save(path, exif=b"Exif\0\0" + mistyped_exif(), quality=95)
        sides = (50, 70)
    picture = load_picture(path, DEFAULT_LIMITS, warn=notes.append)
    assert picture.rgb.shape[1::-1] == sides == read_size(path, DEFAULT_LIMITS)
    assert len(notes) <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif"])
def test_exif_that_a_format_refuses_is_left_out_with_a_word(crop: RGB, suffix: str) -> None:
    notes: list[str] = []
    picture = Picture(crop, Extras(exif=upright_exif(mistyped_exif()), xmp=XMP))
    image = Image.open(io.BytesIO(choose_writing(Path(f"a{suffix}"), None).encode(picture, notes.append)))
    assert image.size == (70, 50)
    image.load()
    assert image.info["xmp"] == XMP
    assert len(notes) <= 1
    assert all("cannot hold the picture's EXIF" in note for note in notes)
    assert bool(notes) == (suffix in (".tiff", ".avif"))


def test_ppm_holds_no_metadata_and_says_so_and_is_srgb(crop: RGB) -> None:
    notes: list[str] = []
    target = choose_writing(Path("a.ppm"), None)
    data = target.encode(Picture(crop, Extras(icc=exchanged(), exif=EXIF, xmp=XMP)), notes.append)
    assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - crop[..., [1, 0, 2]]).max() <= 2
    assert len(notes) == 2
    assert "EXIF" in notes[0]
    assert "XMP" in notes[1]


def test_pgm_of_linear_grey_is_srgb() -> None:
    pixels = np.full((2, 2, 3), 55, dtype=np.uint8)
    image = write(".pgm", Picture(pixels, Extras(grey=True, icc=grey_profile(1.0))))
    assert abs(image.getpixel((0, 0)) - 128) <= 1  # type: ignore[operator]


def test_metadata_too_long_for_a_jpeg_is_left_out_with_a_warning(crop: RGB) -> None:
    notes: list[str] = []
    extras = Extras(icc=exchanged() + bytes(70_000), exif=b"II*\0" + bytes(70_000), xmp=b" " * 70_000)
    data = choose_writing(Path("a.jpg"), None).encode(Picture(crop, extras), notes.append)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == extras.icc
        assert not {"exif", "xmp"} & image.info.keys()
    assert len(notes) == 2
    longest = Extras(exif=b"II*\0" + bytes(65_490), xmp=b" " * 65_500)
    write(".jpg", Picture(crop, longest))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif", ".ppm"])
@pytest.mark.parametrize("bad", [b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + b"\x87\x69" * 40])
def test_metadata_that_nobody_wrote_gives_a_file_or_our_error(crop: RGB, suffix: str, bad: bytes) -> None:
    target = choose_writing(Path(f"a{suffix}"), None)
    try:
        data = target.encode(Picture(crop, Extras(icc=bad, exif=bad, xmp=bad)), lambda _: None)
    except OutputError:
        return
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (70, 50)
