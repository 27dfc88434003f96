"""Gaussian noise from a counter-based generator: the same on every device, for every tau and number of steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GRID = 2.0**12


def latent_noise(shape: tuple[int, ...], latent_digest: int, seed: int) -> npt.NDArray[np.float32]:
    """Standard normal float32 of ``shape``, keyed by a file's latent digest (32 bits) and ``seed`` (64 bits).

    Philox 4x64-10 (Salmon et al. 2011), whose raw output NumPy guarantees, then Box-Muller in float64 on the CPU.
    Values are rounded to multiples of 1/4096, so that the last bit of a libm's logarithm or cosine cannot show.
    """
    count = int(np.prod(shape))
    pairs = -(-count // 2)
    bits = np.random.Philox(key=np.array([seed, latent_digest], dtype=np.uint64)).random_raw(2 * pairs)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2 * np.log(uniform[:pairs]))
    angle = 2 * np.pi * uniform[pairs:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return (np.rint(normal * _GRID) / _GRID).astype(np.float32).reshape(shape)
