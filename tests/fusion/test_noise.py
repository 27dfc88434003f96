from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from dlcodec.fusion.noise import latent_noise

FIRST = [0.926025390625, 1.69091796875, -0.0849609375, 0.188720703125]
DIGEST = "b682dd3a85c73f07e5e534bc9e1ff2628970d666a38ce27f9f8769043a092580"


def test_the_noise_of_a_digest_and_seed_never_changes() -> None:
    """A digest over bytes made once: any machine, NumPy or libm that differs is found here."""
    noise = latent_noise((1, 192, 32, 48), 0xDEADBEEF, 7)
    assert noise.dtype == np.float32
    assert noise.ravel()[:4].tolist() == FIRST
    assert hashlib.sha256(noise.astype("<f4").tobytes()).hexdigest() == DIGEST


def test_the_noise_is_standard_normal() -> None:
    noise = latent_noise((1000, 1000), 1, 2).astype(np.float64)
    assert abs(noise.mean()) < 0.004
    assert abs(noise.std() - 1) < 0.003
    for edge in (-2.0, -1.0, -0.3, 0.0, 0.5, 1.5, 3.0):
        assert (noise < edge).mean() == pytest.approx(0.5 * (1 + math.erf(edge / math.sqrt(2))), abs=0.003)


def test_neighbours_are_not_correlated() -> None:
    noise = latent_noise((1000, 1000), 3, 0).astype(np.float64)
    for a, b in ((noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1]), (noise[:500], noise[500:])):
        assert abs((a * b).mean()) < 0.005


def test_seed_and_digest_both_matter() -> None:
    base = latent_noise((50,), 1, 2)
    for digest, seed in ((1, 3), (2, 2), (2, 1), (1, 2**63), (1, 2**64 - 1)):
        assert not np.array_equal(base, latent_noise((50,), digest, seed))


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5, 7), (2, 2)])
def test_any_shape_is_filled(shape: tuple[int, ...]) -> None:
    assert latent_noise(shape, 0, 0).shape == shape
