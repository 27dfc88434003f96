"""From a latent to the pixels of a picture or of a part of it, by tiles."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcodec import memory
from dlcodec.arguments import Crop
from dlcodec.changes import UNCHANGED, SynthesisChanges
from dlcodec.codecs.base import Codec
from dlcodec.errors import WeightsError
from dlcodec.picture import RGB
from dlcodec.tiles import Span, Then, run_by_tiles


def repeatable(device: torch.device) -> AbstractContextManager[None]:
    """On CUDA, convolutions in true float32 and the same at every run; a CPU needs nothing."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def transform_tile(
    codec: Codec, rows: int, columns: int, work: int, halo: int, changes: SynthesisChanges = UNCHANGED
) -> int | None:
    """The tile of the transforms for ``rows`` x ``columns`` latents in ``work`` bytes; None for the whole.

    ``halo`` is that of the layers that take the most memory.
    """
    grid = codec.stride // codec.latent_stride
    each = max(codec.bytes_per_latent, changes.bytes_per_latent)
    return memory.choose_tile(rows, columns, each, work=work, halo=halo, grid=grid)


@dataclass(frozen=True, slots=True)
class View:
    """Where a crop lies in the latent: its rows and columns, and as much around them as it depends on."""

    rows: Span
    columns: Span

    @classmethod
    def of(cls, crop: Crop, latent: Tensor, stride: int, halo: int, align: int) -> View:
        """The view of ``crop`` with ``halo`` latents around it, its edges at multiples of ``align``."""
        height, width = latent.shape[2:]
        bottom, right = -(-(crop.top + crop.height) // stride), -(-(crop.left + crop.width) // stride)
        return cls(
            Span.around(crop.top // stride, bottom, length=height, halo=halo, align=align),
            Span.around(crop.left // stride, right, length=width, halo=halo, align=align),
        )

    def of_whole(self, latent: Tensor) -> Tensor:
        """What the view sees of a whole latent (1, M, h, w)."""
        return latent[:, :, self.rows.seen, self.columns.seen]

    def inside(self, outer: View) -> View:
        """The same places, counted from the first row and column that ``outer`` sees."""
        return View(self.rows.shift(-outer.rows.first), self.columns.shift(-outer.columns.first))


def paint(
    codec: Codec, y: Tensor, view: View, crop: Crop, work: int, changes: SynthesisChanges, *, halved: bool = False
) -> RGB:
    """The pixels (height, width, 3) of a crop from ``y``, what ``view`` sees of the latent."""
    synthesis = codec.synthesis(changes, halved=halved)

    def draw(x: Tensor) -> Tensor:
        pixels = synthesis.last(x)
        if not pixels.isfinite().all():
            raise WeightsError("the weights give a picture that is not finite")
        return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)

    stride = codec.latent_stride
    tile = transform_tile(codec, y.shape[2], y.shape[3], work, synthesis.halo, changes)
    halo, then = codec.synthesis_halo + changes.reach, Then(draw, synthesis.halo, synthesis.ratio)
    pixels = run_by_tiles(synthesis.first, (y,), tile=tile, halo=halo, ratio=stride, then=then)
    top, left = crop.top - view.rows.first * stride, crop.left - view.columns.first * stride
    pixels = pixels[0, :, top : top + crop.height, left : left + crop.width]
    return pixels.permute(1, 2, 0).contiguous().cpu().numpy()


def base_picture(codec: Codec, y_hat: Tensor, crop: Crop, work: int, *, halved: bool = False) -> RGB:
    """The pixels (height, width, 3) uint8 of a crop at tau = 1, of the whole latent ``y_hat`` (1, M, h, w) float32."""
    near = View.of(crop, y_hat, codec.latent_stride, codec.synthesis_halo, 1)
    with repeatable(y_hat.device):
        return paint(codec, near.of_whole(y_hat), near, crop, work, UNCHANGED, halved=halved)
