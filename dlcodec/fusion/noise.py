"""Gaussian noise from a counter-based generator: the same on every device, for every tau and number of steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GRID = 2.0**12
_BLOCK = 2**18
_PER_COUNT = 4  # numbers for each step of Philox's counter


def latent_noise(shape: tuple[int, ...], latent_digest: int, seed: int) -> npt.NDArray[np.float32]:
    """Standard normal float32 of ``shape``, keyed by a file's latent digest (32 bits) and ``seed`` (64 bits).

    Philox 4x64-10 (Salmon et al. 2011), whose raw output NumPy guarantees, then Box-Muller in float64 on the CPU.
    Values are rounded to multiples of 1/4096, so that the last bit of a libm's logarithm or cosine cannot show.
    """
    count = int(np.prod(shape))
    pairs = -(-count // 2)
    normal = np.empty(2 * pairs, dtype=np.float32)
    radii, angles = (np.random.Philox(key=np.array([seed, latent_digest], dtype=np.uint64)) for _ in range(2))
    angles.advance(pairs // _PER_COUNT)
    angles.random_raw(pairs % _PER_COUNT, output=False)
    for start in range(0, pairs, _BLOCK):  # in float64 it would take ten times the memory of the result
        stop = min(start + _BLOCK, pairs)
        radius = np.sqrt(-2 * np.log(_uniform(radii, stop - start)))
        angle = 2 * np.pi * _uniform(angles, stop - start)
        for first, part in ((0, np.cos(angle)), (pairs, np.sin(angle))):
            normal[first + start : first + stop] = np.rint(radius * part * _GRID) / _GRID
    return normal[:count].reshape(shape)


def _uniform(bits: np.random.Philox, count: int) -> npt.NDArray[np.float64]:
    """``count`` float64 in (0, 1)."""
    return ((bits.random_raw(count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
