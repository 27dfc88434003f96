"""The whole chain, both ways: the only file that knows every stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlcodec import checkpoint as checkpoints
from dlcodec import container, installed, memory
from dlcodec.arguments import (
    LEVEL_STEPS,
    Crop,
    Device,
    Effort,
    Precision,
    check_effort,
    check_level,
    check_sampling,
    check_tau,
)
from dlcodec.checkpoint import Checkpoint
from dlcodec.codecs.base import Codec, CodingSteps
from dlcodec.coding import Lap, code_known, decode_latent, run_steps, unwatched, watched
from dlcodec.entropy.coder import Encoder
from dlcodec.errors import CorruptFileError, UsageError, WeightsError
from dlcodec.fusion.fuse import choose_dtype, choose_synthesis_dtype
from dlcodec.fusion.noise import latent_noise
from dlcodec.image import pad
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.loading import choose_device, load_codec, load_fusion
from dlcodec.painting import View, base_picture, paint, repeatable, transform_tile
from dlcodec.picture import RGB

AfterStep = Callable[[], None]
Improve = Callable[[Any, int, Lap], Any]


def quantise_level(level: float, levels: int) -> int:
    """A rate level in steps of 1/256; raises UsageError outside [0, levels - 1]."""
    check_level(level, levels)
    return round(level * LEVEL_STEPS)


@dataclass(frozen=True, slots=True)
class AnalysedImage:
    """An image after the analysis transform, to be coded at any level; ``transformed`` is the codec's own.

    ``sections`` accompany it in its file; ``tile`` and ``work`` say how its memory is bounded, in latents and bytes.
    ``improve`` takes its latents at a level to better ones.
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
    improve: Improve

    def coding_steps(self, level: int, lap: Lap = unwatched) -> CodingSteps:
        """The steps that encode the image at ``level``, in steps of 1/256."""
        height, width = (side + -side % self.codec.stride for side in (self.height, self.width))
        with repeatable(self.codec.device):
            latents = self.codec.latents(self.transformed, level, self.tile)
        lap("hyper-analysis")
        latents = self.improve(latents, level, lap)
        return self.codec.coding_steps(height, width, level, latents)

    def header(self, level: int, digest: int) -> container.Header:
        """The header of its file at ``level``, given the digest of all decoded integers."""
        found = self.found
        return container.Header(found.family, self.width, self.height, level, self.tau_hint, found.short_digest, digest)

    def pack(self, level: int, digest: int, payload: bytes) -> bytes:
        """The bytes of its file."""
        latents = container.Section(container.SECTION_LATENTS, payload)
        return container.pack(self.header(level, digest), (latents, *self.sections))


def _leave(latents: Any, level: int, lap: Lap) -> Any:
    return latents


def _correction(codec: Codec, transformed: Any, crop: Crop, tile: int | None, work: int, *, halved: bool) -> Improve:
    """How the latents of a picture that was ``transformed``, ``crop`` without its padding, are corrected."""
    rows, columns = (-(-side // codec.latent_stride) for side in (crop.height, crop.width))

    def improve(latents: Any, level: int, lap: Lap) -> Any:
        def echo(y_hat: Tensor) -> Tensor:
            lap("exact path")
            x = _input(base_picture(codec, y_hat, crop, work, halved=halved), codec)
            with repeatable(codec.device):
                seen: Tensor = codec.transform(x, tile, halved=halved)
            for beyond in (slice(rows, None), slice(None)), (slice(None), slice(columns, None)):
                seen[:, :, *beyond] = transformed[:, :, *beyond]  # what padding loses is no loss
            return seen

        corrected = codec.correct(latents, level, echo)
        lap("correction")
        return corrected

    return improve


def _refinement(codec: Codec, x: Tensor, work: int, after_step: AfterStep, *, halved: bool) -> Improve:
    """How the latents of ``x`` (1, 3, H, W) uint8 are refined in ``work`` bytes."""
    device = codec.device
    rows, columns = (-(-side // codec.stride) * codec.stride // codec.latent_stride for side in x.shape[2:])
    tile = transform_tile(codec, rows, columns, work // memory.BACKWARD, codec.synthesis_halo)

    def improve(latents: Any, level: int, lap: Lap) -> Any:
        with repeatable(device):
            refined = codec.refine(latents, x, level, tile, halved=halved, after_step=after_step)
        lap("refinement")
        return refined

    return improve


def _input(rgb: RGB, codec: Codec) -> Tensor:
    """A picture as ``transform`` takes it, (1, 3, H, W) uint8 with its padding."""
    return torch.from_numpy(pad(rgb, codec.stride)).permute(2, 0, 1)[None]


def analyse_image(
    rgb: RGB,
    found: Checkpoint,
    device: torch.device,
    limits: Limits,
    tau_hint: float | None,
    sections: Sequence[container.Section],
    effort: Effort,
    precision: Precision,
    after_step: AfterStep,
) -> AnalysedImage:
    """Run the analysis transform of a checkpoint over (H, W, 3) uint8 sRGB; the rest as in ``encode_image``."""
    check_effort(effort)
    halved = choose_dtype(precision, device) == torch.bfloat16
    codec = load_codec(found, device)
    if effort == "high" and codec.unsearchable:
        raise UsageError(codec.unsearchable)
    height, width = rgb.shape[:2]
    x = _input(rgb, codec)
    per_pixel = memory.widened(memory.encode_bytes(effort), codec.latent_channels)
    work = memory.work_memory(limits, width * height, per_pixel)
    rows, columns = (side // codec.latent_stride for side in x.shape[2:])
    tile = transform_tile(codec, rows, columns, work, codec.synthesis_halo)
    with repeatable(device):
        transformed = codec.transform(x, tile, halved=halved)
    hint = None if tau_hint is None else round(tau_hint * container.TAU_STEPS)
    improve: Improve = _leave
    if effort == "high":
        improve = _refinement(codec, x[:, :, :height, :width], work, after_step, halved=halved)
    elif effort == "medium" and not codec.unsearchable:
        improve = _correction(codec, transformed, Crop(0, 0, width, height), tile, work, halved=halved)
    return AnalysedImage(found, codec, transformed, width, height, hint, tuple(sections), tile, work, improve)


def encode_image(
    rgb: RGB,
    level: float | None = None,
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    tau_hint: float | None = None,
    sections: Sequence[container.Section] = (),
    effort: Effort = "medium",
    precision: Precision = "auto",
    after_step: AfterStep = lambda: None,
    base: Checkpoint | None = None,
    lap: Lap = unwatched,
) -> bytes:
    """Compress (H, W, 3) uint8 sRGB into the bytes of a .dlc file.

    ``level`` is real, from 0 (smallest) to the model's last; None takes the model's default.
    ``tau_hint`` in [0, 1] is the tau that decoders take unless they are told another; kept in steps of 1/254.
    ``sections`` follow the latents: what accompanies the picture, from ``sections.pack_extras``. ``effort`` says how
    latents are chosen (``codecs.correction``, ``codecs.refinement``); ``high`` calls ``after_step`` after each of
    ``refinement.STEPS`` steps. ``precision`` is that of analysis and of this choice. ``base`` are the weights, if not
    the installed ones of the default family; ``lap`` as in ``Lap``.
    Raises LimitError, UsageError, WeightsError.
    """
    if tau_hint is not None:
        check_tau(tau_hint)
    limits.check_size(*rgb.shape[1::-1])
    found = base or installed.find(checkpoints.DEFAULT_FAMILY)
    if level is None:
        level = found.config["default_level"]
    steps_of_level = quantise_level(level, found.levels)
    image = analyse_image(rgb, found, choose_device(device), limits, tau_hint, sections, effort, precision, after_step)
    lap("analysis")
    encoder = Encoder(image.codec.models)
    steps = image.coding_steps(steps_of_level, lap)
    _, digest = run_steps(steps, watched(code_known(encoder), lap))
    lap("exact path")
    return image.pack(steps_of_level, digest, encoder.finish())


def decode_images(
    file: container.Container,
    taus: Sequence[float],
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    steps: int | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    after_step: AfterStep = lambda: None,
    crop: Crop | None = None,
    base: Checkpoint | None = None,
    lap: Lap = unwatched,
) -> Iterator[RGB]:
    """Decompress an unpacked .dlc file once; yields one (H, W, 3) uint8 sRGB image a tau.

    ``tau`` in [0, 1]: 1 is the base codec bit for bit, 0 the most realistic. ``steps`` of the sampler, 1 to 50, None
    takes the model's default; ``seed`` chooses its noise; ``precision`` is that of fusion and synthesis, ``auto``
    always float32 at tau = 1; ``after_step`` is called after each step; ``crop`` gives its pixels alone, without the
    fusion and synthesis of the rest; ``base`` are the weights, if not those that are installed; ``lap`` as in ``Lap``.
    Nothing is decoded before the first image is asked for.
    Raises CorruptFileError, LimitError, UsageError, WeightsError or LatentMismatchError.
    """
    for tau in taus:
        check_tau(tau)
    check_sampling(steps, seed)
    header = file.header
    crop = crop or Crop(0, 0, header.width, header.height)
    crop.check(header.width, header.height)
    fused = any(tau != 1 for tau in taus)
    per_pixel = memory.DECODE_FUSED if fused else memory.DECODE
    memory.work_memory(limits, header.width * header.height, per_pixel)
    found = base or installed.find(header.family, header.model_digest)
    if (found.family, found.short_digest) != (header.family, header.model_digest):
        raise WeightsError(
            f"the file needs {header.family} weights {header.model_digest.hex()}, not those of {found.path}"
        )
    if header.level > (found.levels - 1) * LEVEL_STEPS:
        raise CorruptFileError(f"level {header.rate_level} is above the model's last")
    where = choose_device(device)
    fusion = load_fusion(found, where, precision) if fused else None
    codec = load_codec(found, where)
    pixels = header.width * header.height
    work = memory.work_memory(limits, pixels, memory.widened(per_pixel, codec.latent_channels))

    def halved(tau: float) -> bool:
        return choose_synthesis_dtype(precision, where, tau) == torch.bfloat16

    lap("weights")
    y_hat = codec.to_float(decode_latent(file, codec, lap), header.level)
    lap("exact path")
    if fusion is None:
        picture = base_picture(codec, y_hat, crop, work, halved=halved(1))
        lap("synthesis")
        del y_hat  # whoever asks for pictures may hold them while others write
        yield from (picture.copy() if left else picture for left in reversed(range(len(taus))))
        return
    stride, halo, reach = codec.latent_stride, codec.synthesis_halo, fusion.synthesis_reach
    near = {more: View.of(crop, y_hat, stride, halo + more, 1) for more in (0, reach)}
    far = View.of(crop, y_hat, stride, halo + reach + fusion.reach, fusion.window)
    noise = far.of_whole(torch.from_numpy(latent_noise(tuple(y_hat.shape), header.latent_digest, seed)))
    lap("noise")
    y_hat = far.of_whole(y_hat)
    level = header.rate_level / max(1, found.levels - 1)
    rows, columns = y_hat.shape[2:]
    tile = memory.choose_tile(rows, columns, fusion.bytes_per_latent, work=work, halo=fusion.halo, grid=fusion.window)
    latents = fusion.fuse(y_hat, level, noise, taus, steps or fusion.default_steps, after_step, tile)
    for tau in taus:
        with repeatable(where):
            changes = fusion.changes(tau, level)
            view = near[changes.reach]
            y = view.inside(far).of_whole(next(latents))
            lap("fusion")
            picture = paint(codec, y, view, crop, work, changes, halved=halved(tau))
            lap("synthesis")
        del y
        yield picture
        del picture


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

    Without ``tau`` the file's hint decides, or 0 where it has none. Otherwise as ``decode_images``; raises
    UnsupportedFileError too.
    """
    file = container.unpack(data, limits)
    if tau is None:
        tau = file.header.default_tau
    pictures = decode_images(
        file, (tau,), device, limits, steps=steps, seed=seed, precision=precision, crop=crop, base=base
    )
    return next(pictures)
