"""The whole chain, both ways: the only file that knows every stage."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from dlcodec import checkpoint as checkpoints
from dlcodec import codecs, container, memory
from dlcodec.arguments import Crop, check_level, check_sampling, check_tau
from dlcodec.checkpoint import Checkpoint
from dlcodec.codecs.base import Codec, CodingStep, CodingSteps, Integers
from dlcodec.entropy.coder import Decoder, Encoder
from dlcodec.entropy.exact import LEVEL_STEPS
from dlcodec.errors import CorruptFileError, LatentMismatchError, UsageError, WeightsError
from dlcodec.fusion.fuse import Fusion, Precision, choose_dtype
from dlcodec.fusion.noise import latent_noise
from dlcodec.image import RGB, pad
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.tiles import Span, run_by_tiles

Device = Literal["auto", "cpu", "cuda"]
Lap = Callable[[str], None]
"""Called with the name of each part of the chain when it is done, by whoever times or counts them."""


def _unwatched(_: str) -> None:
    pass


def choose_device(name: Device) -> torch.device:
    """The device of a name; ``auto`` is CUDA where present, else the CPU. Raises UsageError."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {name!r} is none of auto, cpu, cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("no CUDA device is available; use --device cpu or auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


@lru_cache(maxsize=4)
def _load_codec(family: str, path: str, digest: str, device: torch.device) -> Codec:
    found = checkpoints.read_metadata(Path(path))
    if found.digest != digest:
        raise WeightsError(f"{path} changed while it was read")
    arrays = checkpoints.load_arrays(found)
    try:
        codec: Codec = codecs.codec_class(family)(found.config, arrays, device)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has a config that does not fit a {family} codec: {error}") from error
    return codec


def load_codec(found: Checkpoint, device: torch.device) -> Codec:
    """The codec of a checkpoint, verified; kept for the next call. Raises WeightsError."""
    return _load_codec(found.family, str(found.path), found.digest, device)


@lru_cache(maxsize=4)
def _load_fusion(path: str, digest: str, device: torch.device, dtype: torch.dtype) -> Fusion:
    found = checkpoints.read_metadata(Path(path))
    if found.digest != digest:
        raise WeightsError(f"{path} changed while it was read")
    tensors = {name: torch.from_numpy(array) for name, array in checkpoints.load_arrays(found).items()}
    try:
        return Fusion(found.config, tensors, device, dtype)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit a fusion network: {error}") from error


def load_fusion(base: Checkpoint, device: torch.device, precision: Precision) -> Fusion:
    """The fusion network of a base checkpoint, verified; kept for the next call. Raises UsageError, WeightsError."""
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"precision {precision!r} is none of auto, fp32, bf16")
    found = checkpoints.find_fusion(base)
    return _load_fusion(str(found.path), found.digest, device, choose_dtype(precision, device))


def run_steps(steps: CodingSteps, code: Callable[[CodingStep], Integers]) -> tuple[Integers, int]:
    """Drive a codec's coding steps in either direction; returns the latent and the digest of all decoded integers."""
    digest = 0
    step = next(steps)
    while True:
        symbols = code(step)
        for integers in (step.index, symbols):
            digest = zlib.crc32(np.ascontiguousarray(integers, "<i4").data, digest)
        try:
            step = steps.send(symbols)
        except StopIteration as stop:
            latent: Integers = stop.value
            return latent, zlib.crc32(np.ascontiguousarray(latent, "<i4").data, digest)


def quantise_level(level: float, levels: int) -> int:
    """A rate level in steps of 1/256; raises UsageError outside [0, levels - 1]."""
    check_level(level, levels)
    return round(level * LEVEL_STEPS)


def _watched(code: Callable[[CodingStep], Integers], lap: Lap) -> Callable[[CodingStep], Integers]:
    """``code`` with laps around it: whatever ``run_steps`` does between is the exact path."""

    def watched(step: CodingStep) -> Integers:
        lap("exact path")
        symbols = code(step)
        lap("range coding")
        return symbols

    return watched


class Coder(Protocol):
    """What takes symbols when encoding: an ``Encoder``, or something that counts as one."""

    def encode(self, symbols: Integers, index: Integers) -> None:
        """Take ``symbols`` (n,), each under the table that ``index`` (n,) names."""


def code_known(coder: Coder) -> Callable[[CodingStep], Integers]:
    """For ``run_steps`` when encoding: hands each step's symbols to ``coder``."""

    def code(step: CodingStep) -> Integers:
        assert step.symbols is not None
        coder.encode(step.symbols.ravel(), step.index.ravel())
        return step.symbols

    return code


@dataclass(frozen=True, slots=True)
class AnalysedImage:
    """An image after the analysis transform, to be coded at any level; ``transformed`` is the codec's own.

    ``sections`` accompany it in its file; ``tile`` and ``work`` say how its memory is bounded, in latents and bytes.
    """

    found: Checkpoint
    codec: Codec
    transformed: Any
    width: int
    height: int
    tau_hint: int | None
    sections: tuple[container.Section, ...]
    tile: int | None
    work: int

    def coding_steps(self, level: int) -> CodingSteps:
        """The steps that encode the image at ``level``, in steps of 1/256."""
        height, width = (side + -side % self.codec.stride for side in (self.height, self.width))
        return self.codec.coding_steps(height, width, level, self.codec.latents(self.transformed, level, self.tile))

    def header(self, level: int, digest: int) -> container.Header:
        """The header of its file at ``level``, given the digest of all decoded integers."""
        found = self.found
        return container.Header(found.family, self.width, self.height, level, self.tau_hint, found.short_digest, digest)

    def pack(self, level: int, digest: int, payload: bytes) -> bytes:
        """The bytes of its file."""
        latents = container.Section(container.SECTION_LATENTS, payload)
        return container.pack(self.header(level, digest), (latents, *self.sections))


def analyse_image(
    rgb: RGB,
    found: Checkpoint,
    device: torch.device,
    limits: Limits,
    tau_hint: float | None,
    sections: Sequence[container.Section],
) -> AnalysedImage:
    """Run the analysis transform of a checkpoint over (H, W, 3) uint8 sRGB; the rest as in ``encode_image``."""
    codec = load_codec(found, device)
    height, width = rgb.shape[:2]
    padded = pad(rgb, codec.stride)
    work = memory.work_memory(limits, width * height, memory.ENCODE)
    tile = _tile(codec, padded.shape[0] // codec.latent_stride, padded.shape[1] // codec.latent_stride, work)
    transformed = codec.transform(torch.from_numpy(padded).permute(2, 0, 1)[None], tile)
    hint = None if tau_hint is None else round(tau_hint * container.TAU_STEPS)
    return AnalysedImage(found, codec, transformed, width, height, hint, tuple(sections), tile, work)


def encode_image(
    rgb: RGB,
    level: float | None = None,
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    tau_hint: float | None = None,
    sections: Sequence[container.Section] = (),
    base: Checkpoint | None = None,
    lap: Lap = _unwatched,
) -> bytes:
    """Compress (H, W, 3) uint8 sRGB into the bytes of a .dlc file.

    ``level`` is real, from 0 (smallest) to the model's last; None takes the model's default.
    ``tau_hint`` in [0, 1] is the tau that decoders take unless they are told another; kept in steps of 1/254.
    ``sections`` follow the latents: what accompanies the picture, from ``sections.pack_extras``. ``base`` are the
    weights, if not the installed ones of the default family; ``lap`` as in ``Lap``.
    Raises LimitError, UsageError, WeightsError.
    """
    if tau_hint is not None:
        check_tau(tau_hint)
    limits.check_size(*rgb.shape[1::-1])
    found = base or checkpoints.find(checkpoints.DEFAULT_FAMILY)
    if level is None:
        level = found.config["default_level"]
    steps_of_level = quantise_level(level, found.levels)
    image = analyse_image(rgb, found, choose_device(device), limits, tau_hint, sections)
    lap("analysis")
    encoder = Encoder(image.codec.models)
    steps = image.coding_steps(steps_of_level)
    lap("hyper-analysis")
    _, digest = run_steps(steps, _watched(code_known(encoder), lap))
    lap("exact path")
    return image.pack(steps_of_level, digest, encoder.finish())


def decode_latent(file: container.Container, codec: Codec, lap: Lap = _unwatched) -> Integers:
    """The latent of an unpacked file; raises LatentMismatchError when it is not the one that was encoded."""
    header = file.header
    height, width = (side + -side % codec.stride for side in (header.height, header.width))
    decoder = Decoder(codec.models, file.payload)

    def code(step: CodingStep) -> Integers:
        return decoder.decode(step.index.ravel()).reshape(step.index.shape)

    latent, digest = run_steps(codec.coding_steps(height, width, header.level, None), _watched(code, lap))
    decoder.finish()
    if digest != header.latent_digest:
        raise LatentMismatchError("the decoded latents are not the ones that were encoded; no picture is made of them")
    return latent


def _repeatable(device: torch.device) -> AbstractContextManager[None]:
    """On CUDA, convolutions in true float32 and the same at every run; a CPU needs nothing."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _tile(codec: Codec, rows: int, columns: int, work: int) -> int | None:
    """The tile of the transforms for ``rows`` x ``columns`` latents in ``work`` bytes; None for the whole."""
    grid = codec.stride // codec.latent_stride
    return memory.choose_tile(rows, columns, codec.bytes_per_latent, work=work, halo=codec.synthesis_halo, grid=grid)


@dataclass(frozen=True, slots=True)
class _View:
    """Where a crop lies in the latent: its rows and columns, and as much around them as it depends on."""

    rows: Span
    columns: Span

    @classmethod
    def of(cls, crop: Crop, latent: Tensor, stride: int, halo: int, align: int) -> _View:
        height, width = latent.shape[2:]
        bottom, right = -(-(crop.top + crop.height) // stride), -(-(crop.left + crop.width) // stride)
        return cls(
            Span.around(crop.top // stride, bottom, length=height, halo=halo, align=align),
            Span.around(crop.left // stride, right, length=width, halo=halo, align=align),
        )

    def of_whole(self, latent: Tensor) -> Tensor:
        """What the view sees of a whole latent (1, M, h, w)."""
        return latent[:, :, self.rows.seen, self.columns.seen]

    def inside(self, outer: _View) -> _View:
        """The same places, counted from the first row and column that ``outer`` sees."""
        return _View(self.rows.shift(-outer.rows.first), self.columns.shift(-outer.columns.first))


def _paint(
    codec: Codec, y: Tensor, view: _View, crop: Crop, work: int, changes: Mapping[str, Tensor], *, halved: bool = False
) -> RGB:
    """The pixels (height, width, 3) of a crop from ``y``, what ``view`` sees of the latent."""

    def synthesise(part: Tensor) -> Tensor:
        pixels = codec.synthesise(part, changes, halved=halved)
        if not pixels.isfinite().all():
            raise WeightsError("the weights give a picture that is not finite")
        return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)

    stride = codec.latent_stride
    tile = _tile(codec, y.shape[2], y.shape[3], work)
    pixels = run_by_tiles(synthesise, (y,), tile=tile, halo=codec.synthesis_halo, ratio=stride)
    top, left = crop.top - view.rows.first * stride, crop.left - view.columns.first * stride
    pixels = pixels[0, :, top : top + crop.height, left : left + crop.width]
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def base_picture(codec: Codec, y_hat: Tensor, crop: Crop, work: int) -> RGB:
    """The pixels (height, width, 3) uint8 of a crop at tau = 1, of the whole latent ``y_hat`` (1, M, h, w) float32."""
    near = _View.of(crop, y_hat, codec.latent_stride, codec.synthesis_halo, 1)
    with _repeatable(y_hat.device):
        return _paint(codec, near.of_whole(y_hat), near, crop, work, {})


def decode_images(
    data: bytes,
    taus: Sequence[float],
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    steps: int | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    after_step: Callable[[], None] | None = None,
    crop: Crop | None = None,
    base: Checkpoint | None = None,
    lap: Lap = _unwatched,
) -> Iterator[RGB]:
    """Decompress the bytes of a .dlc file once; yields one (H, W, 3) uint8 sRGB image a tau.

    ``tau`` in [0, 1]: 1 is the base codec bit for bit, 0 the most realistic. ``steps`` of the sampler, 1 to 50, None
    takes the model's default; ``seed`` chooses its noise; ``precision`` is that of the fusion network, and of the
    synthesis below tau = 1; ``after_step`` is called after each step; ``crop`` gives its pixels alone, without the
    fusion and synthesis of the rest; ``base`` are the weights, if not those that are installed; ``lap`` as in ``Lap``.
    Nothing is decoded before the first image is asked for.
    Raises CorruptFileError, UnsupportedFileError, LimitError, UsageError, WeightsError or LatentMismatchError.
    """
    file = container.unpack(data, limits)
    for tau in taus:
        check_tau(tau)
    check_sampling(steps, seed)
    header = file.header
    crop = crop or Crop(0, 0, header.width, header.height)
    crop.check(header.width, header.height)
    fused = any(tau != 1 for tau in taus)
    per_pixel = memory.DECODE_FUSED if fused else memory.DECODE
    work = memory.work_memory(limits, header.width * header.height, per_pixel)
    found = base or checkpoints.find(header.family, header.model_digest)
    if (found.family, found.short_digest) != (header.family, header.model_digest):
        raise WeightsError(
            f"the file needs {header.family} weights {header.model_digest.hex()}, not those of {found.path}"
        )
    if header.level > (found.levels - 1) * LEVEL_STEPS:
        raise CorruptFileError(f"level {header.level / LEVEL_STEPS} is above the model's last")
    where = choose_device(device)
    fusion = load_fusion(found, where, precision) if fused else None
    codec = load_codec(found, where)
    lap("weights")
    y_hat = codec.to_float(decode_latent(file, codec, lap), header.level)
    lap("exact path")
    if fusion is None:
        picture = base_picture(codec, y_hat, crop, work)
        lap("synthesis")
        yield from (picture.copy() for _ in taus)
        return
    halo = codec.synthesis_halo
    near = _View.of(crop, y_hat, codec.latent_stride, halo, 1)
    far = _View.of(crop, y_hat, codec.latent_stride, halo + fusion.reach, fusion.window)
    noise = far.of_whole(torch.from_numpy(latent_noise(tuple(y_hat.shape), header.latent_digest, seed)))
    lap("noise")
    y_hat = far.of_whole(y_hat)
    level = header.level / LEVEL_STEPS / max(1, found.levels - 1)
    rows, columns = y_hat.shape[2:]
    tile = memory.choose_tile(rows, columns, fusion.bytes_per_latent, work=work, halo=fusion.halo, grid=fusion.window)
    latents = fusion.fuse(y_hat, level, noise, taus, steps or fusion.default_steps, after_step, tile)
    for tau in taus:
        with _repeatable(where):
            y = near.inside(far).of_whole(next(latents))
            lap("fusion")
            halved = tau != 1 and fusion.dtype == torch.bfloat16  # at tau = 1 every number is the base codec's
            picture = _paint(codec, y, near, crop, work, fusion.changes(tau, level), halved=halved)
            lap("synthesis")
        yield picture


def decode_image(
    data: bytes,
    tau: float | None = None,
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    steps: int | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    crop: Crop | None = None,
    base: Checkpoint | None = None,
) -> RGB:
    """Decompress the bytes of a .dlc file, or a crop of it, into (H, W, 3) uint8 sRGB.

    Without ``tau`` the file's hint decides, or 0 where it has none. Otherwise as ``decode_images``.
    """
    if tau is None:
        tau = container.unpack(data, limits).header.default_tau
    pictures = decode_images(
        data, (tau,), device, limits, steps=steps, seed=seed, precision=precision, crop=crop, base=base
    )
    return next(pictures)
