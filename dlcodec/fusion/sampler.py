"""DDIM sampling towards a latent between fidelity and realism: the paper's equations as pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor


def predicted_noise(y_t: Tensor, clean: Tensor, alpha: float) -> Tensor:
    """``eps = (y_t - sqrt(alpha_t) D) / sqrt(1 - alpha_t)``: the noise that ``D`` implies (the line above eq. 3).

    ``y_t`` and ``clean`` are (1, M, h, w) float32 and so is the result; ``alpha`` is below 1.
    """
    return (y_t - math.sqrt(alpha) * clean) / math.sqrt(1 - alpha)


def fused_step(clean: Tensor, noise: Tensor, y_hat: Tensor, alpha_before: float, tau: float) -> Tensor:
    """Eq. (4): eq. (3), the step of DDIM (Song et al. 2021, eta = 0), with the decoded latent mixed in.

    ``y_{t-1} = sqrt(alpha_{t-1}) [(1 - tau^2) D + tau^2 y_hat] + (1 - tau^2) sqrt(1 - alpha_{t-1}) eps``.
    At ``tau`` = 0 it is eq. (3); at ``tau`` = 1 and ``alpha_before`` = 1 it returns ``y_hat``. Tensors are
    (1, M, h, w) float32, ``tau`` is in [0, 1] and ``alpha_before`` in (0, 1].
    """
    share = tau * tau
    mixed = (1 - share) * clean + share * y_hat
    if alpha_before == 1:  # the last step: no noise is left
        return mixed
    return math.sqrt(alpha_before) * mixed + (1 - share) * math.sqrt(1 - alpha_before) * noise


def sample(
    denoise: Callable[[Tensor, float], Tensor],
    y_hat: Tensor,
    noise: Tensor,
    alphas: Sequence[float],
    tau: float,
    after_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Run eq. (4) from ``y_T`` = ``noise`` down to ``y_0``.

    ``denoise(y_t, t/T)`` predicts the clean transformed latent; all tensors are (1, M, h, w) float32, ``y_hat``
    standardised; ``alphas`` are alpha_0 = 1 .. alpha_T, ``tau`` is in [0, 1]. ``after_step`` is called T times.
    """
    steps = len(alphas) - 1
    y = noise
    for t in range(steps, 0, -1):
        clean = denoise(y, t / steps)
        y = fused_step(clean, predicted_noise(y, clean, alphas[t]), y_hat, alphas[t - 1], tau)
        after_step()
    return y
