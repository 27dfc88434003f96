"""dlcodec: a neural image codec with a bit-exact entropy layer.

    data = dlcodec.encode(Image.open("photo.png"), level=5)
    picture = dlcodec.decode(data, tau=0.3)

Importing this package does not import torch; the first encode or decode does.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlcodec.errors import DlcodecError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from dlcodec.info import Info

__all__ = ["DlcodecError", "__version__", "decode", "encode", "read_info"]
__version__ = "0.1.0"


def encode(
    image: Image.Image | npt.NDArray[np.uint8] | str | Path,
    *,
    level: float | None = None,
    target_bpp: float | None = None,
    target_bytes: int | None = None,
    target_psnr: float | None = None,
    strict: bool = False,
    tau_hint: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> bytes:
    """Compress an image into the bytes of a .dlc file.

    ``image`` is a Pillow image, an (H, W, 3) uint8 sRGB array, or the path of an image file. ``level`` is the rate,
    real, from 0 (smallest file) to 7; None takes the model's default. In its place one target may stand: the bits of
    the file per pixel or its bytes, at most, or the PSNR at tau 1 in dB, at least. A target beyond the model's range
    gives the nearest level and a UserWarning; with ``strict``, a UsageError.
    ``tau_hint`` in [0, 1] is the tau that decoders take unless they are told another.
    Raises a DlcodecError: InputError, LimitError, UsageError or WeightsError.
    """
    import numpy as np

    from dlcodec import image as images
    from dlcodec.errors import InputError
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.targets import choose_target

    target = choose_target(level, target_bpp, target_bytes, target_psnr, strict=strict)
    if isinstance(image, str | Path):
        rgb = images.load(Path(image), DEFAULT_LIMITS)
    elif isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(f"an array must be (H, W, 3) uint8; this one is {image.shape} {image.dtype}")
        rgb = image
    else:
        rgb = images.to_rgb(image)
    if target is None:
        from dlcodec.pipeline import encode_image

        return encode_image(rgb, level, device, tau_hint=tau_hint)
    from dlcodec.targeting import encode_to_target

    encoded = encode_to_target(rgb, target, device, tau_hint=tau_hint, strict=strict)
    if encoded.warning:
        warnings.warn(encoded.warning, stacklevel=2)
    return encoded.data


def decode(
    data: bytes,
    *,
    tau: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> Image.Image:
    """Decompress the bytes of a .dlc file into an RGB Pillow image.

    ``tau`` in [0, 1]: 1 is the base codec bit for bit, 0 the most realistic; None takes the file's hint, or 0 where it
    has none. ``steps`` of the fusion sampler, 1 to 50, None takes the model's default; ``seed`` chooses its noise;
    ``precision`` is that of the fusion network, ``auto`` takes bfloat16 where the device has it.
    Raises a DlcodecError: CorruptFileError, UnsupportedFileError, LimitError, UsageError, WeightsError or
    LatentMismatchError.
    """
    from PIL import Image

    from dlcodec.pipeline import decode_image

    return Image.fromarray(decode_image(data, tau, device, steps=steps, seed=seed, precision=precision))


def read_info(data: bytes) -> Info:
    """Describe the bytes of a .dlc file without decoding them.

    Raises CorruptFileError, UnsupportedFileError or LimitError.
    """
    from dlcodec.info import describe

    return describe(data)
