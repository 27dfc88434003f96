"""No input makes a sum of the exact path pass 2^53: by interval arithmetic over the weights, and on 64-bit integers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dlcodec.checkpoint import Arrays, Checkpoint, load_arrays, read_metadata
from dlcodec.loading import load_codec
from tests.entropy.reference_integers import HYPER_LIMIT, Watch, hyper_synthesis

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(ROOT.glob("weights/*/base*.safetensors"))
CHECKPOINTS = SHIPPED + sorted(ROOT.glob("tests/golden/*/*/weights/*/base*.safetensors"))
LEVEL_STEPS = 256


@cache
def opened(path: Path) -> tuple[Checkpoint, Arrays]:
    found = read_metadata(path)
    return found, load_arrays(found)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT).parent)


def magnitude_bound(path: Path) -> Watch:
    """The largest partial sum that any symbols at any level could give.

    On the magnitudes of all weights, from the largest input, every step of the exact path gives an upper bound of the
    magnitudes that it gives on the weights themselves: sums of products rise with each factor's magnitude, rounding is
    monotone, LeakyReLU takes magnitude away.
    """
    found, arrays = opened(path)
    magnitudes = {key: abs(a.astype(np.int64)) for key, a in arrays.items() if key.startswith("exact.")}
    magnitudes["exact.hinv"] = magnitudes["exact.hinv"].max(axis=0, keepdims=True)  # levels lie between rows
    symbols = np.full((len(magnitudes["exact.medians"]), 3, 3), 2**31 - 1, np.int32)  # all taps meet in the middle
    watch = Watch()
    hyper_synthesis(found.family, magnitudes, found.config["h_s_shifts"], symbols, 0, watch)
    return watch


def test_the_shipped_weights_are_among_those_checked() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", CHECKPOINTS, ids=name)
def test_every_partial_sum_stays_below_two_to_the_53_for_any_input(path: Path) -> None:
    """In 53 bits, and the shipped weights in the 45 that docs/entropy.md says."""
    assert 23 < magnitude_bound(path).bits < (45 if path in SHIPPED else 53)


def hostile(channels: int, side: int, seed: int) -> npt.NDArray[np.int32]:
    """Symbols as large as the coder lets through, of random signs."""
    signs = np.random.default_rng(seed).choice([-1, 1], (channels, side, side))
    return (signs * (2**29 + 2**19)).astype(np.int32)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=name)
@pytest.mark.parametrize("kind", ["hostile", "natural"])
def test_float64_carriers_equal_64_bit_integers(path: Path, kind: str) -> None:
    found, arrays = opened(path)
    codec = load_codec(found, torch.device("cpu"))
    channels = arrays["exact.medians"].size
    natural = np.random.default_rng(1).integers(-4, 5, (channels, 2, 3)).astype(np.int32)
    symbols = natural if kind == "natural" else hostile(channels, 2, seed=2)
    for level in (0, LEVEL_STEPS + 77, (codec.levels - 1) * LEVEL_STEPS):
        watch = Watch()
        expected = hyper_synthesis(found.family, arrays, found.config["h_s_shifts"], symbols, level, watch)
        assert np.array_equal(codec.hyper_synthesis(symbols, level), expected)  # type: ignore[attr-defined]
        assert watch.largest <= magnitude_bound(path).largest
    assert kind == "natural" or watch.largest > HYPER_LIMIT


def test_the_bound_is_felt_where_weights_pass_it() -> None:
    """A layer of the largest weights over many channels passes 2^53, and the watch says so."""
    channels = 2**11
    arrays = {
        "exact.hinv": np.full((1, channels), 2**16),
        "exact.medians": np.zeros(channels),
        "exact.h_s.0.weight": np.full((channels, 2, 5, 5), 2**17),
        "exact.h_s.0.bias": np.zeros(2),
        "exact.h_s.2.weight": np.ones((2, 3, 5, 5)),
        "exact.h_s.2.bias": np.zeros(3),
        "exact.h_s.4.weight": np.ones((4, 3, 3, 3)),
        "exact.h_s.4.bias": np.zeros(4),
        "exact.thresholds": np.array([1]),
    }
    watch = Watch()
    hyper_synthesis("mean-scale", arrays, (20, 1, 1), np.full((channels, 3, 3), 2**29, np.int32), 0, watch)
    assert watch.bits > 53
