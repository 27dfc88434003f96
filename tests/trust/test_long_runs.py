"""Many decodes in one process, and many processes at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import dlcodec
from tests.trust.children import Start, ended, resident_mebibytes, run_lines, say_into


def decode_often(data: bytes, times: int, errors: Path, connection: Any) -> None:
    """Decode a file many times; sends the resident memory before, once all caches are filled, and after."""
    say_into(errors)
    for _ in range(20):
        dlcodec.decode(data, tau=0.5)
    before = resident_mebibytes()
    for number in range(times):
        dlcodec.decode(data, tau=0.5 * (number % 3))
    connection.send((before, resident_mebibytes()))


def test_200_decodes_in_one_process_take_no_more_memory_than_20(start: Start, tiny_file: bytes, tmp_path: Path) -> None:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = start(decode_often, tiny_file, 200, tmp_path / "errors", sender)
    sender.close()
    before, after = receiver.recv()
    assert ended(child, tmp_path / "errors").code == 0
    print(f"{before:.0f} MiB before, {after:.0f} MiB after 200 decodes")
    assert after <= before + 4  # of each picture, a leak of 10 kB would take 2; of all that a decode takes, hundreds


@pytest.mark.parametrize("count", [8, pytest.param(64, marks=pytest.mark.slow)])
def test_processes_that_share_weights_inputs_and_a_folder_all_succeed(
    start: Start, tiny_file: bytes, tmp_path: Path, count: int
) -> None:
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    children = []
    for number in range(count):
        errors, goal = tmp_path / f"errors{number}", tmp_path / f"{number % 4}.png"
        line = ["decode", str(tmp_path / "a.dlc"), "-o", str(goal), "--force", "--tau", "1"]
        children.append((start(run_lines, [line] * 5, errors), errors))
    assert {(end.code, end.said) for end in (ended(*child) for child in children)} == {(0, "")}
    pictures = [path.read_bytes() for path in tmp_path.glob("*.png")]
    assert len(pictures) == 4
    assert len(set(pictures)) == 1
    assert not list(tmp_path.glob(".*.tmp"))
