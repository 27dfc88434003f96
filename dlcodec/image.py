"""Image files and Pillow images to RGB arrays and back, by stated rules.

8-bit RGB is taken as it is. Grey is repeated over the three channels, palettes are looked up, CMYK is converted by
Pillow's plain rule, 16-bit grey samples are scaled by 255/65535 and rounded; of 16-bit colour, Pillow gives the high
byte. EXIF orientation is applied. An embedded ICC profile other than sRGB is converted to sRGB. Transparency is
refused unless every pixel is opaque. So is an image of several frames,
but for the MPO files of phones and stereo cameras: their first picture is the photograph.
"""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from dlcodec.errors import DlcodecError, InputError, LimitError
from dlcodec.files import read_bounded
from dlcodec.limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "GIF", "JPEG2000")
RGB = npt.NDArray[np.uint8]
_PNG_END = b"IEND\xaeB`\x82"


def load(path: Path, limits: Limits) -> RGB:
    """Read an image file as (H, W, 3) uint8 sRGB.

    Raises InputError when it is unreadable or has content that would be lost, LimitError when it is too large.
    """
    return parse(read_bounded(path, limits.file_bytes), str(path), limits)


def parse(data: bytes, path: str, limits: Limits) -> RGB:
    """The bytes of an image file as (H, W, 3) uint8 sRGB; ``path`` is its name in messages. Raises as ``load``."""
    if not data:
        raise InputError(f"{path} is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                limits.check_size(*image.size)
                if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
                    raise InputError(f"{path} has {frames} frames; only still images can be encoded")
                image.load()
                return to_rgb(image)
    except Image.DecompressionBombError as error:
        raise LimitError(f"{path} is larger than an image may be: {error}") from error
    except DlcodecError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything for damaged bytes: RuntimeError, TypeError, ...
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is not in a known image format"
        raise InputError(f"cannot read {path} as an image: {reason}") from error


def read_size(path: Path, limits: Limits) -> tuple[int, int]:
    """Width and height of the picture that ``load`` would give, without decoding it; raises InputError, LimitError."""
    try:
        with (
            warnings.catch_warnings(),
            Image.open(io.BytesIO(read_bounded(path, limits.file_bytes)), formats=FORMATS) as image,
        ):
            width, height = image.size
            return (height, width) if image.getexif().get(0x0112) in (5, 6, 7, 8) else (width, height)
    except DlcodecError:
        raise
    except Exception as error:  # as in parse
        raise InputError(f"cannot read {path} as an image: {error}") from error


def read_png_size(path: Path, limits: Limits) -> tuple[int, int]:
    """Width and height of a PNG file whose checksums are all right and that has its end; raises InputError."""
    data = read_bounded(path, limits.file_bytes)
    if not data.endswith(_PNG_END):
        raise InputError(f"{path} is not a whole PNG file: it lacks its end")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            size = image.size
            image.verify()
    except Exception as error:  # as in parse
        raise InputError(f"{path} is not a whole PNG file: {error}") from error
    return size


def to_rgb(image: Image.Image) -> RGB:
    """A Pillow image as (H, W, 3) uint8 sRGB, by the rules above; raises InputError for transparency."""
    image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if np.asarray(rgba)[..., 3].min() < 255:
            raise InputError(
                "the image has transparent pixels, which would be lost; flatten it onto a background first"
            )
        image = rgba.convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image).astype(np.float64)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
            raise InputError("the image's samples are neither 8-bit nor 16-bit")
        eight = np.rint(grey * (255 / 65535)).astype(np.uint8)
        return np.repeat(eight[..., None], 3, axis=2)
    if profile and image.mode in ("RGB", "CMYK", "L"):
        image = _to_srgb(image, profile)
    return np.array(image.convert("RGB"))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert by the embedded profile; an unusable profile counts as sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if converted is None else converted


def pad(rgb: RGB, stride: int) -> RGB:
    """Repeat the last row and column until both sides are multiples of ``stride``."""
    height, width = rgb.shape[:2]
    return np.pad(rgb, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")


def png_bytes(rgb: RGB) -> bytes:
    """(H, W, 3) uint8 as the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def psnr(original: RGB, decoded: RGB) -> float:
    """``10 log10(255^2 / MSE)`` in dB over all samples of two (H, W, 3) uint8 pictures; infinite where equal."""
    mse = float(np.square(decoded.astype(np.float32) - original).mean(dtype=np.float64))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)
