"""Pictures as WebP, at the best quality with which all of them fit a number of bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from PIL import Image

from dlcodec.errors import LimitError
from dlcodec.picture import RGB

LOSSLESS = 100
QUALITIES = (LOSSLESS, 95, 90, 85, 80, 70, 60)
MEGABYTE = 10**6
MOST_PIXELS = 2**28  # about 12.5 bytes of memory each
_MOST_SIDE = 16383
_MAP_QUALITY = 75


def check_side(width: int, height: int) -> None:
    """Raise LimitError when a side is more than WebP holds."""
    if max(width, height) > _MOST_SIDE:
        raise LimitError(f"the image is {width} x {height} pixels; a page shows at most {_MOST_SIDE} a side")


def check_pixels(width: int, height: int, pictures: int) -> None:
    """Raise LimitError when all pictures of a page together have more pixels than are held in memory."""
    if width * height * pictures > MOST_PIXELS:
        raise LimitError(
            f"{pictures} pictures of {width} x {height} pixels are {width * height * pictures / 1e6:.0f} megapixels; "
            f"a page takes at most {MOST_PIXELS / 1e6:.0f}; name fewer values of tau"
        )


def webp(image: Image.Image, quality: int) -> str:
    """A WebP file in base64; LOSSLESS keeps every pixel."""
    stream = io.BytesIO()
    if quality == LOSSLESS:
        image.save(stream, "WEBP", lossless=True, quality=50, method=4)
    else:
        image.save(stream, "WEBP", quality=quality, method=4)
    return base64.b64encode(stream.getvalue()).decode()


def webp_map(image: Image.Image) -> str:
    """A map of change as a WebP file in base64; it is an illustration, so one quality does."""
    return webp(image, _MAP_QUALITY)


def _encode(images: Sequence[Image.Image], quality: int, most: float) -> list[str] | None:
    """Every picture at one quality, or None as soon as they cannot all fit ``most`` bytes."""
    encoded: list[str] = []
    for image in images:
        encoded.append(webp(image, quality))
        most -= len(encoded[-1])
        if most < 0:
            return None
    return encoded


def fit(pictures: Sequence[RGB], most_megabytes: float, beside: int) -> tuple[int, list[str]]:
    """The best quality at which the pictures fit, and their WebP files in base64.

    They may take ``most_megabytes`` (of 10^6 bytes) less the ``beside`` bytes that the rest of the page takes.
    Raises LimitError when they do not fit at the lowest quality.
    """
    images = [Image.fromarray(picture) for picture in pictures]
    for quality in QUALITIES:
        encoded = _encode(images, quality, most_megabytes * MEGABYTE - beside)
        if encoded is not None:
            return quality, encoded
    needed = (beside + sum(len(webp(image, QUALITIES[-1])) for image in images)) / MEGABYTE
    raise LimitError(
        f"the page takes {math.ceil(needed * 100) / 100:g} MB even with its pictures at their lowest quality, over the "
        f"limit of {most_megabytes:g} MB; raise --max-mb or name fewer values of tau"
    )
