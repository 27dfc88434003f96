"""Local operations run tile by tile: the result of the whole, in the memory of a tile.

An operation is local when an output depends only on inputs at most ``halo`` positions away. A tile is given that much
of its real neighbours, and what comes out beyond the tile itself is thrown away. Where a tile touches the picture's
border it ends there, so that the operation pads it exactly as it pads the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """One tile on one axis: positions ``start`` to ``stop`` are its own, ``first`` to ``last`` what it must see."""

    start: int
    stop: int
    first: int
    last: int

    @classmethod
    def around(cls, start: int, stop: int, *, length: int, halo: int, align: int = 1) -> Span:
        """The span of ``start`` to ``stop`` on an axis of ``length`` positions.

        ``first`` is a multiple of ``align``; so is ``last``, unless it is the end of the axis.
        """
        first = max(0, start - halo) // align * align
        last = min(length, -(-(stop + halo) // align) * align)
        return cls(start, stop, first, last)

    def shift(self, by: int) -> Span:
        """The same span, counted from elsewhere."""
        return Span(self.start + by, self.stop + by, self.first + by, self.last + by)

    @property
    def seen(self) -> slice:
        """What the tile sees, as a slice of the axis."""
        return slice(self.first, self.last)

    def own(self, ratio: float = 1) -> slice:
        """Where the tile itself lies in what came out of ``seen``, at ``ratio`` outputs an input."""
        return slice(int((self.start - self.first) * ratio), int((self.stop - self.first) * ratio))

    def inside(self, outer: Span, ratio: int) -> slice:
        """Where ``seen`` lies in what came out of all that ``outer`` sees, at ``ratio`` outputs an input."""
        return slice((self.first - outer.first) * ratio, (self.last - outer.first) * ratio)

    def target(self, ratio: float = 1) -> slice:
        """Where the tile lies in the output of the whole axis."""
        return slice(int(self.start * ratio), int(self.stop * ratio))


def spans(length: int, tile: int, halo: int, align: int = 1) -> Iterator[Span]:
    """Cut an axis into equal tiles of at most ``tile`` positions, at multiples of ``align``; no tile is tiny."""
    count = math.ceil(length / max(tile // align * align, align))
    size = math.ceil(length / count / align) * align
    for start in range(0, length, size):
        yield Span.around(start, min(start + size, length), length=length, halo=halo)


@dataclass(frozen=True, slots=True)
class Then:
    """What follows a local operation that gives ``ratio`` outputs an input, and reaches less far by itself.

    It depends on nothing but inputs of the first operation that are at most ``halo`` positions away.
    """

    function: Callable[[Tensor], Tensor]
    halo: int
    ratio: int


def run_by_tiles(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    tile: int | None,
    halo: int,
    align: int = 1,
    ratio: float = 1,
    then: Then | None = None,
) -> Tensor:
    """``function(*inputs)``, in tiles of at most ``tile`` x ``tile`` input positions; None takes the whole at once.

    ``inputs`` are (B, C, h, w) of one h and w; the result is (B, C', ratio h, ratio w). ``align`` is the grid that
    tiles must keep to: the side of a window, or the stride of an operation that divides the resolution; ``halo`` is
    then a multiple of that stride. ``ratio`` is a power of two, below 1 where the resolution is divided. ``then`` makes
    the result of what ``function`` gives, ``halo`` and ``ratio`` are those of both; each tile is cut between them.
    """
    height, width = inputs[0].shape[2:]
    if tile is None or (height <= tile and width <= tile):
        return then.function(function(*inputs)) if then else function(*inputs)
    whole: Tensor | None = None
    for rows, columns in product(spans(height, tile, halo, align), spans(width, tile, halo, align)):
        part = function(*(x[:, :, rows.seen, columns.seen] for x in inputs))
        if then:
            near = Span.around(rows.start, rows.stop, length=height, halo=then.halo)
            beside = Span.around(columns.start, columns.stop, length=width, halo=then.halo)
            part = then.function(part[:, :, near.inside(rows, then.ratio), beside.inside(columns, then.ratio)])
            rows, columns = near, beside
        if whole is None:
            shape = (*part.shape[:2], int(height * ratio), int(width * ratio))
            memory = torch.contiguous_format if part.is_contiguous() else torch.channels_last
            whole = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=memory)
        target = whole[:, :, rows.target(ratio), columns.target(ratio)]
        target.copy_(part[:, :, rows.own(ratio), columns.own(ratio)])
    assert whole is not None
    return whole
