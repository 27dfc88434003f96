"""The outputs of many inputs, and the collisions that are refused before work starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlcodec.batch.plan import Job, plan
from dlcodec.errors import InputError, OutputError, UsageError
from dlcodec.streams import STREAM

SUFFIXES = frozenset({".png", ".jpg"})


def planned(*inputs: str, output: str | None = None, out_dir: str | None = "out") -> list[Job]:
    def rename(stem: str) -> Sequence[str]:
        return [f"{stem}.dlc"]

    folder = None if out_dir is None else Path(out_dir)
    leave = {}.__setitem__
    return plan(inputs, SUFFIXES, rename, output=output, out_dir=folder, recursive=True, leave=leave)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/sub/a.png", "in/sub/b.v2", "more/sub/c.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_the_tree_is_mirrored_relative_to_each_folder() -> None:
    assert [(str(job.source), *map(str, job.outputs)) for job in planned("in", "more", "in/sub/b.v2")] == [
        ("in/a.png", "out/a.dlc"),
        ("in/sub/a.png", "out/sub/a.dlc"),
        ("more/sub/c.jpg", "out/sub/c.dlc"),
        ("in/sub/b.v2", "out/b.v2.dlc"),
    ]


@pytest.mark.parametrize("inputs", [("in/a.png", "in/sub/a.png"), ("in/a.png", "in/a.jpg")])
def test_two_inputs_on_one_output_fail_and_the_others_go_on(inputs: tuple[str, ...]) -> None:
    *pair, other = planned(*inputs, "more/sub/c.jpg")
    assert (other.fault, len(other.outputs)) == (None, 1)
    for job, name in zip(pair, reversed(inputs), strict=True):
        assert isinstance(job.fault, OutputError)
        assert str(job.fault) == f"its output, out/a.dlc, would be that of {name} too; rename one"
        assert job.outputs == ()


def test_the_same_input_twice_is_one_job() -> None:
    assert len(planned("in/a.png", "./in/a.png", "in/../in/a.png")) == 1


def test_an_unreadable_folder_takes_no_output_from_a_picture_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(folder: Path) -> object:
        if folder.name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    real = os.scandir
    Path("in/sub.png").touch()
    monkeypatch.setattr(os, "scandir", scandir)
    assert [(str(job.source), len(job.outputs), job.fault is None) for job in planned("in")] == [
        ("in/a.png", 1, True),
        ("in/sub", 0, False),
        ("in/sub.png", 1, True),
    ]
    with pytest.raises(InputError, match="cannot read in/sub: Permission denied"):
        planned("in/**/a.png", output="x.dlc", out_dir=None)


def test_an_output_that_is_an_input_is_refused() -> None:
    Path("in/x.dlc").touch()
    faulty, _ = planned("in/x", "in/x.dlc", out_dir="in")
    assert isinstance(faulty.fault, OutputError)
    assert "is an input itself" in str(faulty.fault)
    with pytest.raises(OutputError, match="is an input itself"):
        planned("in/x.dlc", output="in/x.dlc", out_dir=None)


@pytest.mark.parametrize(
    ("inputs", "output", "out_dir"),
    [
        (("in/a.png",), None, None),
        (("in/a.png",), "x.dlc", "out"),
        (("in/a.png", "more/sub/c.jpg"), "x.dlc", None),
        (("in",), "x.dlc", None),
        (("-",), None, "out"),
    ],
)
def test_where_the_output_goes_is_said_once(inputs: tuple[str, ...], output: str | None, out_dir: str | None) -> None:
    with pytest.raises(UsageError):
        planned(*inputs, output=output, out_dir=out_dir)


def test_a_dash_is_standard_output_and_a_file_of_that_name_is_a_file(tmp_path: Path) -> None:
    assert planned("in/a.png", output="-", out_dir=None)[0].outputs == (STREAM,)
    assert planned("in/a.png", output="./-", out_dir=None)[0].outputs == (tmp_path / "-",)


def test_no_output_leaves_the_folder(tmp_path: Path) -> None:
    Path("list.txt").write_text("../../../etc/passwd\nin/../../x.png\n")
    for job in planned("@list.txt"):
        assert Path("out") == job.outputs[0].parent


def test_the_refusal_of_a_name_that_is_no_utf8_is_text() -> None:
    for folder in ("in", "more"):
        (Path(folder) / "x\udcff.png").touch()
    one, other = planned("in/x\udcff.png", "more/x\udcff.png")
    assert "that of more/x\\xff.png too" in str(one.fault)
    assert "that of in/x\\xff.png too" in str(other.fault)
