from __future__ import annotations

import numpy as np
import pytest

from dlcodec.entropy.tables import TOTAL, TableSet, table_from_probabilities, table_set
from dlcodec.errors import WeightsError


def some_tables() -> TableSet:
    random = np.random.default_rng(0)
    return table_set([(-n, table_from_probabilities(random.random(2 * n + 2))) for n in (3, 10, 40)])


def test_tables_rise_strictly_from_zero_to_the_total() -> None:
    tables = some_tables()
    for counts in tables.counts:
        assert counts.min() >= 1
        assert counts.sum() == TOTAL


def test_counts_follow_the_probabilities_to_one_part_in_a_million() -> None:
    shares = np.array([0.5, 0.25, 0.125, 0.125])
    counts = np.diff(table_from_probabilities(shares))
    assert np.abs(counts / TOTAL - shares).max() < 1e-6


@pytest.mark.parametrize("seed", range(200))
def test_one_entry_out_of_order_is_refused(seed: int) -> None:
    random = np.random.default_rng(seed)
    tables = some_tables()
    cdf = tables.cdf.copy()
    place = int(random.integers(len(cdf)))
    neighbour = cdf[place - 1] if place not in tables.start else cdf[place] + 1
    cdf[place] = neighbour - int(random.integers(0, 3)) if place not in tables.start else neighbour
    with pytest.raises(WeightsError):
        TableSet(cdf, tables.start, tables.minimum)


@pytest.mark.parametrize("start", [[1, 8, 29, 111], [0, 8, 8, 112], [0, 29, 8, 112], [0, 8, 29, 113], [0], [0, 8, 112]])
def test_starts_that_do_not_tile_the_array_are_refused(start: list[int]) -> None:
    tables = some_tables()
    with pytest.raises(WeightsError):
        TableSet(tables.cdf, np.array(start, np.int32), tables.minimum)


@pytest.mark.parametrize("name", ["cdf", "start", "minimum"])
@pytest.mark.parametrize("kind", ["<i8", "<f4", "<i2"])
def test_tables_of_other_numbers_than_32_bit_integers_are_refused(name: str, kind: str) -> None:
    tables = some_tables()
    arrays = {key: getattr(tables, key) for key in ("cdf", "start", "minimum")}
    arrays[name] = arrays[name].astype(kind)
    with pytest.raises(WeightsError, match="32-bit"):
        TableSet(**arrays)


@pytest.mark.parametrize("lowest", [-(2**31), -(2**29) - 1, 2**29, 2**31 - 4])
def test_symbols_whose_escapes_would_overflow_are_refused(lowest: int) -> None:
    cdf = np.array([0, 1, 2, TOTAL], np.int32)
    with pytest.raises(WeightsError, match="beyond 2\\^29"):
        table_set([(lowest, cdf)])
    table_set([(max(-(2**29), min(lowest, 2**29 - 1)), cdf)])


def test_more_tables_than_the_coder_can_tell_apart_are_refused() -> None:
    cdf = np.array([0, 1, TOTAL], np.int32)
    assert len(table_set([(0, cdf)] * (2**15 - 1))) == 2**15 - 1
    with pytest.raises(WeightsError, match="more than 32767"):
        table_set([(0, cdf)] * 2**15)
