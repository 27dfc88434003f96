"""Image files and Pillow images to pictures, by the rules of docs/pictures.md; arrays of pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from dlcodec import memory, metadata
from dlcodec.colour import apply_profile, fill_hidden
from dlcodec.errors import DlcodecError, InputError, LimitError
from dlcodec.files import read_bounded, take_bytes
from dlcodec.jpeg import check_segments
from dlcodec.limits import Limits
from dlcodec.opening import allowing, quiet
from dlcodec.picture import RGB, Extras, Picture, Plane
from dlcodec.sections import MOST_METADATA, PNG_END

_READ = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "GIF", "JPEG2000")
Warn = Callable[[str], None]
_ROWS = 32
_GREY_STEPS = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies the samples of such a PNG, though not its transparent one."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its orientation."""


def _ignore(_: str) -> None:
    pass


def load(path: Path, limits: Limits) -> RGB:
    """Read an opaque image file as (H, W, 3) uint8 sRGB, the pixels alone.

    Raises InputError when it is unreadable or has transparent pixels, LimitError when it is too large.
    """
    return read_opaque(read_bounded(path, limits.file_bytes), str(path), limits)


def read_opaque(data: bytes, name: str, limits: Limits) -> RGB:
    """As ``load``, of the bytes of an image file; ``name`` is what messages call it."""
    picture = read_picture(data, name, limits, strip=True)
    if picture.extras.alpha is not None:
        raise InputError(f"{name} has transparent pixels, which would be lost; flatten it onto a background first")
    return picture.rgb


def load_picture(path: Path, limits: Limits, *, strip: bool = False, warn: Warn = _ignore) -> Picture:
    """Read an image file; as ``read_picture``."""
    return read_picture(read_bounded(path, limits.file_bytes), str(path), limits, strip=strip, warn=warn)


def read_picture(
    data: bytes,
    name: str,
    limits: Limits,
    *,
    strip: bool = False,
    warn: Warn = _ignore,
    per_pixel: int = memory.encode_bytes("low"),
) -> Picture:
    """The picture in the bytes of an image file; ``name`` is what messages call it.

    ``strip`` leaves EXIF, ICC and XMP out and gives sRGB. ``warn`` takes a sentence for each thing that is left out
    unasked. ``per_pixel`` are the bytes that it must find room for in the limits. Raises InputError when the bytes are
    unreadable, LimitError when the picture is too large.
    """
    if not data:
        raise InputError(f"{name} is empty")
    check_segments(data, name)
    notes: list[str] = []
    with _our_errors(name, limits), Image.open(io.BytesIO(data), formats=_READ) as image:
        limits.check_size(*image.size)
        memory.work_memory(limits, image.width * image.height, per_pixel)
        # To count the frames, Pillow would read through all of them, in TIFF in time that grows with their square.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(f"{name} has several frames; only the first is kept")
        picture = to_picture(image, strip=strip, warn=lambda text: notes.append(f"{name}: {text}"))
    for note in notes:
        warn(note)
    return picture


@contextmanager
def _our_errors(name: str, limits: Limits) -> Iterator[None]:
    """Whatever Pillow raises for an image within the limits becomes InputError or LimitError; it warns of nothing."""
    try:
        with quiet(), allowing(limits.pixels):
            yield
    except Image.DecompressionBombError as error:
        raise LimitError(f"{name} has far more pixels than an image may have; see encode --max-pixels") from error
    except DlcodecError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything for damaged bytes: RuntimeError, TypeError, ...
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is not in a known image format"
        raise InputError(f"cannot read {name} as an image: {reason}") from error


def take_picture(
    source: Image.Image | bytes | BinaryIO, limits: Limits, *, strip: bool = False, warn: Warn = _ignore
) -> Picture:
    """A Pillow image, or the bytes or the stream of an image file; as ``read_picture``."""
    if isinstance(source, Image.Image):
        limits.check_size(*source.size)
        notes: list[str] = []
        with _our_errors("the image", limits):
            picture = to_picture(source, strip=strip, warn=notes.append)
        for note in notes:
            warn(f"the image: {note}")
        return picture
    if not hasattr(source, "read") and not isinstance(source, bytes | bytearray | memoryview):
        raise InputError(f"an image must be a Pillow image, an array, a path, bytes or a stream, not {type(source)}")
    return read_picture(take_bytes(source, limits.file_bytes), "the image", limits, strip=strip, warn=warn)


def read_size(path: Path, limits: Limits) -> tuple[int, int]:
    """Width and height that ``load_picture`` would give, without decoding the pixels; raises InputError, LimitError."""
    try:
        data = read_bounded(path, limits.file_bytes)
        check_segments(data, str(path))
        with quiet(), allowing(limits.pixels), Image.open(io.BytesIO(data), formats=_READ) as image:
            width, height = image.size
            # Of a TIFF file, Pillow tells the upright size at once.
            turned = image.format != "TIFF" and metadata.read_orientation(image) in (5, 6, 7, 8)
            return (height, width) if turned else (width, height)
    except DlcodecError:
        raise
    except Exception as error:  # as in _our_errors
        raise InputError(f"cannot read {path} as an image: {error}") from error


def read_whole_size(path: Path, limits: Limits) -> tuple[int, int]:
    """Width and height of an image file that is whole: a PNG with its end and right checksums, others that decode.

    Raises InputError, LimitError.
    """
    data = read_bounded(path, limits.file_bytes)
    check_segments(data, str(path))
    with _our_errors(str(path), limits), Image.open(io.BytesIO(data), formats=_READ) as image:
        limits.check_size(*image.size)
        size = image.size
        if image.format != "PNG":
            image.load()
        elif not data.endswith(PNG_END):
            raise InputError(f"{path} is not a whole PNG file: it lacks its end")
        else:
            image.verify()
    return size


def to_picture(image: Image.Image, *, strip: bool = False, warn: Warn = _ignore) -> Picture:
    """A Pillow image, which stays as it is, as a picture; ``strip`` and ``warn`` as for ``read_picture``.

    Raises InputError for samples that are neither 8-bit nor 16-bit, and what Pillow raises for damaged files.
    """
    tiles = getattr(image, "tile", None)
    layout = tiles[0][3] if tiles else None  # of samples in the file, which Pillow forgets once it has read them
    image.load()
    exif, xmp = metadata.read_exif(image), metadata.read_xmp(image)
    bare = Image.Image()  # Pillow keeps the EXIF that it has read once, whatever becomes of the bytes
    bare.info = image.info
    turn = _TURNS.get(metadata.read_orientation(bare))
    if "transparency" in image.info:
        image = image.copy()  # of which _split_alpha takes it away
    upright = None if exif is None else metadata.upright_exif(exif)
    if exif is not None and upright is None:
        warn("its EXIF is damaged and left out")
    if turn is not None:
        image = image.transpose(turn)
    icc = image.info.get("icc_profile")
    image, alpha = _split_alpha(image, layout)
    image = _to_8_bit(image)
    image, icc = apply_profile(image, icc, keep=not strip)
    grey = image.mode == "L"
    rgb = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if alpha is not None:
        rgb = fill_hidden(rgb, alpha)
    if strip:
        return Picture(rgb, Extras(alpha, grey))
    kept = {"EXIF": upright, "ICC profile": icc, "XMP": None if xmp is None else metadata.upright_xmp(xmp)}
    for kind, data in kept.items():
        if data is not None and len(data) > MOST_METADATA:
            warn(f"its {kind} has more than {MOST_METADATA} bytes and is left out")
            kept[kind] = None
    return Picture(rgb, Extras(alpha, grey, icc=kept["ICC profile"], exif=kept["EXIF"], xmp=kept["XMP"]))


def _split_alpha(image: Image.Image, layout: object) -> tuple[Image.Image, Plane | None]:
    """The image without transparency, grey staying grey, and its alpha plane (H, W) uint8.

    ``layout`` is Pillow's name of the samples in the file, None where it is not known.
    """
    key = image.info.get("transparency")
    if isinstance(key, tuple) and (layout == "RGB;16B" or max(key) > 255):
        image.info["transparency"] = tuple(part >> 8 for part in key)
    if key is not None and (image.mode in ("1", "L") or image.mode.startswith("I")):
        if isinstance(layout, str):
            key *= _GREY_STEPS.get(layout, 1)
        samples = image.convert("L") if image.mode == "1" else image  # Pillow gives the key of two colours as 0 or 255
        alpha = np.where(np.asarray(samples) == key, 0, 255).astype(np.uint8)
        del image.info["transparency"]
        return image, alpha
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and key is None:
        return image, None
    straight = image.convert("LA" if image.mode in ("LA", "La") or layout == "LA;16B" else "RGBA")
    return straight.convert("L" if straight.mode == "LA" else "RGB"), np.array(straight.getchannel("A"))


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Modes L, RGB and CMYK as they are, all others as the one of them that holds what they hold."""
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image).astype(np.float64)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
            raise InputError("the image's samples are neither 8-bit nor 16-bit")
        return Image.fromarray(np.rint(grey * (255 / 65535)).astype(np.uint8))
    return image.convert("L" if image.mode == "1" else "RGB")


def from_array(array: npt.NDArray[np.uint8]) -> Picture:
    """(H, W) grey, (H, W, 3) sRGB or (H, W, 4) sRGB and alpha, uint8, as a picture; raises InputError for others."""
    channels = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if channels not in (1, 3, 4) or array.shape[2:] == (1,) or array.dtype != np.uint8 or 0 in array.shape:
        raise InputError(
            f"an array must be (H, W), (H, W, 3) or (H, W, 4) uint8; this one is {array.shape} {array.dtype}"
        )
    if channels == 3:
        return Picture(np.ascontiguousarray(array), Extras())
    return to_picture(Image.fromarray(np.ascontiguousarray(array)))


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
    """``10 log10(255^2 / MSE)`` in dB over all samples of two uint8 pictures of one shape; infinite where equal."""
    if original.shape != decoded.shape:
        raise ValueError(f"pictures of shapes {original.shape} and {decoded.shape} have no PSNR")
    total = 0
    for top in range(0, len(original), _ROWS):  # less at once stays in the cache, and takes no memory to speak of
        rows = slice(top, top + _ROWS)
        total += int(np.square(decoded[rows].astype(np.int32) - original[rows]).sum(dtype=np.int64))
    mse = total / original.size
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)
