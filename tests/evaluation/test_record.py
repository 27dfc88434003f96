"""What of a run goes into the weights that it measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dlcodec.checkpoint import Checkpoint
from dlcodec.errors import UsageError
from dlcodec.evaluation.record import results_of
from dlcodec.evaluation.results import MEAN, OURS, Point, Row, Run, Settings

BASE = Checkpoint(Path("base"), "mean-scale", {"lambdas": [0.1, 0.2], "default_level": 1}, "b" * 64)
FUSION = Checkpoint(Path("fusion"), "mean-scale", {"base": "b" * 64, "steps": 4}, "f" * 64)
SETTINGS = Settings(
    source="kodak/",
    family="mean-scale",
    base=BASE.digest,
    fusion=FUSION.digest,
    metrics=("psnr", "lpips-alex"),
    device="cpu",
    device_name="a processor",
    threads=1,
    precision="float32",
    versions={},
    default_steps=4,
)


def mean(level: float, tau: float, lpips: float, steps: int = 4, images: int = 24, codec: str = OURS) -> Row:
    point = Point(codec, level, tau) if tau == 1 else Point(codec, level, tau, steps, 0)
    metrics = {"psnr": 30.0 + level, "lpips-alex": lpips, "dists": 0.1}
    return Row(MEAN, images, "", None, None, point, 1000.0, 0.25 * (1 + level), metrics)


WHOLE = (
    *(mean(level, 1, 0.1 + level) for level in (0, 0.5, 1)),
    *(mean(level, 0, 0.2 + level) for level in (0, 1)),
    *(mean(level, 0, 0.9, steps=10) for level in (0, 1)),
    mean(0, 0.5, 0.8),
    mean(0, 1, 0.7, codec="jpeg"),
)


def run_of(means: Sequence[Row], settings: Settings = SETTINGS) -> Run:
    return Run("results", settings, (), tuple(means), ())


def test_a_base_gets_its_whole_levels_at_tau_1() -> None:
    assert results_of(run_of(WHOLE), BASE) == {
        "images": 24,
        "rows": [
            {"level": 0, "tau": 1, "bpp": 0.25, "psnr": 30.0, "lpips-alex": 0.1},
            {"level": 1, "tau": 1, "bpp": 0.5, "psnr": 31.0, "lpips-alex": 1.1},
        ],
    }


def test_a_fusion_network_gets_tau_0_too_in_its_own_number_of_steps() -> None:
    rows = results_of(run_of(WHOLE), FUSION)["rows"]
    assert [(row["tau"], row["level"], row["lpips-alex"]) for row in rows] == [
        (1, 0, 0.1),
        (1, 1, 1.1),
        (0, 0, 0.2),
        (0, 1, 1.2),
    ]


def test_a_metric_that_is_not_there_or_not_finite_is_left_out() -> None:
    rows = [mean(0, 1, float("inf")), replace(mean(1, 1, 0.1), metrics={"lpips-alex": 0.1})]
    assert [row.keys() for row in results_of(run_of(rows), BASE)["rows"]] == [{"level", "tau", "bpp"}] * 2


@pytest.mark.parametrize(
    ("means", "settings", "found", "message"),
    [
        (WHOLE, replace(SETTINGS, base="c" * 64), BASE, "measured with cccccccccccccccc, not with bbbbbbbbbbbbbbbb"),
        (WHOLE, replace(SETTINGS, fusion=None), FUSION, "measured with no fusion network, not with ffffffffffffffff"),
        (WHOLE, replace(SETTINGS, effort="high"), BASE, "are of --effort high"),
        (WHOLE[:1], SETTINGS, BASE, "lack level 1 at tau 1"),
        ([*WHOLE[:2], mean(1, 1, 0.1, images=23)], SETTINGS, BASE, "lack level 1 at tau 1"),
        (WHOLE[:4], SETTINGS, FUSION, "lack level 1 at tau 0"),
        ([*WHOLE[:4], mean(1, 0, 0.1, steps=10)], SETTINGS, FUSION, "lack level 1 at tau 0"),
        ([], SETTINGS, FUSION, "lack level 0 at tau 1"),
    ],
)
def test_a_run_that_says_nothing_of_the_weights_is_refused(
    means: Sequence[Row], settings: Settings, found: Checkpoint, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        results_of(run_of(means, settings), found)
