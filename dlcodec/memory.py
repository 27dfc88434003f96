"""How much memory a picture takes, and the size of the tiles that keep to a bound; known before torch is imported."""

from __future__ import annotations

from dlcodec.arguments import Effort
from dlcodec.errors import LimitError
from dlcodec.limits import Limits

_GIB = 2**30
BASE = 832 * 2**20
"""Bytes of the interpreter, torch and the weights, with torch's CUDA build; its CPU build takes half."""

_ENCODE: dict[Effort, int] = {"low": 43, "medium": 50, "high": 100}
DECODE = 30
DECODE_FUSED = 45
"""Bytes a pixel held beside the tiles at the worst moment: pixels, latents, the coder's arrays, D's feature maps."""

_LATENTS = 192
"""The channels of the latent with which these were measured."""

BACKWARD = 3
"""How many times the memory of a transform its gradient takes."""

DEFAULT_WORK = _GIB
"""Bytes for a tile when nobody bounds the memory."""

_LEAST_WORK = 128 * 2**20


def encode_bytes(effort: Effort) -> int:
    """Bytes a pixel that an encode of this effort holds beside the tiles."""
    return _ENCODE[effort]


def widened(per_pixel: int, latent_channels: int) -> int:
    """Bytes a pixel held beside the tiles by a codec with a wider latent than the one that was measured."""
    return per_pixel * max(latent_channels, _LATENTS) // _LATENTS


def work_memory(limits: Limits, pixels: int, per_pixel: int) -> int:
    """Bytes that a tile may take, for a picture of ``pixels`` with ``per_pixel`` bytes held beside the tiles.

    Raises LimitError where ``limits.memory`` leaves too little.
    """
    if limits.memory is None:
        return DEFAULT_WORK
    held = BASE + pixels * per_pixel
    if limits.memory < held + _LEAST_WORK:
        raise LimitError(
            f"{pixels / 1e6:.1f} megapixels need about {(held + _LEAST_WORK) / _GIB:.2f} GiB of memory; "
            f"the limit is {limits.memory / _GIB:.2f} GiB"
        )
    return limits.memory - held


def choose_tile(rows: int, columns: int, bytes_per_position: int, *, work: int, halo: int, grid: int) -> int | None:
    """The side of the largest square tile that with its halo fits ``work`` bytes; None where the whole does.

    ``rows`` x ``columns`` is the whole, in positions; the side is a multiple of ``grid``, and at least one ``grid``.
    """
    most = work // bytes_per_position
    if rows * columns <= most:
        return None
    side = int(most**0.5) - 2 * halo
    return max(grid, side // grid * grid)
