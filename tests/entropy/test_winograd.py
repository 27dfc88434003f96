from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from dlcodec.entropy.winograd import Winograd

LARGEST, EXACT = 2.0**23, 2.0**53


def integers(*shape: int, most: int) -> torch.Tensor:
    torch.manual_seed(sum(shape))
    return torch.randint(-most, most + 1, shape).double()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (3, 3), (4, 6), (7, 5), (1, 9)])
def test_it_equals_the_direct_convolution_bit_by_bit(height: int, width: int) -> None:
    weight, x = integers(6, 4, 3, 3, most=3000), integers(2, 4, height, width, most=5000)
    convolution = Winograd.of(weight, LARGEST, EXACT)
    assert convolution
    assert torch.equal(convolution(x), F.conv2d(x, weight, padding=1))


def test_the_largest_inputs_keep_every_sum_exact() -> None:
    """Against Python integers, with all signs set so that the sums grow as far as they can."""
    weight = integers(1, 8, 3, 3, most=2**15)
    x = LARGEST * torch.where(weight < 0, -1.0, 1.0).double()
    convolution = Winograd.of(weight, LARGEST, EXACT)
    assert convolution
    pairs = zip(weight.flatten().long().tolist(), x.flatten().long().tolist(), strict=True)
    assert int(convolution(x)[0, 0, 1, 1]) == sum(a * b for a, b in pairs)


def test_weights_whose_sums_might_lose_exactness_are_left_to_the_direct_convolution() -> None:
    weight = torch.zeros(1, 1, 3, 3).double()
    weight[0, 0, 1, 1] = 1
    # The transformed centre has four entries, each for a sum of four inputs, and an output may add all four.
    assert Winograd.of(weight * (2.0**26 - 1), LARGEST, EXACT)
    assert Winograd.of(weight * 2.0**26, LARGEST, EXACT) is None


def test_only_kernels_of_three_are_taken() -> None:
    assert Winograd.of(torch.ones(1, 1, 1, 1).double(), LARGEST, EXACT) is None
    assert Winograd.of(torch.ones(1, 1, 5, 5).double(), LARGEST, EXACT) is None
