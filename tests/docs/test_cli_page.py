"""docs/cli.md against the command line itself: every flag, with its default, and no flag that is not there."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dlcodec.cli import app
from dlcodec.evaluation.commands import app as evaluation

try:
    import compressai.models  # noqa: F401
except (ImportError, RuntimeError):
    # CompressAI needs torchvision, which does not import beside a CPU-only build of torch.
    training = None
else:
    from dlcodec.training.__main__ import app as training

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
HELP = "`--help`, `-h`"
APART = {"eval": evaluation, **({"train": training} if training else {})}
"""Commands whose own commands are loaded when they run."""


def commands() -> dict[str, list[Any]]:
    """Every command's name, as it is typed, with its options; "" has those of the program itself."""
    found: dict[str, list[Any]] = {}

    def walk(command: Any, name: str) -> None:
        if name in APART:
            command = get_command(APART[name])
        found[name] = [each for each in command.params if each.param_type_name == "option"]
        for each, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {each}".strip())

    walk(get_command(app), "")
    return found


def flag(option: Any) -> str:
    """The cell of a flag: its names, the long one first, and those that switch it off last."""
    names = sorted(option.opts, key=lambda name: -len(name)) + option.secondary_opts
    return ", ".join(f"`{name}`" for name in names)


def default(option: Any) -> str:
    """The cell of a default."""
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.default
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "required" if option.required else "none" if value is None or value == "" else str(value)


def tables() -> dict[str, dict[str, str]]:
    """Of every section of the page, the default of every flag in its table; the program's own section is first."""
    found: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"
        ]
        found["" if title == "dlcodec" else title.removeprefix("dlcodec ")] = {row[0]: row[1] for row in rows}
    return found


@pytest.mark.parametrize("command", [name for name, options in commands().items() if options])
def test_the_page_lists_every_flag_with_its_default_and_no_other(command: str) -> None:
    expected = {flag(option): default(option) for option in commands()[command]}
    listed = {name: value for name, value in tables().get(command, {}).items() if name != HELP}
    rows = "\n".join(f"| {name} | {value} |" for name, value in expected.items() if listed.get(name) != value)
    assert listed == expected, f"docs/cli.md, section 'dlcodec {command}', needs these rows:\n{rows}"


def test_the_page_has_a_section_for_every_command_and_no_other() -> None:
    sections = {name for name in tables() if training or not name.startswith("train")}
    assert sections == {name for name in commands() if name not in ("eval", *(() if training else ("train",)))}


def test_every_row_has_as_many_cells_as_its_header() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
