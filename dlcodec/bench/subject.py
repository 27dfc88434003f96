"""What is measured: a picture, a codec, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dlcodec import installed
from dlcodec.arguments import Device, Precision, check_level, check_sampling, check_tau
from dlcodec.checkpoint import Checkpoint
from dlcodec.errors import UsageError
from dlcodec.fusion.fuse import choose_dtype, choose_synthesis_dtype
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import choose_device
from dlcodec.picture import RGB
from dlcodec.pipeline import decode_image, encode_image
from dlcodec.samples import COFFEE

SIZES = {"kodak": (768, 512), "1080p": (1920, 1080), "4k": (3840, 2160)}


@dataclass(frozen=True, slots=True)
class Subject:
    """``rgb`` (H, W, 3) uint8 sRGB, coded by ``found`` at ``level`` and decoded at ``tau`` in ``steps``."""

    name: str
    rgb: RGB
    found: Checkpoint
    level: float
    tau: float
    steps: int
    device: Device
    precision: Precision

    def where(self) -> torch.device:
        """The device of all networks."""
        return choose_device(self.device)

    def number_type(self) -> str:
        """The name of the number type of the synthesis, and below tau = 1 of D."""
        return str(choose_synthesis_dtype(self.precision, self.where(), self.tau)).removeprefix("torch.")

    def encoding_type(self) -> str:
        """The name of the number type of the analysis."""
        return str(choose_dtype(self.precision, self.where())).removeprefix("torch.")

    def encode(self) -> bytes:
        """The bytes of its .dlc file."""
        return encode_image(self.rgb, self.level, self.device, precision=self.precision, base=self.found)

    def decode(self, data: bytes) -> RGB:
        """The pixels of such a file at ``tau``."""
        return decode_image(data, self.tau, self.device, steps=self.steps, precision=self.precision, base=self.found)


def parse_size(text: str) -> tuple[int, int]:
    """``kodak``, ``1080p``, ``4k`` or WIDTHxHEIGHT as width and height in pixels; raises UsageError, LimitError."""
    if text in SIZES:
        return SIZES[text]
    try:
        width, height = (int(side) for side in text.split("x"))
    except ValueError:
        raise UsageError(f"the size {text!r} is none of {', '.join(SIZES)} and not WIDTHxHEIGHT") from None
    if min(width, height) < 1:
        raise UsageError(f"the size {text!r} has no pixels")
    DEFAULT_LIMITS.check_size(width, height)
    return width, height


def fill(rgb: RGB, width: int, height: int) -> RGB:
    """A picture of ``width`` x ``height`` pixels from the upper left of ``rgb``, repeated in mirror images."""
    rgb = rgb[:height, :width]
    rest = ((0, height - rgb.shape[0]), (0, width - rgb.shape[1]), (0, 0))
    return np.ascontiguousarray(np.pad(rgb, rest, mode="symmetric"))


def choose_subject(
    found: Checkpoint,
    picture: Path | None,
    size: str | None,
    *,
    level: float | None,
    tau: float,
    steps: int | None,
    device: Device,
    precision: Precision,
) -> Subject:
    """What ``found`` is measured with: a picture or the bundled one, at ``size``, or its own; without both 768 x 512.

    Without ``level`` and ``steps`` the model's defaults. Raises InputError, LimitError, UsageError, WeightsError.
    """
    check_tau(tau)
    check_sampling(steps, 0)
    target = parse_size(size or "kodak")
    chosen: float = found.config["default_level"] if level is None else level
    check_level(chosen, found.levels)
    steps = steps or (1 if tau == 1 else int(installed.find_fusion(found).config["steps"]))
    choose_device(device)
    rgb = load(picture or COFFEE, DEFAULT_LIMITS)
    if size or picture is None:
        rgb = fill(rgb, *target)
    return Subject((picture or COFFEE).name, rgb, found, chosen, tau, steps, device, precision)
