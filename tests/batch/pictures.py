"""Pictures of 15 kinds, 10 of each, and what the rules of docs/pictures.md make of them.

What is expected is worked out beside the samples; nothing that dlcodec computes has a part in it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from dlcodec.samples import COFFEE
from tests import profiles
from tests.forged import chunk

Samples = npt.NDArray[np.uint8]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that comes back, upright.

    ``pixels`` are (H, W) where it is grey, else (H, W, 3); ``alpha`` is (H, W), None where all is opaque. ``peak`` is
    the greatest difference between ``pixels`` and what the file itself holds, None where its format is lossy. ``photo``
    says that the picture has enough of a photograph to bound its PSNR. ``warning`` follows the name on stderr.
    """

    pixels: Samples
    alpha: Samples | None = None
    peak: int | None = 0
    photo: bool = True
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that no picture is made of: the exit code, and what the sentence says behind the name."""

    code: int
    sentence: str


Outcome: TypeAlias = Kept | Refused
Made: TypeAlias = Iterator[tuple[str | bytes, bytes, Outcome]]
"""Names below the folder of their kind, files, and what becomes of them; those that tell most come first."""

_PHOTO = np.asarray(Image.open(COFFEE).convert("RGB"))


def crop(random: Random, width: int | None = None, height: int | None = None) -> Samples:
    """(H, W, 3): a part of the bundled photograph, turned over in one of four ways."""
    width, height = width or int(random.integers(90, 200)), height or int(random.integers(80, 150))
    top, left = random.integers(401 - height), random.integers(601 - width)
    part = _PHOTO[top : top + height, left : left + width]
    return np.ascontiguousarray(part[:: random.choice((-1, 1)), :: random.choice((-1, 1))])


def luma(rgb: Samples) -> Samples:
    """(H, W), by the weights of ITU-R 601."""
    return np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def _alpha(random: Random, like: Samples) -> Samples:
    """A slope, a hole, and some pixels that are anything."""
    height, width = like.shape[:2]
    y, x = np.mgrid[:height, :width]
    plane = np.clip(x * 400 // width, 1, 255).astype(np.uint8)
    plane[(y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 4) ** 2] = 0
    return np.where(random.random(plane.shape) < 0.02, random.integers(0, 256, plane.shape, np.uint8), plane)


def file(form: str, samples: Samples | Image.Image, mode: str | None = None, **options: Any) -> bytes:
    """The bytes of an image file, without loss where Pillow offers that."""
    image = samples if isinstance(samples, Image.Image) else Image.fromarray(samples, mode)
    stream = io.BytesIO()
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}.get(form, {})
    image.save(stream, form, **lossless | options)
    return stream.getvalue()


FORMS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jp2": "JPEG2000",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".JPG": "JPEG",
    ".Tiff": "TIFF",
}
"""Pillow's names of the formats."""


def named(suffixes: str) -> Iterator[tuple[str, str, int | None]]:
    """Names that are numbers, with these suffixes in turn; the formats; the peaks of ``Kept``."""
    for number, suffix in enumerate(suffixes.split()):
        form = FORMS[suffix]
        yield f"{number}{suffix}", form, None if form in ("JPEG", "AVIF") else 0


def png(rows: npt.NDArray[Any], depth: int, kind: int, extra: bytes = b"") -> bytes:
    """A PNG written by hand; ``rows`` are (H, W) or (H, W, channels), of 16 bits in the order of PNG."""
    height, width = rows.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def photographs(random: Random) -> Made:
    for name, form, peak in named(".jpg .png .webp .tif .bmp .ppm .avif .jp2 .JPG .Tiff"):
        rgb = crop(random)
        yield name, file(form, rgb), Kept(rgb, peak=peak)


def with_alpha(random: Random) -> Made:
    for name, form, _ in named(".png .webp .tif .jp2 .png .webp .tif"):
        rgb = crop(random)
        alpha = _alpha(random, rgb)
        yield name, file(form, np.dstack([rgb, alpha])), Kept(rgb, alpha)
    for name, form, _ in named(".webp .png"):
        rgb = crop(random)
        yield f"opaque {name}", file(form, np.dstack([rgb, np.full_like(rgb[..., 0], 255)])), Kept(rgb)
    rgb = crop(random)
    rgb[10:40, 20:60] = 1, 2, 3
    alpha = np.where((rgb == [1, 2, 3]).all(2), 0, 255).astype(np.uint8)
    yield "key.png", file("PNG", rgb, transparency=(1, 2, 3)), Kept(rgb, alpha)


def grey(random: Random) -> Made:
    for name, form, peak in named(".png .jpg .pgm .tif .bmp .jp2 .png .jpg"):
        grey = luma(crop(random))
        yield name, file(form, grey), Kept(grey, peak=peak)
    for name, form, _ in named(".png .pbm"):
        bits = luma(crop(random)) > 128
        yield f"bits {name}", file(form, Image.fromarray(bits)), Kept(bits * np.uint8(255), photo=False)


def grey_with_alpha(random: Random) -> Made:
    for name, form, _ in named(".png .tif .jp2 .png .tif .jp2 .png .png"):
        grey = luma(crop(random))
        alpha = _alpha(random, grey)
        yield name, file(form, np.dstack([grey, alpha]), "LA"), Kept(grey, alpha)
    for number in range(2):
        grey = luma(crop(random))
        key = int(grey[5, 5])
        alpha = np.where(grey == key, 0, 255).astype(np.uint8)
        yield f"key {number}.png", file("PNG", grey, transparency=key), Kept(grey, alpha)


def palette(random: Random) -> Made:
    for name, form, _ in named(".png .gif .png .png .png .png .png .gif .gif .gif"):
        indexed = Image.fromarray(crop(random)).quantize(200, dither=Image.Dither.NONE)
        indices, rgb = np.asarray(indexed), np.asarray(indexed.convert("RGB"))
        if form == "GIF":
            key = int(indices[8, 8])
            alpha = np.where(indices == key, 0, 255).astype(np.uint8)
            yield name, file(form, indexed, transparency=key), Kept(rgb, alpha)
        else:
            table = random.integers(0, 256, 200, np.uint8)
            yield name, file(form, indexed, transparency=table.tobytes()), Kept(rgb, table[indices])


_STORED: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),  # to be turned a quarter clockwise
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""How the samples lie in a file of that EXIF orientation."""


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:02:29 23:59:59"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(range(256))
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _xmp(orientation: int) -> bytes:
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def rotated(random: Random) -> Made:
    for orientation in (6, 5, 8, 7, 2, 3, 4, 1):
        rgb = crop(random)
        stored = np.ascontiguousarray(_STORED[orientation](rgb))
        data = file("JPEG", stored, exif=b"Exif\0\0" + _exif(orientation))
        yield f"{orientation}.jpg", data, Kept(rgb, peak=None, exif=_exif(1))
    rgb = crop(random)
    alpha = _alpha(random, rgb)
    stored, xmp = np.ascontiguousarray(_STORED[7](np.dstack([rgb, alpha]))), PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", _xmp(7).decode())
    data = file("PNG", stored, exif=_exif(7), pnginfo=xmp)
    yield "alpha.png", data, Kept(rgb, alpha, exif=_exif(1), xmp=_xmp(1))
    rgb = crop(random)
    yield "xmp.webp", file("WEBP", np.ascontiguousarray(_STORED[8](rgb)), xmp=_xmp(8)), Kept(rgb, xmp=_xmp(1))


def grey_of_16_bits(random: Random) -> Made:
    """Whatever is at most half a step from a multiple of 257 is rounded to it."""
    for name, form, _ in named(".png .tif .pgm .jp2 .png .tif .pgm .jp2 .png .tif"):
        grey = luma(crop(random))
        samples = np.clip(grey * 257 + random.integers(-128, 129, grey.shape), 0, 65535).astype(np.uint16)
        yield name, file(form, Image.fromarray(samples)), Kept(grey)


def colour_of_16_bits(random: Random) -> Made:
    for number in range(10):
        rgb = crop(random)
        alpha, extra = None, b""
        samples = (rgb * 256 + random.integers(0, 256, rgb.shape)).astype(">u2")
        if number % 3 == 1:
            alpha = _alpha(random, rgb)
            samples = np.dstack([samples, alpha * 256 + random.integers(0, 256, alpha.shape)]).astype(">u2")
        elif number % 3 == 2:
            extra = chunk(b"tRNS", samples[7, 7].tobytes())
            alpha = np.where((rgb == rgb[7, 7]).all(2), 0, 255).astype(np.uint8)
        yield f"{number}.png", png(samples, 16, 6 if number % 3 == 1 else 2, extra), Kept(rgb, alpha)


def _inks(random: Random) -> Samples:
    """(H, W, 4) CMYK: a photograph in three inks, and black that grows from left to right."""
    rgb = crop(random)
    black = np.broadcast_to(np.linspace(0, 120, rgb.shape[1]).astype(np.uint8), rgb.shape[:2])
    return np.dstack([255 - rgb, black])


def cmyk(random: Random) -> Made:
    for name, form, peak in named(".jpg .tif .jpg .jpg .jpg .jpg .jpg .jpg .tif .tif"):
        inks = _inks(random)
        rgb = np.rint((255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255).astype(np.uint8)
        yield name, file(form, inks, "CMYK"), Kept(rgb, peak=peak if peak is None else 1)


def _gamma(linear: npt.NDArray[Any]) -> Samples:
    """Linear light, 1 white, as samples of sRGB."""
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.rint(255 * curved).astype(np.uint8)


def _light(f: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The inverse of what CIE L*a*b* is defined by."""
    return np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))


def cmyk_with_profile(random: Random) -> Made:
    """By the profile, each of the four inks darkens L* by a quarter, and has no colour."""
    for name, form, peak in named(".jpg .tif .jpg .jpg .jpg .jpg .jpg .jpg .tif .tif"):
        inks = _inks(random)
        lightness = 100 - 100 * inks.sum(2, dtype=np.float64) / (4 * 255)
        rgb = np.repeat(_gamma(_light((lightness + 16) / 116))[..., None], 3, 2)
        data = file(form, inks, "CMYK", icc_profile=profiles.cmyk())
        yield name, data, Kept(rgb, peak=peak if peak is None else 3)


_TO_LINEAR_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)
"""From XYZ by D50, adapted after Bradford."""


def lab(random: Random) -> Made:
    for number in range(10):
        lightness = (60 + luma(crop(random)) * 0.6).astype(np.uint8)
        height, width = lightness.shape
        a = np.broadcast_to(np.linspace(-12, 12, width).astype(int), (height, width))
        b = np.broadcast_to(np.linspace(12, -12, height).astype(int)[:, None], (height, width))
        f = (lightness * (100 / 255) + 16) / 116
        xyz = _light(np.stack([f + a / 500, f, f - b / 200], -1)) * [0.9642, 1.0, 0.8249]
        samples = np.dstack([lightness, a & 255, b & 255]).astype(np.uint8)
        data = file("TIFF", Image.frombytes("LAB", (width, height), samples.tobytes()))
        yield f"{number}.tif", data, Kept(_gamma(xyz @ _TO_LINEAR_SRGB.T), peak=8)  # Pillow interpolates in a table


def with_profile(random: Random) -> Made:
    wide, exchanged, curve = profiles.adobe_rgb(), profiles.exchanged(), profiles.grey(1.0)
    unfit = profiles.SRGB, profiles.cmyk(), b"damaged" * 30
    given = [wide, exchanged, wide, wide, *unfit, wide]
    for (name, form, peak), icc in zip(named(".png .jpg .webp .tif .png .png .png .avif"), given, strict=True):
        rgb = crop(random)
        yield name, file(form, rgb, icc_profile=icc), Kept(rgb, peak=peak, icc=None if icc in unfit else icc)
    for name, form, peak in named(".png .jpg"):
        grey = luma(crop(random))
        yield f"grey {name}", file(form, grey, icc_profile=curve), Kept(grey, peak=peak, icc=curve)


def animated(random: Random) -> Made:
    for name, form, peak in named(".gif .png .webp .gif .png .webp .gif .png .webp .tif"):
        first = Image.fromarray(crop(random))
        if form == "GIF":
            first = first.quantize(200, dither=Image.Dither.NONE)
        rgb = np.asarray(first.convert("RGB"))
        others = [Image.fromarray(255 - rgb), Image.fromarray(rgb // 2)]
        data = file(form, first, save_all=True, append_images=others)
        yield name, data, Kept(rgb, peak=peak, warning=" has several frames; only the first is kept")


def one_pixel(random: Random) -> Made:
    for name, form, peak in named(".png .jpg .webp .tif .bmp .ppm .jp2"):
        rgb = random.integers(0, 256, (1, 1, 3), np.uint8)
        yield name, file(form, rgb), Kept(rgb, peak=peak, photo=False)
    for number, alpha in enumerate((0, 77)):
        pixel = np.array([[[9, 8, 7, alpha]]], np.uint8)
        yield f"alpha {number}.png", file("PNG", pixel), Kept(pixel[..., :3], pixel[..., 3], photo=False)
    yield "grey.png", file("PNG", np.full((1, 1), 5, np.uint8)), Kept(np.full((1, 1), 5, np.uint8), photo=False)


def strips(random: Random) -> Made:
    for number, length in enumerate((300, 65, 64, 17, 2)):
        for width, height in ((length, 1), (1, length)):
            rgb = crop(random, width, height)
            suffix = (".png", ".tif", ".webp", ".bmp", ".ppm")[number]
            yield f"{width} x {height}{suffix}", file(FORMS[suffix], rgb), Kept(rgb, photo=False)


def huge() -> tuple[bytes, Outcome]:
    """A photograph of 30 megapixels, as a camera held upright writes it: the bundled one and its mirror images."""
    rgb = np.pad(_PHOTO, ((0, 6720 - len(_PHOTO)), (0, 4480 - _PHOTO.shape[1]), (0, 0)), "symmetric")
    data = file("JPEG", np.ascontiguousarray(_STORED[6](rgb)), exif=b"Exif\0\0" + _exif(6))
    return data, Kept(rgb, peak=None, exif=_exif(1))
