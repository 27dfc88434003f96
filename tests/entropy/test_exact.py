from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcodec.entropy.exact import ExactLayer, HyperSynthesis
from dlcodec.errors import WeightsError


def integer_layer(seed: int, cin: int, cout: int, *, upsample: bool, activate: bool) -> ExactLayer:
    torch.manual_seed(seed)
    kernel = 5 if upsample else 3
    shape = (cin, cout, kernel, kernel) if upsample else (cout, cin, kernel, kernel)
    weight = torch.randint(-3000, 3001, shape).double()
    return ExactLayer(weight, torch.randint(-(2**20), 2**20, (cout,)).double(), 12, upsample, activate)


def half_even(numerator: int, bits: int) -> int:
    whole, rest = divmod(numerator, 1 << bits)
    half = 1 << (bits - 1)
    return whole + (rest > half or (rest == half and whole % 2 == 1))


def by_hand(layer: ExactLayer, x: torch.Tensor) -> torch.Tensor:
    """The layer in Python integers, one output at a time."""
    kernel = layer.weight.shape[-1]
    pad = kernel // 2
    cin, height, width = x.shape[1:]
    scale = 2 if layer.upsample else 1
    cout = layer.bias.shape[0]
    sums = np.zeros((cout, height * scale, width * scale), dtype=object)
    weight, values = layer.weight.long().numpy(), x[0].long().numpy()
    for row in range(height):
        for column in range(width):
            for i in range(kernel):
                for j in range(kernel):
                    r = row * 2 + i - pad if layer.upsample else row - i + pad
                    c = column * 2 + j - pad if layer.upsample else column - j + pad
                    if 0 <= r < sums.shape[1] and 0 <= c < sums.shape[2]:
                        for a in range(cin):
                            for b in range(cout):
                                w = weight[a, b, i, j] if layer.upsample else weight[b, a, i, j]
                                sums[b, r, c] += int(w) * int(values[a, row, column])
    out = np.zeros(sums.shape)
    for place, total in np.ndenumerate(sums):
        value = half_even(int(total) + int(layer.bias[place[0]]), layer.shift)
        if layer.activate and value < 0:
            value = half_even(value * 655, 16)
        out[place] = value
    return torch.from_numpy(out)[None]


@pytest.mark.parametrize(("upsample", "activate"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_layer_equals_arithmetic_on_python_integers(upsample: bool, activate: bool) -> None:
    layer = integer_layer(3, 2, 3, upsample=upsample, activate=activate)
    x = torch.randint(-5000, 5001, (1, 2, 4, 5)).double()
    assert torch.equal(layer(x), by_hand(layer, x))


def test_a_layer_whose_sums_could_pass_two_to_the_53_is_refused() -> None:
    with pytest.raises(WeightsError, match="2\\^53"):
        ExactLayer(torch.full((1, 2**15, 3, 3), 32767.0).double(), torch.zeros(1).double(), 12, False, False)


def hyper_synthesis(seed: int = 0) -> HyperSynthesis:
    layers = (
        integer_layer(seed, 4, 6, upsample=True, activate=True),
        integer_layer(seed + 1, 6, 8, upsample=True, activate=True),
        integer_layer(seed + 2, 8, 6, upsample=False, activate=False),
    )
    medians = torch.tensor([-100.0, 0, 37, 128]).double()
    gains = torch.tensor([[4096.0] * 4, [3000.0] * 4, [2000.0] * 4]).double()
    return HyperSynthesis(layers, medians, gains, torch.arange(1, 20).double() * 500)


def test_levels_interpolate_in_integers() -> None:
    gains = hyper_synthesis().level_gain(256 + 64)
    assert gains.tolist() == [3000 * 192 + 2000 * 64] * 4
    assert hyper_synthesis().level_gain(512).tolist() == [2000 * 256] * 4


def test_hostile_symbols_keep_every_value_an_exact_integer() -> None:
    symbols = np.array([2**29, -(2**29), 0, 1] * 4, dtype=np.int32).reshape(4, 2, 2)
    mu, index = hyper_synthesis()(symbols, 77)
    assert np.abs(mu).max() <= 2**23
    assert index.min() >= 0
    assert index.max() <= 19


def test_gains_that_could_lose_exactness_are_refused() -> None:
    good = hyper_synthesis()
    with pytest.raises(WeightsError, match="gain"):
        HyperSynthesis(good.layers, good.medians, good.inverse_gains * 2.0**13, good.thresholds)
    with pytest.raises(WeightsError, match="rise"):
        HyperSynthesis(good.layers, good.medians, good.inverse_gains, good.thresholds.flip(0))


def test_batch_and_memory_format_do_not_change_a_bit() -> None:
    layer = integer_layer(9, 16, 16, upsample=False, activate=True)
    x = torch.randint(-(2**20), 2**20, (3, 16, 9, 7)).double()
    whole = layer(x)
    for one in range(3):
        assert torch.equal(layer(x[one : one + 1]), whole[one : one + 1])
    assert torch.equal(layer(x.contiguous(memory_format=torch.channels_last)), whole)
    assert math.isclose(float(whole.abs().max()) % 1, 0.0)
