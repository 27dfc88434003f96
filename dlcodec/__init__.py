"""dlcodec: a neural image codec with a bit-exact entropy layer.

    data = dlcodec.encode(Image.open("photo.png"), level=5)
    picture = dlcodec.decode(data, tau=0.3)

Importing this package does not import torch; the first encode or decode does, and keeps the weights for the next.
All functions may be called from several threads. ``import dlcodec.pillow`` teaches Pillow to open and save .dlc files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlcodec.errors import DlcodecError
from dlcodec.info import Info

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

__all__ = ["DlcodecError", "Info", "__version__", "decode", "decode_taus", "encode", "read_info"]
__version__ = "0.1.0"


def encode(
    image: Image.Image | npt.NDArray[np.uint8] | str | Path,
    *,
    level: float | None = None,
    tau_hint: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> bytes:
    """Compress an image into the bytes of a .dlc file.

    ``image`` is a Pillow image, an (H, W, 3) uint8 sRGB array, or the path of an image file. ``level`` is the rate,
    real, from 0 (smallest file) to 7; None takes the model's default.
    ``tau_hint`` in [0, 1] is the tau that decoders take unless they are told another.
    Raises a DlcodecError: InputError, LimitError, UsageError or WeightsError.
    """
    import numpy as np

    from dlcodec import image as images
    from dlcodec.errors import InputError
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.pipeline import encode_image

    if isinstance(image, str | Path):
        rgb = images.load(Path(image), DEFAULT_LIMITS)
    elif isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(f"an array must be (H, W, 3) uint8; this one is {image.shape} {image.dtype}")
        rgb = image
    else:
        rgb = images.to_rgb(image)
    return encode_image(rgb, level, device, tau_hint=tau_hint)


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


def decode_taus(
    data: bytes,
    taus: Sequence[float],
    *,
    steps: int | None = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> Iterator[Image.Image]:
    """Decompress the bytes of a .dlc file once for several taus; yields an RGB Pillow image each, in their order.

    Each is the picture that ``decode`` gives for its tau. Arguments and errors are those of ``decode``; what is wrong
    with the arguments or the file is raised here, before the first picture is asked for.
    """
    from dlcodec import container
    from dlcodec.arguments import check_sampling, check_tau
    from dlcodec.limits import DEFAULT_LIMITS

    check_sampling(steps, seed)
    for tau in taus:
        check_tau(tau)
    container.unpack(data, DEFAULT_LIMITS)

    def pictures() -> Iterator[Image.Image]:
        from PIL import Image

        from dlcodec.pipeline import decode_images

        for rgb in decode_images(data, taus, device, steps=steps, seed=seed, precision=precision):
            yield Image.fromarray(rgb)

    return pictures()


def read_info(data: bytes) -> Info:
    """Describe the bytes of a .dlc file without decoding them.

    Raises CorruptFileError, UnsupportedFileError or LimitError.
    """
    from dlcodec.info import describe

    return describe(data)
