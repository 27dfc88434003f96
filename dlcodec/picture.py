"""A picture as people have it: its pixels, and what accompanies them."""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    def cut(self, left: int, top: int, width: int, height: int) -> Extras:
        """What accompanies a rectangle of the picture, in pixels."""
        if self.alpha is None:
            return self
        alpha = self.alpha[top : top + height, left : left + width]
        return replace(self, alpha=None if alpha.min() == 255 else alpha)


@dataclass(frozen=True, slots=True)
class Picture:
    """``rgb`` is (H, W, 3) uint8, the pixels that the codec sees."""

    rgb: RGB
    extras: Extras

    def reduce(self, factor: int) -> Picture:
        """The mean of every ``factor`` x ``factor`` pixels, at the right and lower border of those there are."""
        if factor == 1:
            return self
        rgb, alpha = np.asarray(Image.fromarray(self.rgb).reduce(factor)), self.extras.alpha
        if alpha is not None:
            alpha = np.asarray(Image.fromarray(alpha).reduce(factor))
        return Picture(rgb, replace(self.extras, alpha=alpha))


def pillow_info(extras: Extras) -> dict[str, bytes]:
    """``icc_profile``, ``exif`` and ``xmp`` as Pillow has them in ``info``, where they are there."""
    exif = None if extras.exif is None else EXIF_PREFIX + extras.exif
    info = {"icc_profile": extras.icc, "exif": exif, "xmp": extras.xmp}
    return {key: value for key, value in info.items() if value is not None}


def to_luma(rgb: RGB) -> Plane:
    """The grey (H, W) uint8 of (H, W, 3) uint8 pixels, by the weights of ITU-R 601-2."""
    return np.asarray(Image.fromarray(rgb).convert("L"))


def to_pillow(picture: Picture) -> Image.Image:
    """The picture as a Pillow image of mode L, LA, RGB or RGBA.

    Grey is the luma of the pixels. ``info`` holds ``icc_profile``, ``exif`` and ``xmp`` where the picture has them.
    """
    extras = picture.extras
    image = Image.fromarray(to_luma(picture.rgb) if extras.grey else picture.rgb)
    if extras.alpha is not None:
        image.putalpha(Image.fromarray(extras.alpha))
    image.info.update(pillow_info(extras))
    return image
