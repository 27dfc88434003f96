"""What dlcodec depends on: bounded in pyproject.toml, fixed in .ci/constraints.txt, installed by one command."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINS = [line for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def requirements(extra: str) -> list[Requirement]:
    """The declared requirements of an extra, those of the extras that it names among them."""
    found = []
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "dlcodec":
            found += [each for name in sorted(requirement.extras) for each in requirements(name)]
        else:
            found.append(requirement)
    return found


BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
PLAIN = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DECLARED = {str(r): r for r in [*BUILD, *PLAIN, *(r for extra in EXTRAS for r in requirements(extra))]}


@pytest.mark.parametrize("text", DECLARED)
def test_every_dependency_has_a_lower_and_an_upper_bound(text: str) -> None:
    operators = {specifier.operator for specifier in DECLARED[text].specifier}
    assert operators == {"~="} or operators == {">=", "<"}


@pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cpu", "2.15.0"])
def test_the_releases_of_torch_that_were_tried_are_allowed(version: str) -> None:
    (torch,) = (requirement for requirement in PLAIN if requirement.name == "torch")
    assert torch.specifier.contains(version)


def test_the_constraints_fix_one_version_of_each_package() -> None:
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][a-z0-9.]*", line) for line in PINS)
    assert sorted(PINS) == PINS
    assert len({line.partition("==")[0] for line in PINS}) == len(PINS)


def test_what_the_tests_install_is_fixed_within_its_bounds() -> None:
    versions = {name: version for name, _, version in (line.partition("==") for line in PINS)}
    for requirement in [*BUILD, *PLAIN, *requirements("test")]:
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_automatic_checks_run_the_test_command_of_the_readme() -> None:
    (command,) = re.findall(r"^python3 -m venv .*pytest -q$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines.count(command) == 1
    assert lines.index("export PIP_CONSTRAINT=.ci/constraints.txt") < lines.index(command)


def test_no_pillow_is_let_in_whose_exif_takes_memory() -> None:
    """EXIF tags that overlap: 300 kB took Pillow 11.3 288 MiB."""
    (pillow,) = (requirement for requirement in PLAIN if requirement.name == "pillow")
    assert not pillow.specifier.contains("12.9")
