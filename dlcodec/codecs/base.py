"""What every base codec offers the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dlcodec.changes import UNCHANGED, SynthesisChanges
from dlcodec.entropy.coder import Models
from dlcodec.entropy.tables import Integers as Integers  # for whoever takes or gives coding steps


@dataclass(frozen=True, slots=True)
class CodingStep:
    """What is coded next: the table of each symbol, and the symbols where they are known (when encoding).

    ``index`` and ``symbols`` are int32 of one shape; whoever yields them leaves them as they are.
    """

    index: Integers
    symbols: Integers | None


CodingSteps = Generator[CodingStep, Integers, Integers]
"""Yields steps, is sent each step's symbols, returns the latent in fixed point: int32, codec-defined shape."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """The transform from y_hat (1, M, h, w) float32 to the image (1, 3, H, W) float32, nominally in [0, 1].

    It has two parts, so that tiles need not take the halo of the first through the second: ``last`` makes the image of
    what ``first`` gives, which has ``ratio`` positions a side for each latent, and sees ``halo`` latents far.
    """

    first: Callable[[Tensor], Tensor]
    last: Callable[[Tensor], Tensor]
    ratio: int
    halo: int

    def __call__(self, y_hat: Tensor) -> Tensor:
        """The image, all at once."""
        return self.last(self.first(y_hat))


class Codec(Protocol):
    """A base codec with its weights, on one device."""

    @property
    def device(self) -> torch.device:
        """Where its networks are."""

    @property
    def family(self) -> str:
        """Its name in the registry."""

    @property
    def models(self) -> Models:
        """The tables of all its coding steps."""

    @property
    def stride(self) -> int:
        """Sides are padded to a multiple of this many pixels."""

    @property
    def levels(self) -> int:
        """Rate levels run from 0 to ``levels - 1``."""

    @property
    def latent_stride(self) -> int:
        """Pixels a side of one position of the latent."""

    @property
    def synthesis_halo(self) -> int:
        """A pixel of ``synthesise`` depends on latents at most this many positions from its own."""

    @property
    def latent_channels(self) -> int:
        """Of the latent that ``synthesise`` takes."""

    @property
    def bytes_per_latent(self) -> int:
        """About how much memory ``transform`` and ``synthesise`` take for each position of the latent."""

    def transform(self, x: Tensor, tile: int | None = None, *, halved: bool = False) -> Any:
        """What the analysis of ``x`` computes before the level matters, in a form of its own.

        ``x`` is (1, 3, H, W), its sides multiples of ``stride``; floating point in [0, 1], or uint8 in [0, 255] and
        then divided tile by tile. ``tile`` is the side of a tile in latents, a multiple of
        ``stride / latent_stride``; None takes the whole at once. ``halved`` lets it run in bfloat16.
        """

    def latents(self, transformed: Any, level: int, tile: int | None = None) -> Any:
        """The latents of what ``transform`` gave at a level in steps of 1/256, in a form of its own.

        Raises WeightsError where they are not finite.
        """

    @property
    def unsearchable(self) -> str | None:
        """Why ``correct`` and ``refine`` cannot work, or None where they can."""

    def correct(self, latents: Any, level: int, echo: Callable[[Tensor], Tensor]) -> Any:
        """What ``latents`` gave, some symbols moved by one so that rate and squared error at tau = 1 are smaller.

        ``echo`` takes y_hat, as ``to_float`` has it, to what ``transform`` gives of the picture that it decodes to.
        """

    def refine(
        self,
        latents: Any,
        x: Tensor,
        level: int,
        tile: int | None = None,
        *,
        halved: bool = False,
        after_step: Callable[[], None] = lambda: None,
    ) -> Any:
        """What ``latents`` gave, changed so that rate and squared error at tau = 1 together are smaller.

        ``x`` is (1, 3, H, W) uint8 without padding; ``tile`` is in latents; ``halved`` lets gradients be computed in
        bfloat16; ``after_step`` is called ``refinement.STEPS`` times. Raises WeightsError where the gradient is not
        finite.
        """

    def coding_steps(self, height: int, width: int, level: int, latents: Any | None) -> CodingSteps:
        """The steps that code an image of padded size ``height`` x ``width``; without ``latents`` they decode.

        ``level`` is in steps of 1/256.
        """

    def to_float(self, latent: Integers, level: int) -> Tensor:
        """The latent that ``coding_steps`` returned as ``synthesise`` takes it: y_hat, (1, M, h, w) float32."""

    def rounded(self, transformed: Any, level: int) -> tuple[Tensor, Tensor]:
        """About the y_hat that coding what ``transform`` gave results in, and what rounding took from it, of one shape.

        It takes hardly any time: symbols are rounded around means of their neighbourhood instead of predicted ones.
        Raises WeightsError where they are not finite.
        """

    def synthesis(self, changes: SynthesisChanges = UNCHANGED, *, halved: bool = False) -> Synthesis:
        """The transform from y_hat to the image.

        Raises WeightsError where ``changes`` do not fit. ``halved`` lets it run in bfloat16.
        """
