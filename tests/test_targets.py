from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from dlcodec.errors import UsageError
from dlcodec.targets import Target, choose_target, parse_size, search_level

LAST = 1792


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("40000", 40000),
        ("40000B", 40000),
        ("40KB", 40000),
        ("40kB", 40000),
        ("40KiB", 40960),
        ("2MB", 2_000_000),
        ("2MiB", 2 << 20),
        ("1.5 MiB", 1_572_864),
        ("1.1KB", 1100),
        ("0.0019kB", 1),
    ],
)
def test_sizes_are_read_in_every_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KB", "40 K", "40kib", "40Gb", "-1", "1e3", "nan", "4,0KB", "٤KB", "9" * 5000])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


def test_no_target_is_none() -> None:
    assert choose_target(None, None, None, None, strict=False) is None
    assert choose_target(3.0, None, None, None, strict=False) is None


def test_the_one_target_is_chosen() -> None:
    assert choose_target(None, 0.5, None, None, strict=True) == Target("bpp", 0.5)
    assert choose_target(None, None, 40000, None, strict=False) == Target("bytes", 40000)
    assert choose_target(None, None, None, 30.0, strict=False) == Target("dB", 30)


@pytest.mark.parametrize(
    ("level", "bpp", "size", "psnr"),
    [
        (0.0, 0.5, None, None),
        (3.0, None, 1, None),
        (3.0, None, None, 30.0),
        (None, 0.5, 1, None),
        (None, None, 1, 30.0),
    ],
)
def test_several_targets_are_refused(
    level: float | None, bpp: float | None, size: int | None, psnr: float | None
) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        choose_target(level, bpp, size, psnr, strict=False)


@pytest.mark.parametrize("level", [None, 3.0])
def test_strict_without_a_target_is_refused(level: float | None) -> None:
    with pytest.raises(UsageError, match="strict needs"):
        choose_target(level, None, None, None, strict=True)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_target_that_is_no_positive_number_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="positive"):
        choose_target(None, value, None, None, strict=False)
    with pytest.raises(UsageError, match="positive"):
        choose_target(None, None, None, value, strict=False)


CURVES: dict[str, Callable[[int], float]] = {
    "straight": lambda level: 3.0007 + level / 700,
    "bent": lambda level: 5 * math.sqrt((level + 1) / LAST),
    "steep at the end": lambda level: 5 * (level / LAST) ** 8,
    "stairs": lambda level: float(level // 100),
    "one jump": lambda level: 0.0 if level < 1234 else 9.0,
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("aim", [0.5, 1.234, 3.1, 4.9, 8.5])
def test_the_search_ends_between_the_neighbours_around_its_aim(name: str, aim: float) -> None:
    curve, probes = CURVES[name], list[int]()

    def measure(level: int) -> float:
        probes.append(level)
        return curve(level)

    below, above = search_level(measure, aim, aim, LAST, 0.005)
    smaller = [level for level in range(LAST + 1) if curve(level) < aim]
    assert (below, above) == (
        smaller[-1] if smaller else None,
        len(smaller) if len(smaller) <= LAST else None,
    )
    assert len(probes) == len(set(probes)) <= 8 + math.log2(LAST + 2)


def test_the_search_ends_at_the_first_level_in_the_interval() -> None:
    probes: list[int] = []

    def measure(level: int) -> float:
        probes.append(level)
        return 8 + level / 800

    level, same = search_level(measure, 8.5, 8.51, LAST, 1 / 500)
    assert level == same
    assert level is not None
    assert 8.5 <= 8 + level / 800 <= 8.51
    assert len(probes) <= 4


def test_probes_narrow_the_interval_even_where_the_measure_falls_at_places() -> None:
    def measure(level: int) -> float:
        return level / 100 + 3 * math.sin(level)

    below, above = search_level(measure, 7.0, 7.0, LAST, 0.01)
    assert below is not None
    assert above == below + 1
    assert measure(below) < 7 < measure(above)


@pytest.mark.parametrize("last", [0, 1])
def test_a_range_of_one_or_two_levels_is_searched(last: int) -> None:
    answers = [search_level(float, aim, aim, last, 1.0) for aim in (-0.5, last - 0.5, last + 0.5)]
    assert answers[0] == (None, 0)
    assert answers[-1] == (last, None)
    assert all(left <= right for left, right in pairwise([-1 if below is None else below for below, _ in answers]))
