from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dlcodec import image as images
from dlcodec.errors import InputError, LimitError
from dlcodec.image import load, load_picture, pad, png_bytes, psnr, to_picture
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import Extras
from tests.conftest import RGB
from tests.forged import chunk


@pytest.fixture
def colours() -> RGB:
    """(6, 5, 3) uint8: every pixel its own colour."""
    return np.arange(90, dtype=np.uint8).reshape(6, 5, 3) * 2 + 11


def _save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _png(width: int, height: int, depth: int, kind: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tiff", "webp"])
def test_rgb_is_taken_as_it_is(tmp_path: Path, colours: RGB, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = _save(tmp_path / f"a.{suffix}", Image.fromarray(colours), **options)
    loaded = load(path, DEFAULT_LIMITS)
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, colours)


def test_grey_is_repeated(tmp_path: Path, colours: RGB) -> None:
    grey = colours[..., 0].copy()
    loaded = load(_save(tmp_path / "a.png", Image.fromarray(grey)), DEFAULT_LIMITS)
    assert np.array_equal(loaded, np.stack([grey] * 3, axis=-1))


def test_bilevel_is_black_and_white(tmp_path: Path) -> None:
    bits = np.eye(4, dtype=bool)
    loaded = load(_save(tmp_path / "a.png", Image.fromarray(bits)), DEFAULT_LIMITS)
    assert np.array_equal(loaded, np.where(bits[..., None], 255, 0).repeat(3, axis=2))


def _palette() -> Image.Image:
    image = Image.new("P", (2, 2))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putdata([0, 1, 1, 0])
    return image


def _picture(path: Path) -> tuple[RGB, Extras]:
    picture = load_picture(path, DEFAULT_LIMITS)
    return picture.rgb, picture.extras


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    loaded = load(_save(tmp_path / "a.png", _palette()), DEFAULT_LIMITS)
    assert loaded.tolist() == [[[9, 8, 7], [200, 100, 50]], [[200, 100, 50], [9, 8, 7]]]


def test_a_palette_with_a_transparent_entry_has_alpha(tmp_path: Path) -> None:
    rgb, extras = _picture(_save(tmp_path / "a.png", _palette(), transparency=bytes([255, 40])))
    assert rgb.tolist() == [[[9, 8, 7], [200, 100, 50]], [[200, 100, 50], [9, 8, 7]]]
    assert extras.alpha is not None
    assert extras.alpha.tolist() == [[255, 40], [40, 255]]
    assert not extras.grey


def test_a_transparent_palette_entry_that_no_pixel_uses_is_allowed(tmp_path: Path) -> None:
    image = _palette()
    image.putdata([0, 0, 0, 0])
    rgb, extras = _picture(_save(tmp_path / "a.png", image, transparency=bytes([255, 0])))
    assert (rgb == [9, 8, 7]).all()
    assert extras == Extras()


def test_cmyk_is_converted_by_the_plain_rule(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8), "CMYK")
    loaded = load(_save(tmp_path / "a.tiff", image), DEFAULT_LIMITS)
    assert loaded.tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]


def test_16_bit_grey_is_scaled_and_rounded(tmp_path: Path) -> None:
    samples = np.array([[0, 128, 129, 255, 257, 32768, 65406, 65535]], dtype=np.uint16)
    loaded = load(_save(tmp_path / "a.png", Image.fromarray(samples)), DEFAULT_LIMITS)
    assert loaded[0, :, 0].tolist() == [0, 0, 1, 1, 1, 128, 254, 255]
    assert (loaded == loaded[..., :1]).all()


def test_of_16_bit_colour_the_high_byte_counts(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 255, 256, 0xABCD, 65535, 0x8000)))
    assert load(tmp_path / "a.png", DEFAULT_LIMITS).tolist() == [[[0, 0, 1], [0xAB, 255, 0x80]]]


def test_floating_point_samples_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.tiff", Image.fromarray(np.ones((2, 2), dtype=np.float32)))
    with pytest.raises(InputError, match="neither 8-bit nor 16-bit"):
        load(path, DEFAULT_LIMITS)


def test_32_bit_samples_beyond_16_bit_are_refused() -> None:
    with pytest.raises(InputError, match="neither 8-bit nor 16-bit"):
        to_picture(Image.fromarray(np.array([[0, 65536]], dtype=np.int32)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_is_dropped(tmp_path: Path, colours: RGB, mode: str) -> None:
    source = Image.fromarray(colours).convert("RGB" if mode == "RGBA" else "L")
    expected = np.asarray(source.convert("RGB"))
    source.putalpha(255)
    assert source.mode == mode
    rgb, extras = _picture(_save(tmp_path / "a.png", source))
    assert np.array_equal(rgb, expected)
    assert extras == Extras(grey=mode == "LA")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_pixel_that_is_not_opaque_is_kept_and_refused_by_the_plain_reader(
    tmp_path: Path, colours: RGB, mode: str
) -> None:
    image = Image.fromarray(colours).convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.putpixel((4, 5), 254)
    image.putalpha(alpha)
    path = _save(tmp_path / "a.png", image)
    rgb, extras = _picture(path)
    assert np.array_equal(rgb, np.asarray(Image.fromarray(colours).convert(mode).convert("RGB")))
    assert extras.grey == (mode == "L")
    assert extras.alpha is not None
    assert np.argwhere(extras.alpha != 255).tolist() == [[5, 4]]
    assert extras.alpha[5, 4] == 254
    with pytest.raises(InputError, match="transparent") as caught:
        load(path, DEFAULT_LIMITS)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("key", [0, 1])
def test_of_two_colours_either_can_be_the_transparent_one(tmp_path: Path, colours: RGB, key: int) -> None:
    bits = colours[..., 0] > np.median(colours[..., 0])
    path = _save(tmp_path / "a.png", Image.fromarray(bits), transparency=key)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGBA").getchannel("A"))
    _, extras = _picture(path)
    assert extras.alpha is not None
    assert 0 < (expected == 0).sum() < expected.size
    assert np.array_equal(extras.alpha, expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, colours: RGB, mode: str) -> None:
    image = (
        Image.fromarray(colours[..., 0] * np.uint16(257)) if mode == "I;16" else Image.fromarray(colours).convert(mode)
    )
    key = image.getpixel((2, 3))
    _, extras = _picture(_save(tmp_path / "a.png", image, transparency=key))
    assert extras.alpha is not None
    assert np.array_equal(extras.alpha == 0, np.reshape(np.asarray(image) == key, (6, 5, -1)).all(axis=-1))
    assert extras.grey == (mode != "RGB")


@pytest.mark.parametrize(
    ("depth", "kind", "row", "key", "alpha"),
    [
        (2, 0, bytes([0b00011011]), (3,), [255, 255, 255, 0]),
        (4, 0, bytes([0x0F, 0xF1]), (15,), [255, 0, 0, 255]),
        (4, 0, bytes([0x03, 0x51]), (0,), [0, 255, 255, 255]),
        (8, 0, bytes([3, 15, 255, 51]), (15,), [255, 0, 255, 255]),
        (16, 2, struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0x3412, 0x7856, 0xBC9A), (0x1234, 0x5678, 0x9ABC), [0, 255]),
        (16, 2, struct.pack(">6H", 0x12, 0x34, 0x56, 0x1200, 0x3400, 0x5600), (0x12, 0x34, 0x56), [0, 255]),
    ],
    ids=["2-bit grey", "4-bit grey", "4-bit black", "8-bit grey", "16-bit colour", "dark 16-bit colour"],
)
def test_a_transparent_colour_of_any_depth_becomes_alpha(
    tmp_path: Path, depth: int, kind: int, row: bytes, key: tuple[int, ...], alpha: list[int]
) -> None:
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    (tmp_path / "a.png").write_bytes(_png(len(alpha), 1, depth, kind, b"\0" + row, transparent))
    _, extras = _picture(tmp_path / "a.png")
    assert extras.alpha is not None
    assert extras.alpha.tolist() == [alpha]
    assert extras.grey == (kind == 0)


def test_colours_under_fully_transparent_pixels_are_filled_in(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 4), (200, 90, 30, 255), dtype=np.uint8)
    pixels[3:13, 3:13] = (0, 255, 0, 0)
    pixels[3, 3] = (7, 8, 9, 1)
    rgb, extras = _picture(_save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert extras.alpha is not None
    assert np.array_equal(extras.alpha, pixels[..., 3])
    assert rgb[3, 3].tolist() == [7, 8, 9]
    assert rgb[3:13, 3:13, 1].max() <= 90
    assert np.array_equal(rgb[extras.alpha == 255], pixels[extras.alpha == 255][:, :3])


@pytest.mark.parametrize(
    ("array", "mode", "grey"),
    [
        (np.arange(64, dtype=np.uint8).reshape(8, 8), "L", True),
        (np.eye(8, dtype=bool), "1", True),
        (np.arange(64, dtype=np.uint16).reshape(8, 8) * 999, "I;16", True),
        (np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(3).reshape(8, 8, 3), "RGB", False),
    ],
    ids=["L", "1", "I;16", "RGB without colours"],
)
def test_grey_is_noted(tmp_path: Path, array: npt.NDArray[Any], mode: str, grey: bool) -> None:
    image = Image.fromarray(array)
    assert image.mode == mode
    assert _picture(_save(tmp_path / "a.png", image))[1] == Extras(grey=grey)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turns: int) -> None:
    halves = np.zeros((32, 16, 3), dtype=np.uint8)
    halves[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load(_save(tmp_path / "a.jpg", Image.fromarray(halves), exif=exif, quality=95), DEFAULT_LIMITS)
    expected = np.rot90(halves, turns)
    assert loaded.shape == expected.shape
    assert np.abs(loaded.astype(int) - expected).max() < 8


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_an_animation_is_taken_with_a_warning(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "white")]
    path = _save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    notes: list[str] = []
    picture = load_picture(path, DEFAULT_LIMITS, warn=notes.append)
    assert np.abs(picture.rgb.astype(int) - [255, 0, 0]).max() <= 8  # WebP is lossy here
    assert notes == [f"{path} has several frames; only the first is kept"]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncation_is_refused(tmp_path: Path, photo: RGB, suffix: str) -> None:
    path = _save(tmp_path / f"a.{suffix}", Image.fromarray(photo[:64, :64]))
    data = path.read_bytes()
    for length in (1, 10, 30, len(data) // 2, len(data) * 3 // 4):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="cannot read") as caught:
            load(path, DEFAULT_LIMITS)
        assert caught.value.exit_code == 3


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("data", [EPS, b"Dear reader", b"<svg/>", bytes(500)], ids=["EPS", "text", "SVG", "zeros"])
def test_other_formats_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="known image format"):
        load(tmp_path / "a.png", DEFAULT_LIMITS)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="is empty"):
        load(tmp_path / "a.png", DEFAULT_LIMITS)


@pytest.mark.parametrize("fault", [RuntimeError("codec"), TypeError("none"), struct.error("short"), MemoryError()])
def test_whatever_pillow_raises_becomes_an_input_error(
    tmp_path: Path, colours: RGB, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Damaged AVIF gives RuntimeError, damaged TIFF gives TypeError."""
    path = _save(tmp_path / "a.png", Image.fromarray(colours))

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(images.Image, "open", fail)
    with pytest.raises(InputError, match="as an image"):
        load(path, DEFAULT_LIMITS)


@pytest.mark.parametrize("sides", [(60000, 60000), (12000, 12000), (65536, 1), (1, 65536)])
def test_a_bomb_is_over_the_limit(tmp_path: Path, sides: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(_png(*sides, 8, 2, b""))
    with pytest.raises(LimitError) as caught:
        load(tmp_path / "a.png", DEFAULT_LIMITS)
    assert caught.value.exit_code == 6


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png(60000, 60000, 8, 2, bytes(10**6)))
    script = (
        "import sys\nfrom pathlib import Path\nfrom dlcodec.image import load\n"
        "from dlcodec.limits import DEFAULT_LIMITS\n"
        "from dlcodec.errors import LimitError\ntry:\n    load(Path(sys.argv[1]), DEFAULT_LIMITS)\n"
        "except LimitError:\n    print('refused')\n"
    )
    most = 512 * 2**20

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    command = [sys.executable, "-c", script, str(tmp_path / "a.png")]
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=60)
    assert (result.stdout, result.stderr) == ("refused\n", "")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (63, 64), (64, 65), (128, 5)])
def test_padding_repeats_the_last_row_and_column(height: int, width: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    padded = pad(rgb, 64)
    assert padded.shape == (-(-height // 64) * 64, -(-width // 64) * 64, 3)
    rows = np.minimum(np.arange(padded.shape[0]), height - 1)
    columns = np.minimum(np.arange(padded.shape[1]), width - 1)
    assert np.array_equal(padded, rgb[rows][:, columns])


def test_the_png_holds_the_pixels(colours: RGB) -> None:
    with Image.open(io.BytesIO(png_bytes(colours))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), colours)


def test_the_first_picture_of_a_phones_two_picture_jpeg_is_taken(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (20, 10), (200, 30, 40)), Image.new("RGB", (20, 10), (0, 0, 255))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    assert load(tmp_path / "phone.jpg", DEFAULT_LIMITS)[5, 5, 0] > 180


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_the_size_read_ahead_is_that_of_the_upright_picture(
    kind: str, orientation: int, colours: RGB, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    Image.fromarray(colours).save(path, kind, exif=exif)
    height, width = load_picture(path, DEFAULT_LIMITS).rgb.shape[:2]
    assert images.read_size(path, DEFAULT_LIMITS) == (width, height)


EXIF_CUT_SHORT = b"Exif\0\0II*\0" + struct.pack("<IHHHIHH", 8, 2, 0x0112, 3, 1, 6, 0)
"""It says that it has two entries, has one, and that turns the picture."""


@pytest.mark.parametrize("exif", [EXIF_CUT_SHORT, b"Exif\0\0nonsense"], ids=["cut short", "nonsense"])
@pytest.mark.parametrize("xmp", [None, b'<rdf:Description tiff:Orientation="8"/>'], ids=["without XMP", "XMP"])
def test_an_orientation_that_can_be_read_counts_where_the_rest_of_exif_is_damaged(
    colours: RGB, tmp_path: Path, exif: bytes, xmp: bytes | None
) -> None:
    path = tmp_path / "a.webp"
    Image.fromarray(colours).save(path, lossless=True, exif=exif, **({"xmp": xmp} if xmp else {}))  # type: ignore[arg-type]
    rgb, extras = _picture(path)
    turns = -1 if exif == EXIF_CUT_SHORT else 1 if xmp else 0
    assert np.array_equal(rgb, np.rot90(colours, turns))
    assert extras.exif is None
    assert images.read_size(path, DEFAULT_LIMITS) == (rgb.shape[1], rgb.shape[0])


def test_the_exif_that_an_image_has_now_says_how_it_lies(colours: RGB) -> None:
    """Pillow remembers what it has read of EXIF, also where it is gone or changed since."""
    turned = Image.Exif()
    turned[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", exif=turned)
    image = Image.open(stream)
    height, width = colours.shape[:2]
    assert to_picture(image).rgb.shape[:2] == (width, height)
    image.info["exif"] = b"Exif\0\0nonsense"
    image.info["xmp"] = b'<rdf:Description tiff:Orientation="8"/>'
    for _ in range(2):
        assert to_picture(image).rgb.shape[:2] == (width, height)
    del image.info["exif"], image.info["xmp"]
    assert to_picture(image).rgb.shape[:2] == (height, width)


def test_pictures_of_two_sizes_have_no_psnr(colours: RGB) -> None:
    with pytest.raises(ValueError, match="have no PSNR"):
        psnr(colours, colours[:-1])


def test_damaged_exif_gives_a_size_and_no_warning(
    colours: RGB, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "damaged.png"
    Image.fromarray(colours).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12")
    assert images.read_size(path, DEFAULT_LIMITS) == (5, 6)
    assert not recwarn.list


def test_a_bomb_is_refused_without_another_programs_limit(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    signature = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
    path.write_bytes(signature + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    with pytest.raises(LimitError, match=r"bomb\.png has far more pixels.*encode --max-pixels"):
        load_picture(path, DEFAULT_LIMITS)
