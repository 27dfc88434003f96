"""A picture as people have it: its pixels, and what accompanies them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

RGB = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.uint8]
EXIF_PREFIX = b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class Extras:
    """What accompanies the pixels of a picture; by default, nothing.

    ``alpha`` is (H, W) uint8, 255 opaque, or None where every pixel is; ``grey`` says that the three channels are to be
    one. ``icc`` is the profile that the samples are to be read by, None for sRGB; ``exif`` a TIFF structure without
    the prefix of JPEG; ``xmp`` an XML packet.
    """

    alpha: Plane | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """``rgb`` is (H, W, 3) uint8, the pixels that the codec sees."""

    rgb: RGB
    extras: Extras


def to_pillow(picture: Picture) -> Image.Image:
    """The picture as a Pillow image of mode L, LA, RGB or RGBA.

    Grey is the luma of the pixels. ``info`` holds ``icc_profile``, ``exif`` and ``xmp`` where the picture has them.
    """
    extras = picture.extras
    image = Image.fromarray(picture.rgb)
    if extras.grey:
        image = image.convert("L")
    if extras.alpha is not None:
        image.putalpha(Image.fromarray(extras.alpha))
    exif = None if extras.exif is None else EXIF_PREFIX + extras.exif
    info = {"icc_profile": extras.icc, "exif": exif, "xmp": extras.xmp}
    image.info = {key: value for key, value in info.items() if value is not None}
    return image
