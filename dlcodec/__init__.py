"""dlcodec: a neural image codec with a bit-exact entropy layer.

    data = dlcodec.encode(Image.open("photo.png"), level=5)
    picture = dlcodec.decode(data, tau=0.3)

Importing this package does not import torch; the first encode or decode does, and keeps the weights for the next.
All functions may be called from several threads. ``import dlcodec.pillow`` teaches Pillow to open and save .dlc files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dlcodec.errors import DlcodecError
from dlcodec.info import Info

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from dlcodec.arguments import Device, Effort, Precision
    from dlcodec.models import Model

__all__ = [
    "DlcodecError",
    "Info",
    "__version__",
    "decode",
    "decode_taus",
    "encode",
    "open_model",
    "read_info",
    "read_thumbnail",
]
__version__ = "0.1.0"


def _name_of(model: str | Path | Model | None) -> str | None:
    return None if model is None else str(getattr(model, "path", model))


def open_model(model: str | Path | None = None, *, device: Device = "auto") -> Model:
    """Verify and load the weights of a base codec, and of its fusion where there is one; what they say of themselves.

    ``model`` is the name of an installed family, a folder of weights or a file; None is the default family. Nothing
    needs to be opened before it is used: this says early what is wrong, and spares the first call the loading. What
    it gives may be the ``model`` of the other functions. Raises UsageError or WeightsError.
    """
    from contextlib import suppress

    from dlcodec.errors import NoFusionError
    from dlcodec.loading import choose_device, load_codec, load_fusion
    from dlcodec.models import describe
    from dlcodec.selection import base_to_encode

    base = base_to_encode(_name_of(model))
    where = choose_device(device)
    load_codec(base, where)
    with suppress(NoFusionError):  # tau 1 needs none
        load_fusion(base, where, "auto")
    return describe(base.path)


def encode(
    image: Image.Image | npt.NDArray[np.uint8] | str | Path | bytes | BinaryIO,
    *,
    level: float | None = None,
    target_bpp: float | None = None,
    target_bytes: int | None = None,
    target_psnr: float | None = None,
    strict: bool = False,
    tau_hint: float | None = None,
    strip: bool = False,
    thumbnail: int | None = None,
    effort: Effort = "medium",
    precision: Precision = "auto",
    model: str | Path | Model | None = None,
    device: Device = "auto",
    max_pixels: int | None = None,
    max_memory: float | None = None,
) -> bytes:
    """Compress an image into the bytes of a .dlc file.

    ``image`` is a Pillow image, a uint8 array ((H, W) grey, (H, W, 3) sRGB or (H, W, 4) sRGB and alpha), or an image
    file: its path, its bytes or a binary stream. ``level`` is the rate, real, from 0 (smallest file) to 7; None takes
    the model's default. In its place one target may stand: the bits of the file per pixel or its bytes, at most, or
    the PSNR at tau 1 in dB, at least. A target beyond the model's range gives the nearest level and a UserWarning;
    with ``strict``, a UsageError. ``strip`` leaves EXIF, XMP and the colour profile out; the pixels become sRGB.
    ``thumbnail`` adds a small picture with this longer side, 16 to 1024 pixels, for ``read_thumbnail``.
    ``effort``, ``low``, ``medium`` or ``high``, says how long latents are searched that give less error at tau 1 for
    their bits. ``precision`` is that of analysis and search; ``auto`` takes bfloat16 where the device has it.
    ``tau_hint`` in [0, 1] is the tau that decoders take unless they are told another. ``model`` names the weights, as
    in ``open_model``. ``max_pixels`` refuses larger pictures (None: 2^27); ``max_memory`` in GiB bounds what the
    process takes on a CPU.
    A UserWarning says what else of an image is left out: damaged EXIF, the frames after the first.
    Raises a DlcodecError: InputError, LimitError, UsageError or WeightsError.
    """
    import warnings

    import numpy as np

    from dlcodec import image as images
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.selection import base_to_encode
    from dlcodec.targets import choose_target

    target = choose_target(level, target_bpp, target_bytes, target_psnr, strict=strict)
    if thumbnail is not None:
        from dlcodec.thumbnail import check_side

        check_side(thumbnail)
    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    base = base_to_encode(_name_of(model))
    notes: list[str] = []
    if isinstance(image, np.ndarray):
        picture = images.from_array(image)
    elif isinstance(image, str | Path):
        picture = images.load_picture(Path(image), limits, strip=strip, warn=notes.append)
    else:
        picture = images.take_picture(image, limits, strip=strip, warn=notes.append)
    from dlcodec.targeting import encode_picture

    data, missed = encode_picture(
        picture,
        level,
        target,
        device,
        limits,
        tau_hint=tau_hint,
        strict=strict,
        thumbnail=thumbnail,
        effort=effort,
        precision=precision,
        base=base,
    )
    notes += [missed] if missed else []
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return data


def decode(
    source: bytes | str | Path | BinaryIO,
    *,
    tau: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    model: str | Path | Model | None = None,
    device: Device = "auto",
    crop: tuple[int, int, int, int] | None = None,
    max_pixels: int | None = None,
    max_memory: float | None = None,
) -> Image.Image:
    """Decompress a .dlc file, its bytes, path or binary stream, into a Pillow image of mode L, LA, RGB or RGBA.

    Its ``info`` holds ``icc_profile``, ``exif`` and ``xmp`` where the file has them.
    ``tau`` in [0, 1]: 1 is the base codec bit for bit, 0 the most realistic; None takes the file's hint, or 0 where it
    has none. ``steps`` of the fusion sampler, 1 to 50, None takes the model's default; ``seed`` chooses its noise;
    ``precision`` is that of fusion and synthesis; ``auto`` takes bfloat16 below tau = 1 where the device has it, and
    float32 at tau = 1. ``crop`` is left, top, width and height in pixels; ``model`` names the weights to look among,
    None all that are installed; ``max_pixels`` and ``max_memory`` as in ``encode``.
    Raises a DlcodecError: InputError, CorruptFileError, UnsupportedFileError, LimitError, UsageError, WeightsError or
    LatentMismatchError.
    """
    return next(
        decode_taus(
            source,
            (tau,),
            steps=steps,
            seed=seed,
            precision=precision,
            model=model,
            device=device,
            crop=crop,
            max_pixels=max_pixels,
            max_memory=max_memory,
        )
    )


def decode_taus(
    source: bytes | str | Path | BinaryIO,
    taus: Iterable[float | None],
    *,
    steps: int | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    model: str | Path | Model | None = None,
    device: Device = "auto",
    crop: tuple[int, int, int, int] | None = None,
    max_pixels: int | None = None,
    max_memory: float | None = None,
) -> Iterator[Image.Image]:
    """Decompress a .dlc file once for several taus; yields a Pillow image each, in their order.

    Each is the picture that ``decode`` gives for its tau. Arguments and errors are those of ``decode``; what is wrong
    with taus, steps, seed, crop, limits or the file is raised here, before the first picture is asked for; but for
    weights with a wider latent than the shipped ones, whether ``max_memory`` is enough.
    """
    from dlcodec import memory
    from dlcodec.arguments import Crop, check_sampling, check_tau
    from dlcodec.container import unpack
    from dlcodec.files import take_bytes
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.sections import unpack_extras
    from dlcodec.selection import base_to_decode

    check_sampling(steps, seed)
    wanted = tuple(taus)
    for tau in wanted:
        if tau is not None:
            check_tau(tau)
    limits = DEFAULT_LIMITS.allow(max_pixels, max_memory)
    file = unpack(take_bytes(source, limits.file_bytes), limits)
    known = [file.header.default_tau if tau is None else tau for tau in wanted]
    held = memory.DECODE_FUSED if any(tau != 1 for tau in known) else memory.DECODE
    memory.work_memory(limits, file.header.width * file.header.height, held)
    extras = unpack_extras(file)
    part = None if crop is None else Crop.of(crop)
    if part is not None:
        part.check(file.header.width, file.header.height)
        extras = extras.cut(part.left, part.top, part.width, part.height)
    base = base_to_decode(_name_of(model), file.header.family, file.header.model_digest)

    def pictures() -> Iterator[Image.Image]:
        from dlcodec.picture import Picture, to_pillow
        from dlcodec.pipeline import decode_images

        decoded = decode_images(
            file, known, device, limits, steps=steps, seed=seed, precision=precision, crop=part, base=base
        )
        yield from (to_pillow(Picture(rgb, extras)) for rgb in decoded)

    return pictures()


def read_thumbnail(source: bytes | str | Path | BinaryIO, *, max_pixels: int | None = None) -> Image.Image | None:
    """The small picture in a .dlc file, in sRGB, or None where it has none; no network runs.

    ``max_pixels`` of the whole picture, as in ``encode``.
    Raises UsageError, InputError, CorruptFileError, UnsupportedFileError or LimitError.
    """
    from PIL import Image

    from dlcodec import thumbnail as thumbnails
    from dlcodec.container import unpack
    from dlcodec.files import take_bytes
    from dlcodec.limits import DEFAULT_LIMITS

    limits = DEFAULT_LIMITS.allow(max_pixels, None)
    pixels = thumbnails.read_thumbnail(unpack(take_bytes(source, limits.file_bytes), limits))
    return None if pixels is None else Image.fromarray(pixels)


def read_info(source: bytes | str | Path | BinaryIO, *, max_pixels: int | None = None) -> Info:
    """Describe a .dlc file, its bytes, path or binary stream, without decoding it.

    ``max_pixels`` as in ``encode``.
    Raises UsageError, InputError, CorruptFileError, UnsupportedFileError or LimitError.
    """
    from dlcodec.files import take_bytes
    from dlcodec.info import describe
    from dlcodec.limits import DEFAULT_LIMITS

    limits = DEFAULT_LIMITS.allow(max_pixels, None)
    return describe(take_bytes(source, limits.file_bytes), limits)
