"""Every seed and every kept crash, through every target: as a test, without a fuzzer."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from dlcodec.checkpoint import DEFAULT_FAMILY
from dlcodec.families import FAMILIES
from tests.fuzz.fuzz_decoder import WEIGHTS

HERE = Path(__file__).parent
TARGETS: dict[str, Callable[[bytes], bool]] = {
    path.stem.removeprefix("fuzz_"): import_module(f"tests.fuzz.{path.stem}").check
    for path in sorted(HERE.glob("fuzz_*.py"))
}
SEEDS = sorted((HERE / "corpus").glob("*/*"))
CRASHES = sorted((HERE / "crashes").glob("*/*"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


REFUSED = {"checkpoint/drop", "checkpoint/element", "checkpoint/fill", "checkpoint/shape"}
"""Seeds that show a target what is refused; all others are sound."""
EXTREME = {name(seed) for seed in SEEDS if "-largest-" in seed.name or "-smallest-" in seed.name}
"""Weights of integer layers as large as their type holds: exact all the same, but not those of the file."""


@pytest.mark.parametrize("seed", SEEDS, ids=name)
def test_a_seed_reaches_the_end_of_its_target(seed: Path) -> None:
    """Else the fuzzer would start at the door, and what lies behind it would stay unseen."""
    assert TARGETS[seed.parent.name](seed.read_bytes()) == (name(seed) not in REFUSED | EXTREME)


@pytest.mark.parametrize("path", SEEDS + CRASHES, ids=name)
def test_an_input_harms_no_target(path: Path) -> None:
    """A target raises for anything but an error of ours."""
    for check in TARGETS.values():
        check(path.read_bytes())


def test_every_family_has_seeds_of_whole_files_and_of_checkpoints() -> None:
    assert set(WEIGHTS) == {family.name for family in FAMILIES}
    for target in ("checkpoint", "decoder"):
        seeds = {seed.name for seed in SEEDS if seed.parent.name == target}
        for family in FAMILIES:
            ours = {seed for seed in seeds if seed.startswith(f"{family.name}-")}
            assert ours or family.name == DEFAULT_FAMILY, target


def test_every_target_has_seeds_and_all_of_them_are_small() -> None:
    assert {seed.parent.name for seed in SEEDS} == set(TARGETS)
    assert {crash.parent.name for crash in CRASHES} <= set(TARGETS)
    assert sum(path.stat().st_size for path in SEEDS + CRASHES) < 200_000
