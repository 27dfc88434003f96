"""What the samples of an image mean: ICC profiles, and colours that nobody sees."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from dlcodec.picture import RGB, Picture, Plane, to_pillow

_SEEN = [0] + [255] * 255
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def _convert(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    try:
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _read_profile(icc: bytes, mode: str) -> ImageCms.ImageCmsProfile | None:
    """The profile, or None where it is damaged or one of other samples than ``mode`` has."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()  # a ValueError where its four bytes are no ASCII
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return profile if space == _SPACES.get(mode) else None


def _is_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Whether the profile moves no sample by more than 1 of 255; names of profiles are no guide."""
    if mode == "L":
        samples = np.arange(256, dtype=np.uint8)[None]
        expected = samples[..., None]
    else:
        steps = np.arange(0, 256, 17, dtype=np.uint8)
        samples = expected = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(16, -1, 3)
    converted = _convert(Image.fromarray(samples), profile)
    return converted is not None and np.abs(np.asarray(converted).astype(int) - expected).max() <= 1


def apply_profile(image: Image.Image, icc: bytes | None, *, keep: bool) -> tuple[Image.Image, bytes | None]:
    """The image by the rule of docs/pictures.md, and the profile to keep beside it; None means sRGB.

    RGB and grey stay as they are where the profile may be kept. All else is converted to sRGB, grey staying grey.
    """
    profile = None if icc is None else _read_profile(icc, image.mode)
    if profile is None or (image.mode != "CMYK" and _is_srgb(profile, image.mode)):
        return image, None
    if keep and image.mode != "CMYK":
        return image, icc
    converted = _convert(image, profile)
    if converted is None:
        return image, None
    return converted.convert("L") if image.mode == "L" else converted, None


def to_srgb(picture: Picture) -> RGB:
    """The (H, W, 3) uint8 sRGB pixels of a picture without its alpha, as a viewer that heeds the profile shows them."""
    image = to_pillow(replace(picture, extras=replace(picture.extras, alpha=None)))
    converted, _ = apply_profile(image, picture.extras.icc, keep=False)
    return np.array(converted.convert("RGB"))


def fill_hidden(rgb: RGB, alpha: Plane) -> RGB:
    """Replace the colours of fully transparent pixels by a smooth continuation of the others.

    What lies there is unseen, often noise or black; a smooth fill costs few bits and does not bleed over the edge.
    Each pixel takes the mean of the seen pixels around it on the finest scale where there are any.
    """
    if alpha.min() > 0:
        return rgb
    if not alpha.any():
        return np.full_like(rgb, 128)
    return np.array(_fill(Image.fromarray(rgb), Image.fromarray(alpha).point(_SEEN)))


def _fill(image: Image.Image, seen: Image.Image) -> Image.Image:
    """An RGB image whose pixels where ``seen`` (L, 0 or 255) is 0 come from the same image at half the size."""
    if seen.getextrema() == (255, 255):
        return image
    weighted = image.copy()
    weighted.putalpha(seen)
    half = weighted.convert("RGBa").reduce(2).convert("RGBA")  # means of the seen pixels alone
    coarse = _fill(half.convert("RGB"), half.getchannel("A").point(_SEEN))
    return Image.composite(image, coarse.resize(image.size, Image.Resampling.BILINEAR), seen)
