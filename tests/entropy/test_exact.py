from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlcodec.entropy.exact import ExactLayer, HyperSynthesis, ScaleLadder, Upsampling
from dlcodec.errors import WeightsError


def integer_layer(seed: int, cin: int, cout: int, *, upsampling: Upsampling = "none", activate: bool) -> ExactLayer:
    torch.manual_seed(seed)
    shapes = {"none": (cout, cin, 3, 3), "transposed": (cin, cout, 5, 5), "shuffled": (4 * cout, cin, 3, 3)}
    weight = torch.randint(-3000, 3001, shapes[upsampling]).double()
    biases = 4 * cout if upsampling == "shuffled" else cout
    return ExactLayer(weight, torch.randint(-(2**20), 2**20, (biases,)).double(), 12, upsampling, activate)


def half_even(numerator: int, bits: int) -> int:
    whole, rest = divmod(numerator, 1 << bits)
    half = 1 << (bits - 1)
    return whole + (rest > half or (rest == half and whole % 2 == 1))


def by_hand(layer: ExactLayer, x: torch.Tensor) -> torch.Tensor:
    """The layer in Python integers, one output at a time."""
    transposed = layer.upsampling == "transposed"
    kernel = layer.weight.shape[-1]
    pad = kernel // 2
    cin, height, width = x.shape[1:]
    scale = 2 if transposed else 1
    cout = layer.bias.shape[0]
    sums = np.zeros((cout, height * scale, width * scale), dtype=object)
    weight, values = layer.weight.long().numpy(), x[0].long().numpy()
    for row in range(height):
        for column in range(width):
            for i in range(kernel):
                for j in range(kernel):
                    r = row * 2 + i - pad if transposed else row - i + pad
                    c = column * 2 + j - pad if transposed else column - j + pad
                    if 0 <= r < sums.shape[1] and 0 <= c < sums.shape[2]:
                        for a in range(cin):
                            for b in range(cout):
                                w = weight[a, b, i, j] if transposed else weight[b, a, i, j]
                                sums[b, r, c] += int(w) * int(values[a, row, column])
    out = np.zeros(sums.shape)
    for place, total in np.ndenumerate(sums):
        value = half_even(int(total) + int(layer.bias[place[0]]), layer.shift)
        if layer.activate and value < 0:
            value = half_even(value * 655, 16)
        out[place] = value
    if layer.upsampling == "shuffled":  # channel 4 c + 2 i + j holds row i and column j of output c
        out = out.reshape(cout // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2).reshape(-1, 2 * height, 2 * width)
    return torch.from_numpy(out)[None]


@pytest.mark.parametrize("activate", [True, False])
@pytest.mark.parametrize("upsampling", ["none", "transposed", "shuffled"])
def test_a_layer_equals_arithmetic_on_python_integers(upsampling: Upsampling, activate: bool) -> None:
    layer = integer_layer(3, 2, 3, upsampling=upsampling, activate=activate)
    x = torch.randint(-5000, 5001, (1, 2, 4, 5)).double()
    assert torch.equal(layer(x), by_hand(layer, x))


def test_a_layer_whose_sums_could_pass_two_to_the_53_is_refused() -> None:
    with pytest.raises(WeightsError, match="2\\^53"):
        ExactLayer(torch.full((1, 2**15, 3, 3), 32767.0).double(), torch.zeros(1).double(), 12, "none", False)


def hyper_synthesis(seed: int = 0) -> HyperSynthesis:
    layers = (
        integer_layer(seed, 4, 6, upsampling="transposed", activate=True),
        integer_layer(seed + 1, 6, 8, upsampling="transposed", activate=True),
        integer_layer(seed + 2, 8, 6, activate=False),
    )
    medians = torch.tensor([-100.0, 0, 37, 128]).double()
    gains = torch.tensor([[4096.0] * 4, [3000.0] * 4, [2000.0] * 4]).double()
    return HyperSynthesis(layers, medians, gains, 2)


def test_levels_interpolate_in_integers() -> None:
    gains = hyper_synthesis().level_gain(256 + 64)
    assert gains.tolist() == [3000 * 192 + 2000 * 64] * 4
    assert hyper_synthesis().level_gain(512).tolist() == [2000 * 256] * 4


def test_hostile_symbols_keep_every_value_an_exact_integer() -> None:
    symbols = np.array([2**29, -(2**29), 0, 1] * 4, dtype=np.int32).reshape(4, 2, 2)
    network = hyper_synthesis()
    given = network(symbols, 77)
    z = (torch.from_numpy(symbols).double() * 256 + network.medians[:, None, None]).clamp(-(2**22), 2**22)
    x = (z * network.level_gain(77)[:, None, None] / 2**18).round().clamp(-(2**23), 2**23)[None]
    for layer in network.layers:
        x = by_hand(layer, x).clamp(-(2**23), 2**23)
    assert given.dtype == np.int32
    assert np.array_equal(given, x[0])
    index = ScaleLadder(np.arange(1, 20, dtype=np.int32) * 500).index(given)
    assert index.min() >= 0
    assert index.max() <= 19


def test_a_scale_index_is_the_number_of_thresholds_that_are_reached() -> None:
    ladder = ScaleLadder(np.array([-3, 0, 1024], np.int32))
    assert len(ladder) == 4
    assert ladder.index(np.array([[-(2**31), -4, -3, -1, 0, 1023, 1024, 2**31 - 1]], np.int32)).tolist() == [
        [0, 0, 1, 1, 2, 2, 3, 3]
    ]
    with pytest.raises(WeightsError, match="rise"):
        ScaleLadder(np.array([0, 5, 5], np.int32))


def test_gains_that_could_lose_exactness_are_refused() -> None:
    good = hyper_synthesis()
    with pytest.raises(WeightsError, match="gain"):
        HyperSynthesis(good.layers, good.medians, good.inverse_gains * 2.0**13, good.reach)


def test_batch_and_memory_format_do_not_change_a_bit() -> None:
    layer = integer_layer(9, 16, 16, activate=True)
    x = torch.randint(-(2**20), 2**20, (3, 16, 9, 7)).double()
    whole = layer(x)
    for one in range(3):
        assert torch.equal(layer(x[one : one + 1]), whole[one : one + 1])
    assert torch.equal(layer(x.contiguous(memory_format=torch.channels_last)), whole)
    assert math.isclose(float(whole.abs().max()) % 1, 0.0)


@pytest.mark.parametrize(
    "thresholds", [[], [7], [-40, -3, 0, 1, 900], [-(2**31), 5], [0, 2**31 - 1], [2**30, 2**30 + 9]]
)
def test_scale_indices_count_the_thresholds_that_are_not_above(thresholds: list[int]) -> None:
    ladder = ScaleLadder(np.array(thresholds, np.int32))
    near = [value + by for value in thresholds for by in (-1, 0, 1) if -(2**31) <= value + by < 2**31]
    sigma = np.array([[*near, -(2**31), -1, 0, 1, 2**31 - 1]], np.int32)
    wanted = [[sum(threshold <= value for threshold in thresholds) for value in sigma[0].tolist()]]
    assert ladder.index(sigma).tolist() == wanted
