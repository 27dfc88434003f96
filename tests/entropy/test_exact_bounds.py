"""No input makes a sum of the exact path pass 2^53: by interval arithmetic over the weights, and on 64-bit integers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dlcodec.checkpoint import Arrays, Checkpoint, load_arrays, read_metadata
from dlcodec.codecs.cheng2020 import Cheng2020Codec
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.entropy.context import waves
from dlcodec.entropy.exact import ExactLayer
from dlcodec.errors import WeightsError
from dlcodec.families import FAMILIES
from dlcodec.loading import load_codec
from tests.entropy.reference_integers import ACTIVATION_LIMIT, HYPER_LIMIT, Watch, context_model, hyper_synthesis

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(ROOT.glob("weights/*/base*.safetensors"))
CHECKPOINTS = SHIPPED + sorted(ROOT.glob("tests/golden/*/*/weights/*/base*.safetensors"))
WITH_CONTEXT = [path for path in CHECKPOINTS if "context_shifts" in read_metadata(path).config]
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
    features = hyper_synthesis(found.family, magnitudes, found.config["h_s_shifts"], symbols, 0, watch)
    if path in WITH_CONTEXT:
        most = np.broadcast_to(features.max(axis=(1, 2), keepdims=True), (len(features), 5, 5))
        latent = np.full((found.config["M"], 5, 5), ACTIVATION_LIMIT)  # what is larger counts as this
        context_model(magnitudes, found.config["context_shifts"], most, latent, watch)
    return watch


def test_the_shipped_weights_and_every_family_are_among_those_checked() -> None:
    assert SHIPPED
    assert {path.parent.name for path in CHECKPOINTS} == {family.name for family in FAMILIES}
    assert WITH_CONTEXT


@pytest.mark.parametrize("path", CHECKPOINTS, ids=name)
def test_every_partial_sum_stays_below_two_to_the_53_for_any_input(path: Path) -> None:
    """In 53 bits, and the shipped weights in the 46 that docs/entropy.md says."""
    assert 23 < magnitude_bound(path).bits < (46 if path in SHIPPED else 53)


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


@pytest.mark.parametrize("path", CHECKPOINTS, ids=name)
def test_batch_and_memory_format_change_no_bit_of_any_layer(path: Path) -> None:
    """Of the shipped weights and the tiny ones: from activations of any size, each layer on what the last one gave."""
    codec = load_codec(opened(path)[0], torch.device("cpu"))
    assert isinstance(codec, HyperpriorCodec)
    layers = codec.hyper_synthesis.layers
    random = np.random.default_rng(4)
    size = ACTIVATION_LIMIT * random.random((3, opened(path)[0].config["N"], 4, 5)) ** 8
    x = torch.from_numpy(np.rint(size * random.choice([-1, 1], size.shape)))
    for layer in layers:
        alone = torch.cat([layer(one[None]) for one in x])
        last = replace(layer, weight=layer.weight.contiguous(memory_format=torch.channels_last))
        for other in (layer, last):
            assert torch.equal(other(x), alone)
            assert torch.equal(other(x.contiguous(memory_format=torch.channels_last)), alone)
        assert torch.equal(alone, alone.round())
        x = alone
    assert x.unique().numel() > 100


@pytest.mark.parametrize("path", WITH_CONTEXT, ids=name)
@pytest.mark.parametrize("kind", ["hostile", "natural"])
def test_waves_of_the_context_model_equal_64_bit_integers(path: Path, kind: str) -> None:
    """On features as large as h_s lets through and a latent as large as the coder does, or on natural ones."""
    found, arrays = opened(path)
    codec = load_codec(found, torch.device("cpu"))
    assert isinstance(codec, Cheng2020Codec)
    shape, random = (found.config["M"], 5, 7), np.random.default_rng(3)
    features = random.integers(-(2**12), 2**12, (codec.context.features, *shape[1:]), dtype=np.int32)
    latent = random.integers(-(2**12), 2**12, shape, dtype=np.int32)
    if kind == "hostile":
        features = np.where(features < 0, -ACTIVATION_LIMIT, ACTIVATION_LIMIT).astype(np.int32)
        latent = np.where(latent < 0, -(2**30) - ACTIVATION_LIMIT, 2**30 + ACTIVATION_LIMIT).astype(np.int32)
    area, given = codec.context.start(features), np.zeros((2 * shape[0], 5 * 7), np.int32)
    for wave in waves(5, 7):
        given[:, wave] = np.concatenate(area.predict(wave), 1).T
        area.settle(wave, latent.reshape(shape[0], -1)[:, wave].T)
    watch = Watch()
    expected = context_model(arrays, found.config["context_shifts"], features, latent, watch)
    assert np.array_equal(given.reshape(expected.shape), expected)
    assert watch.bits < 53
    assert kind == "natural" or watch.largest > ACTIVATION_LIMIT


@pytest.mark.parametrize("path", WITH_CONTEXT, ids=name)
@pytest.mark.parametrize("layer", ["context_prediction", "entropy_parameters.0", "entropy_parameters.4"])
def test_the_bound_of_a_context_model_is_felt_where_a_weight_passes_it(
    path: Path, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, arrays = opened(path)
    weight = arrays[f"exact.{layer}.weight"].astype(np.int64)
    weight[0, -1, 0, 0] = 2**31  # activations have 23 bits at most
    monkeypatch.setitem(globals(), "opened", lambda _: (found, {**arrays, f"exact.{layer}.weight": weight}))
    assert magnitude_bound(path).bits > 53
    with pytest.raises(WeightsError, match=r"2\^53"):
        ExactLayer(torch.from_numpy(weight).double(), torch.zeros(len(weight)).double(), 12, "none", False)


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
