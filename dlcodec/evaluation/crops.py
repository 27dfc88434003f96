"""A strip of crops along tau, for documents: what the numbers look like."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from dlcodec.image import RGB, psnr
from dlcodec.pipeline import decode_images, encode_image
from dlcodec.sheet import Column, draw_sheet, enlarge


def crop_strip(rgb: RGB, level: float, taus: Sequence[float], box: tuple[int, int, int, int], zoom: int) -> Image.Image:
    """The original and each tau, cut to ``box`` (left, top, right, bottom) after decoding the whole, enlarged.

    ``rgb`` is (H, W, 3) uint8. Each crop has its tau and the PSNR of the crop above it, the original the file's rate.
    """
    data = encode_image(rgb, level)
    left, top, right, bottom = box
    original = rgb[top:bottom, left:right]
    pictures = [(f"original; file {8 * len(data) / (rgb.shape[0] * rgb.shape[1]):.2f} bpp", original)]
    for tau, decoded in zip(taus, decode_images(data, taus), strict=True):
        crop = decoded[top:bottom, left:right]
        pictures.append((f"tau {tau:g}, {psnr(original, crop):.1f} dB", crop))
    return draw_sheet([Column(label, (enlarge(crop, zoom),)) for label, crop in pictures], font_size=14)
