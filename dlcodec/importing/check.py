"""A converted network held against the original in CompressAI, on the bundled photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dlcodec.codecs.base import Codec
from dlcodec.coding import code_known, run_steps
from dlcodec.entropy.coder import Encoder
from dlcodec.errors import DlcodecError, WeightsError
from dlcodec.image import load, psnr
from dlcodec.importing.conversion import Converted
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import RGB
from dlcodec.samples import COFFEE

_SIDE = 384
"""Pixels; a multiple of every stride."""
_MOST_LOSS = 0.05
_MOST_GROWTH = 1.02
_MOST_BYTES = 128


@dataclass(frozen=True, slots=True)
class Coded:
    """The bytes of a picture's latents and its PSNR in dB, at tau 1."""

    bytes: int
    psnr: float

    def __str__(self) -> str:
        return f"{self.bytes} bytes and {self.psnr:.2f} dB"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The middle of the bundled photograph, coded here and in CompressAI, whose likelihoods promise its bytes."""

    ours: Coded
    theirs: Coded


def _sample() -> RGB:
    picture = load(COFFEE, DEFAULT_LIMITS)
    top, left = ((side - _SIDE) // 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + _SIDE, left : left + _SIDE])


def _picture(x_hat: torch.Tensor) -> RGB:
    pixels: RGB = (x_hat[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


@torch.inference_mode()
def compare(codec: Codec, converted: Converted) -> Comparison:
    """Code the photograph with both, at level 0.

    Raises WeightsError when the codec does not reconstruct what the original does, or takes more bytes for it.
    """
    rgb = _sample()
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    encoder = Encoder(codec.models)
    try:
        steps = codec.coding_steps(_SIDE, _SIDE, 0, codec.latents(codec.transform(x), 0))
        latent, _ = run_steps(steps, code_known(encoder))
    except DlcodecError as error:
        raise WeightsError(f"it cannot code a photograph: {error}") from error
    y_hat = codec.to_float(latent, 0)
    ours = _picture(codec.synthesis()(y_hat))
    outcome = converted.reconstruct(x, y_hat)
    theirs = _picture(outcome.x_hat)
    bits = sum(-likelihood.double().log2().sum().item() for likelihood in outcome.likelihoods)
    found = Comparison(
        Coded(len(encoder.finish()), round(psnr(rgb, ours), 3)),
        Coded(round(bits / 8), round(psnr(rgb, theirs), 3)),
    )
    alike = abs(found.ours.psnr - found.theirs.psnr) <= _MOST_LOSS
    if not (alike and found.ours.bytes <= _MOST_GROWTH * found.theirs.bytes + _MOST_BYTES):
        raise WeightsError(f"a photograph takes {found.ours} here, but {found.theirs} in CompressAI")
    return found
