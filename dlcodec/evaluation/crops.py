"""A strip of crops along tau, for documents: what the numbers look like."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from dlcodec.image import RGB, psnr
from dlcodec.pipeline import decode_images, encode_image

_BAR, _GAP = 22, 4


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
    width, height = (right - left) * zoom, (bottom - top) * zoom
    sheet = Image.new("RGB", ((width + _GAP) * len(pictures) - _GAP, _BAR + height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (label, crop) in enumerate(pictures):
        draw.text((column * (width + _GAP) + 2, 2), label, fill="black", font=ImageFont.load_default(14))
        enlarged = Image.fromarray(crop).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (column * (width + _GAP), _BAR))
    return sheet
