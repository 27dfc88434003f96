"""Equations (3) and (4) of the paper against a plain recomputation in double precision."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcodec.fusion.sampler import fused_step, predicted_noise, sample
from dlcodec.fusion.schedule import CosineSchedule, schedule_from

SCHEDULE = CosineSchedule(offset=0.008, minimum=1e-4)
TAUS = (0.0, 0.3, 0.5, 0.8, 1.0)


def latent(seed: int) -> Tensor:
    return torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def denoise(y: Tensor, s: float) -> Tensor:
    """Some function of both arguments."""
    return torch.tanh(0.7 * y) + s


def test_the_schedule_falls_from_one_to_its_minimum() -> None:
    alphas = SCHEDULE.alphas(10)
    assert len(alphas) == 11
    assert alphas[0] == 1
    assert alphas[-1] == 1e-4
    assert all(a > b for a, b in itertools.pairwise(alphas))
    angle = (0.5 + 0.008) / 1.008 * math.pi / 2
    assert alphas[5] == pytest.approx(math.cos(angle) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2)


def test_training_and_sampling_see_one_schedule() -> None:
    s = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    assert torch.allclose(SCHEDULE.alpha_of(s), torch.tensor([SCHEDULE.alpha(x) for x in s.tolist()]).double())


@pytest.mark.parametrize(
    "change", [{"kind": "linear"}, {"minimum": 0}, {"minimum": 1}, {"offset": -1}, {"offset": "a"}]
)
def test_a_schedule_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        schedule_from({"kind": "cosine", "offset": 0.008, "minimum": 1e-4, **change})


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_sampling_is_equation_4_number_by_number(tau: float, steps: int) -> None:
    y_hat, noise = latent(1), latent(2)
    got = sample(denoise, y_hat, noise, SCHEDULE.alphas(steps), tau).numpy().ravel()
    for place in range(got.size):
        y, base = float(noise.view(-1)[place]), float(y_hat.view(-1)[place])
        for t in range(steps, 0, -1):
            a, before = SCHEDULE.alpha(t / steps), SCHEDULE.alpha((t - 1) / steps)
            d = math.tanh(0.7 * y) + t / steps
            eps = (y - math.sqrt(a) * d) / math.sqrt(1 - a)
            y = math.sqrt(before) * ((1 - tau**2) * d + tau**2 * base) + (1 - tau**2) * math.sqrt(1 - before) * eps
        assert got[place] == pytest.approx(y, rel=1e-11, abs=1e-11)


def test_at_tau_0_equation_4_is_equation_3() -> None:
    clean, noise = latent(3), latent(4)
    assert torch.equal(fused_step(clean, noise, latent(5), 0.4, 0.0), math.sqrt(0.4) * clean + math.sqrt(0.6) * noise)


def test_at_tau_1_the_last_step_returns_the_decoded_latent() -> None:
    y_hat = latent(6)
    assert torch.equal(sample(denoise, y_hat, latent(7), SCHEDULE.alphas(10), 1.0), y_hat)


def test_the_predicted_noise_undoes_the_noising() -> None:
    clean, noise, alpha = latent(8), latent(9), 0.3
    y_t = math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * noise
    assert torch.allclose(predicted_noise(y_t, clean, alpha), noise, atol=1e-12)


def test_a_perfect_denoiser_is_reached_in_any_number_of_steps() -> None:
    target, y_hat, tau = latent(10), latent(11), 0.5
    for steps in (1, 3, 10):
        y = sample(lambda y, s: target, y_hat, latent(12), SCHEDULE.alphas(steps), tau)
        assert torch.allclose(y, 0.75 * target + 0.25 * y_hat, atol=1e-12)


def test_steps_are_counted() -> None:
    times: list[float] = []
    count = []

    def spy(y: Tensor, s: float) -> Tensor:
        times.append(s)
        return y

    sample(spy, latent(0), latent(1), SCHEDULE.alphas(4), 0.0, lambda: count.append(1))
    assert times == [1.0, 0.75, 0.5, 0.25]
    assert len(count) == 4


def test_a_larger_tau_lies_closer_to_the_decoded_latent() -> None:
    y_hat, noise = latent(13), latent(14)
    distances = [
        float((sample(denoise, y_hat, noise, SCHEDULE.alphas(10), tau) - y_hat).norm()) for tau in np.linspace(0, 1, 11)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0 < distances[-2]
