from __future__ import annotations

import math

import numpy as np
import pytest

from dlcodec.entropy.coder import Encoder, Models
from dlcodec.entropy.length import CodeLength
from tests.entropy.test_coder import small_tables


@pytest.mark.parametrize("spread", [0.5, 3, 50, 2000, 2**20])
def test_the_count_is_what_the_coder_writes(spread: float) -> None:
    """With escapes of every length, over several calls, as a codec's steps make them."""
    random = np.random.default_rng(1)
    length, encoder = CodeLength(small_tables()), Encoder(Models(small_tables()))
    for size in (1, 10, 3000):
        index = random.integers(0, 3, size, dtype=np.int32)
        symbols = np.rint(random.standard_normal(size) * spread).astype(np.int32)
        length.encode(symbols, index)
        encoder.encode(symbols, index)
    written = len(encoder.finish())
    assert written - 4 - 0.001 * written <= length.payload_bytes <= written


def test_a_symbol_costs_the_bits_of_its_count_and_an_escape_its_excess_besides() -> None:
    length = CodeLength(small_tables())
    length.encode(np.array([-1, 4], np.int32), np.array([0, 1], np.int32))
    assert length.bits == pytest.approx(24 - math.log2(5) + 24)
    before = length.bits
    length.encode(np.array([9], np.int32), np.array([0], np.int32))  # 8 above the largest: excess 15, four bits long
    assert length.bits - before == pytest.approx(24 + 5 + 3)


def test_no_symbols_cost_nothing() -> None:
    length = CodeLength(small_tables())
    length.encode(np.empty(0, np.int32), np.empty(0, np.int32))
    assert (length.bits, length.payload_bytes) == (0, 0)
