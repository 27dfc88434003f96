"""Encode to a target: one analysis transform, then the level whose file or picture meets the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcodec import checkpoint as checkpoints
from dlcodec import installed
from dlcodec.arguments import LEVEL_STEPS, Crop, Device, Effort, Precision, check_tau
from dlcodec.codecs.base import Integers
from dlcodec.coding import code_known, run_steps
from dlcodec.container import SECTION_GREY, Section
from dlcodec.entropy.coder import Encoder
from dlcodec.entropy.length import CodeLength
from dlcodec.errors import UsageError
from dlcodec.forecast import forecast_level
from dlcodec.fusion.fuse import choose_dtype
from dlcodec.image import psnr
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.loading import choose_device
from dlcodec.painting import base_picture
from dlcodec.picture import RGB, Picture, to_luma
from dlcodec.pipeline import AfterStep, AnalysedImage, analyse_image, encode_image
from dlcodec.sections import pack_extras
from dlcodec.targets import Target, search_level
from dlcodec.thumbnail import pack_thumbnail

SHARE = 0.99
"""A file is as large as its target allows when it has this share of it."""
PSNR_ABOVE = -10 * math.log10(SHARE)
"""A picture is as good as its target asks when its error has this share, .044 dB, of what the target allows."""
_WORD = 4
"""Files grow by whole words: the most that a small one may stay below its target, less a byte."""
_NEAR = 0.02
_NEAR_BYTES = 64
"""An estimate this close to the target, as a share or in bytes, is replaced by the real size."""
_SIZE_SLOPE = 0.35
_PSNR_SLOPE = 1.4
"""By how much the logarithm of the size and the PSNR in dB rise a level: first guesses; better ones save a probe."""
_EXACT_PSNR = 100.0
"""In dB, for a picture that comes back without any error, whose PSNR has no bound."""


@dataclass(slots=True)
class _Draft:
    """An image coded at one level up to the bytes: a coder that keeps what it takes."""

    image: AnalysedImage
    level: int
    taken: list[tuple[Integers, Integers]] = field(default_factory=list)
    digest: int = 0

    def encode(self, symbols: Integers, index: Integers) -> None:
        self.taken.append((symbols, index))

    def estimate(self) -> int:
        """The expected bytes of the file."""
        length = CodeLength(self.image.codec.models.tables)
        for symbols, index in self.taken:
            length.encode(symbols, index)
        return len(self.image.pack(self.level, self.digest, bytes(length.payload_bytes)))

    def file(self) -> bytes:
        """The file."""
        encoder = Encoder(self.image.codec.models)
        for symbols, index in self.taken:
            encoder.encode(symbols, index)
        return self.image.pack(self.level, self.digest, encoder.finish())


class _Search:
    """Measures an image at levels in steps of 1/256; ``files`` has those that were made on the way.

    The last draft is kept, since the level that ends a search is written as a file next.
    """

    def __init__(self, image: AnalysedImage, rgb: RGB, goal: float) -> None:
        self._image, self._goal = image, goal
        self._grey = any(section.type == SECTION_GREY for section in image.sections)
        self._original = self._shown(rgb)
        self.files: dict[int, bytes] = {}
        self._psnrs: dict[int, float] = {}
        self._last: tuple[_Draft, Integers] | None = None

    def _draft(self, level: int) -> tuple[_Draft, Integers]:
        if self._last is None or self._last[0].level != level:
            self._last = None
            draft = _Draft(self._image, level)
            latent, draft.digest = run_steps(self._image.coding_steps(level), code_known(draft))
            self._last = draft, latent
        return self._last

    def _shown(self, rgb: RGB) -> npt.NDArray[np.uint8]:
        """What is written of such pixels: of a grey picture, their luma."""
        return to_luma(rgb) if self._grey else rgb

    def file(self, level: int) -> bytes:
        """The file at ``level``."""
        if level not in self.files:
            self.files[level] = self._draft(level)[0].file()
        return self.files[level]

    def log_size(self, level: int) -> float:
        """The logarithm of the file's bytes: real near the goal, estimated elsewhere."""
        draft, _ = self._draft(level)
        size = draft.estimate()
        if abs(size - self._goal) <= _NEAR * self._goal + _NEAR_BYTES:
            self.files[level] = draft.file()
            size = len(self.files[level])
        return math.log(size)

    def psnr(self, level: int) -> float:
        """The PSNR of the picture that a decoder shows at tau 1, in dB."""
        if level not in self._psnrs:
            self._psnrs[level] = self.psnr_of(self.coded(level), Crop(0, 0, self._image.width, self._image.height))
        return self._psnrs[level]

    def coded(self, level: int) -> Tensor:
        """The latent y_hat that a decoder has."""
        return self._image.codec.to_float(self._draft(level)[1], level)

    def psnr_of(self, y_hat: Tensor, crop: Crop, *, halved: bool = False) -> float:
        """The PSNR of a crop of the picture that the latent ``y_hat`` gives at tau 1, in dB."""
        picture = base_picture(self._image.codec, y_hat, crop, self._image.work, halved=halved)
        original = self._original[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        return min(psnr(original, self._shown(picture)), _EXACT_PSNR)


def encode_picture(
    picture: Picture,
    level: float | None,
    target: Target | None,
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    tau_hint: float | None = None,
    strict: bool = False,
    thumbnail: int | None = None,
    effort: Effort = "medium",
    precision: Precision = "auto",
    after_step: AfterStep = lambda: None,
    base: checkpoints.Checkpoint | None = None,
) -> tuple[bytes, str | None]:
    """Compress a picture with all that belongs to it; the bytes of a .dlc file, and why they miss ``target``, if so.

    ``target`` or None, then ``level``, None for the model's default. ``thumbnail`` is the longer side of a small copy
    in the file, checked before. The rest, and what is raised, as for ``encode_to_target`` and ``encode_image``.
    """
    sections = pack_extras(picture.extras)
    if thumbnail is not None:
        sections += (pack_thumbnail(picture, thumbnail),)
    given: dict[str, Any] = {"tau_hint": tau_hint, "sections": sections, "effort": effort}
    given |= {"precision": precision, "after_step": after_step, "base": base}
    if target is None:
        return encode_image(picture.rgb, level, device, limits, **given), None
    return encode_to_target(picture.rgb, target, device, limits, strict=strict, **given)


def encode_to_target(
    rgb: RGB,
    target: Target,
    device: Device = "auto",
    limits: Limits = DEFAULT_LIMITS,
    *,
    tau_hint: float | None = None,
    strict: bool = False,
    sections: Sequence[Section] = (),
    effort: Effort = "medium",
    precision: Precision = "auto",
    after_step: AfterStep = lambda: None,
    base: checkpoints.Checkpoint | None = None,
) -> tuple[bytes, str | None]:
    """Compress (H, W, 3) uint8 sRGB to a size or rate, never above it, or to a PSNR at tau 1, never below it.

    Gives the bytes of a .dlc file, and why they miss their target, if they do. A size lies within 1 % below its target,
    or one 32-bit word, wherever neighbouring levels, 1/256 apart, are that close; likewise a mean squared error within
    1 % below what a PSNR stands for, which is 0.044 dB above it. Where the target lies outside the model's range for
    this picture, the nearest end of the range is taken; with ``strict`` that raises UsageError, since the target is an
    argument out of its range. (LimitError says that a picture is more than dlcodec works on.)
    The same picture and target give the same bytes. ``effort`` and ``after_step`` are as in ``encode_image``, at each
    level that is tried, and so is ``precision``. ``base`` are the weights, if not those that are installed; of one
    level alone they meet no target. Raises LimitError, UsageError, WeightsError.
    """
    if tau_hint is not None:
        check_tau(tau_hint)
    height, width = rgb.shape[:2]
    limits.check_size(width, height)
    found = base or installed.find(checkpoints.DEFAULT_FAMILY)
    if found.levels == 1:
        raise UsageError("a target needs weights of several rate levels; these have one")
    image = analyse_image(rgb, found, choose_device(device), limits, tau_hint, sections, effort, precision, after_step)
    last = (found.levels - 1) * LEVEL_STEPS
    if target.unit == "dB":
        search = _Search(image, rgb, target.value)
        low, high, slope = target.value, target.value + PSNR_ABOVE, _PSNR_SLOPE / LEVEL_STEPS
        quick = partial(search.psnr_of, halved=choose_dtype(precision, image.codec.device) == torch.bfloat16)
        start, slope = forecast_level(image, quick, search.coded, low, high, last, slope)
        below, above = search_level(search.psnr, low, high, last, slope, start)
        level = last if above is None else above
    else:
        goal = max(_WORD, target.most_bytes(width * height))
        search = _Search(image, rgb, goal)
        low = min(SHARE * goal, goal - _WORD + 1)
        below, above = search_level(search.log_size, math.log(low), math.log(goal), last, _SIZE_SLOPE / LEVEL_STEPS)
        level = 0 if below is None else below
    missed = None if below is not None and above is not None else _missed(target, image, search, level)
    if missed and strict:
        raise UsageError(missed)
    return search.file(level), missed


def _missed(target: Target, image: AnalysedImage, search: _Search, level: int) -> str:
    """The sentence about a target beyond the end of the range that ``level`` is."""
    if target.unit == "dB":
        gives = f"{search.psnr(level):.2f} dB"
    else:
        size = len(search.file(level))
        gives = f"{size} bytes" if target.unit == "bytes" else f"{8 * size / (image.width * image.height):.3f} bpp"
    end = "smallest" if level == 0 else "best"
    return (
        f"the target {target} is out of reach for this picture: level {level / LEVEL_STEPS:g}, the {end}, gives {gives}"
    )
