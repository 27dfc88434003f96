"""What the samples of an image mean: ICC profiles, and colours that nobody sees."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from dlcodec.picture import RGB, Plane

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
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return profile if profile.profile.xcolor_space.strip() == _SPACES.get(mode) else None


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


def fill_hidden(rgb: RGB, alpha: Plane) -> RGB:
    """Replace the colours of fully transparent pixels by a smooth continuation of the others.

    What lies there is unseen, often noise or black; a smooth fill costs few bits and does not bleed over the edge.
    Each pixel takes the mean of the seen pixels around it on the finest scale where there are any.
    """
    seen = (alpha > 0).astype(np.float32)
    if seen.all():
        return rgb
    if not seen.any():
        return np.full_like(rgb, 128)
    filled = _pull(rgb * seen[..., None], seen)
    return np.where(seen[..., None] > 0, rgb, np.rint(filled).clip(0, 255).astype(np.uint8))


def _pull(total: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of (H, W, 3) sums with (H, W) weights; where the weight is 0, those of the scale above."""
    mean = total / np.maximum(weight, 1e-6)[..., None]
    if weight.all():
        return mean
    height, width = weight.shape
    even = ((0, height % 2), (0, width % 2))
    coarse_total = np.pad(total, (*even, (0, 0))).reshape(-(-height // 2), 2, -(-width // 2), 2, 3).sum(axis=(1, 3))
    coarse_weight = np.pad(weight, even).reshape(-(-height // 2), 2, -(-width // 2), 2).sum(axis=(1, 3))
    coarse = _pull(coarse_total, coarse_weight)
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(coarse[..., c])).resize((width, height), Image.Resampling.BILINEAR)
        )
        for c in range(3)
    ]
    return np.where(weight[..., None] > 0, mean, np.stack(channels, axis=-1))
