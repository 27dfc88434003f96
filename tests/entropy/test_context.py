"""The wavefront context model against the same layers run over the whole area at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dlcodec.entropy.context import ContextModel, waves
from dlcodec.entropy.exact import ExactLayer
from dlcodec.errors import WeightsError

M, FEATURES = 5, 7
SIZES = [(1, 1), (1, 9), (9, 1), (2, 4), (4, 4), (12, 8), (5, 21)]
Integers = npt.NDArray[np.int32]


def layer(seed: int, outputs: int, inputs: int, kernel: int, *, activate: bool) -> ExactLayer:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randint(-3000, 3001, (outputs, inputs, kernel, kernel), generator=random).double()
    if kernel > 1:
        weight.view(outputs, inputs, -1)[:, :, kernel * kernel // 2 :] = 0
    bias = torch.randint(-(2**22), 2**22, (outputs,), generator=random).double()
    return ExactLayer(weight, bias, 14, "none", activate)


def layers() -> tuple[ExactLayer, list[ExactLayer]]:
    later = [(11, FEATURES + 6, True), (9, 11, True), (2 * M, 9, False)]
    ones = [layer(10 + n, outputs, inputs, 1, activate=act) for n, (outputs, inputs, act) in enumerate(later)]
    return layer(3, 6, M, 5, activate=False), ones


def at_once(features: Integers, latent: Integers) -> Integers:
    """Every layer as a convolution over the whole, on the latent as it stands in the end."""
    context, ones = layers()
    seen = torch.from_numpy(latent).double().clamp(-(2.0**23), 2.0**23)[None]
    x = torch.cat([torch.from_numpy(features).double()[None], context(seen)], 1)
    for one in ones:
        x = one(x)
    return x[0].to(torch.int32).numpy()


def run(features: Integers, seed: int, largest: int) -> tuple[Integers, Integers]:
    """The latent that a random coder made of what was predicted, and the predictions, (2 M, h, w)."""
    random = np.random.default_rng(seed)
    area = ContextModel(*layers()).start(features)
    predicted = np.zeros((2 * M, features.shape[1] * features.shape[2]), np.int32)
    for wave in waves(*features.shape[1:]):
        sigma, mu = area.predict(wave)
        predicted[:M, wave], predicted[M:, wave] = sigma.T, mu.T
        area.settle(wave, mu + 1024 * random.integers(-largest, largest + 1, mu.shape, dtype=np.int32))
    return area.latent, predicted.reshape(2 * M, *features.shape[1:])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("largest", [3, 2**20])
def test_waves_predict_bit_for_bit_what_the_whole_predicts(size: tuple[int, int], largest: int) -> None:
    features = np.random.default_rng(size[1]).integers(-(2**14), 2**14, (FEATURES, *size), dtype=np.int32)
    latent, predicted = run(features, 1, largest)
    assert np.array_equal(predicted, at_once(features, latent))
    assert np.abs(latent).max() > 1024 * largest // 2


@pytest.mark.parametrize("size", SIZES)
def test_waves_reach_every_position_once_after_all_it_depends_on(size: tuple[int, int]) -> None:
    height, width = size
    time = np.full(size, -1)
    for number, wave in enumerate(waves(height, width)):
        assert (np.diff(wave // width) > 0).all()  # one position a row
        assert (time.reshape(-1)[wave] == -1).all()
        time.reshape(-1)[wave] = number
    assert (time >= 0).all()
    if width > 2:
        assert time.max() == width + 3 * (height - 1) - 1
    for row in range(height):
        for column in range(width):
            before = time[max(0, row - 2) : row, max(0, column - 2) : column + 3].max(initial=-1)
            left = time[row, max(0, column - 2) : column].max(initial=-1)
            assert time[row, column] > max(before, left)


def test_layers_that_do_not_fit_are_refused() -> None:
    context, ones = layers()
    for wrong in (ones[:-1], [ones[0], ones[2]], [ones[1]], [layer(0, 2 * M, 6, 1, activate=False)]):
        with pytest.raises(WeightsError, match="fit"):
            ContextModel(context, wrong)
    with pytest.raises(WeightsError, match="shapes"):
        ContextModel(ones[0], ones)
    with pytest.raises(WeightsError, match="shapes"):
        ContextModel(context, [context, *ones])


def test_a_context_that_looks_ahead_is_refused() -> None:
    context, ones = layers()
    weight = context.weight.clone()
    weight[0, 0, 2, 2] = 1
    with pytest.raises(WeightsError, match="not decoded yet"):
        ContextModel(replace(context, weight=weight), ones)
