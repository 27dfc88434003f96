"""No command needs a network or tries to use one."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import RGB
from tests.trust.children import Start, ended, run_without_network, say_into


def use_a_socket(errors: Path) -> None:
    """What no command may do."""
    say_into(errors)
    run_without_network(["--version"], errors)
    socket.socket()


def test_the_guard_sees_a_socket(start: Start, tmp_path: Path) -> None:
    end = ended(start(use_a_socket, tmp_path / "errors"), tmp_path / "errors")
    assert end.code == 1
    assert "network: socket.__new__" in end.said


@pytest.mark.parametrize(
    "line",
    [
        ["encode", "HERE/a.png", "-o", "HERE/new.dlc"],
        ["encode", "-r", "HERE", "--out-dir", "HERE/out", "--jobs", "3"],
        ["decode", "HERE/a.dlc", "-o", "HERE/{tau}.png", "--tau", "0,0.5,1"],
        ["info", "HERE/a.dlc"],
        ["compare", "HERE/a.png", "HERE/a.dlc@1", "-o", "HERE/side.png"],
        ["demo", "-o", "HERE/demo", "-q", "1"],
        ["models", "list"],
        ["models", "verify"],
    ],
    ids=lambda line: " ".join(line[:2]).replace("HERE/", ""),
)
def test_a_command_runs_where_sockets_are_forbidden(
    start: Start, tiny_file: bytes, tmp_path: Path, photo: RGB, line: list[str]
) -> None:
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    Image.fromarray(photo[100:150, 200:270]).save(tmp_path / "a.png")
    line = [word.replace("HERE", str(tmp_path)) for word in line]
    end = ended(start(run_without_network, line, tmp_path / "errors"), tmp_path / "errors")
    assert (end.code, "error" in end.said, "network" in end.said) == (0, False, False)


def test_a_fresh_process_that_loads_everything_uses_no_network(tiny: Path, tiny_file: bytes, tmp_path: Path) -> None:
    """The guard above is set in a process that has torch and the weights already; here it comes first."""
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    line = ["decode", str(tmp_path / "a.dlc"), "-o", str(tmp_path / "{tau}.png"), "--tau", "0,1"]
    code = f"""
import os, sys
def refuse(event, _):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "ssl.")):
        os.write(2, f"network: {{event}}\\n".encode())
        raise RuntimeError(event)
sys.addaudithook(refuse)
sys.argv = ["dlcodec", *{line!r}]
from dlcodec.cli import main
main()
"""
    end = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (end.returncode, "network" in end.stderr) == (0, False), end.stderr
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["0.png", "1.png"]
