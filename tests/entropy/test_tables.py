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
