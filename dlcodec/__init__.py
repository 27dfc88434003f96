"""dlcodec: a neural image codec with a bit-exact entropy layer.

    data = dlcodec.encode(Image.open("photo.png"), level=5)
    picture = dlcodec.decode(data, tau=0.3)

Importing this package does not import torch; the first encode or decode does.
"""

from __future__ import annotations

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
    tau_hint: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    max_pixels: int | None = None,
    max_memory: float | None = None,
) -> bytes:
    """Compress an image into the bytes of a .dlc file.

    ``image`` is a Pillow image, an (H, W, 3) uint8 sRGB array, or the path of an image file. ``level`` is the rate,
    real, from 0 (smallest file) to 7; None takes the model's default.
    ``tau_hint`` in [0, 1] is the tau that decoders take unless they are told another. ``max_pixels`` refuses larger
    pictures (None: 2^27); ``max_memory`` in GiB bounds what the process takes on a CPU.
    Raises a DlcodecError: InputError, LimitError, UsageError or WeightsError.
    """
    import numpy as np

    from dlcodec import image as images
    from dlcodec.errors import InputError
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.pipeline import encode_image

    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    if isinstance(image, str | Path):
        rgb = images.load(Path(image), limits)
    elif isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(f"an array must be (H, W, 3) uint8; this one is {image.shape} {image.dtype}")
        rgb = image
    else:
        rgb = images.to_rgb(image)
    return encode_image(rgb, level, device, limits, tau_hint=tau_hint)


def decode(
    data: bytes,
    *,
    tau: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    crop: tuple[int, int, int, int] | None = None,
    max_pixels: int | None = None,
    max_memory: float | None = None,
) -> Image.Image:
    """Decompress the bytes of a .dlc file into an RGB Pillow image.

    ``tau`` in [0, 1]: 1 is the base codec bit for bit, 0 the most realistic; None takes the file's hint, or 0 where it
    has none. ``steps`` of the fusion sampler, 1 to 50, None takes the model's default; ``seed`` chooses its noise;
    ``precision`` is that of the fusion network, ``auto`` takes bfloat16 where the device has it.
    ``crop`` is left, top, width and height in pixels; ``max_pixels`` and ``max_memory`` as in ``encode``.
    Raises a DlcodecError: CorruptFileError, UnsupportedFileError, LimitError, UsageError, WeightsError or
    LatentMismatchError.
    """
    from PIL import Image

    from dlcodec.arguments import Crop
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.pipeline import decode_image

    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    part = None if crop is None else Crop(*crop)
    pixels = decode_image(data, tau, device, limits, steps=steps, seed=seed, precision=precision, crop=part)
    return Image.fromarray(pixels)


def read_info(data: bytes) -> Info:
    """Describe the bytes of a .dlc file without decoding them.

    Raises CorruptFileError, UnsupportedFileError or LimitError.
    """
    from dlcodec.info import describe

    return describe(data)
