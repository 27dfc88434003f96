"""Headers that claim far more than may be processed, in processes of their own."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forged import seal, varint

SCRIPT = """
import resource, sys
from dlcodec.cli import main
try:
    main()
except SystemExit as stop:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    print(stop.code, "torch" in sys.modules, int(peak) / 1024, used.ru_utime + used.ru_stime)
"""


def bombs(file: bytes, count: int) -> list[bytes]:
    """The file with other sides: one a little over a limit, or both anything up to 2^32 - 1."""
    random_ = random.Random(9)
    large = [2**32 - 1, 2**16, *(random_.randrange(2**16, 2**32) for _ in range(count))]
    sides = [(side, random_.choice((1, 70, side, 2**32 - 1))) for side in large[:count]]
    return [seal(file[:26] + varint(width) + varint(height) + file[28:-4]) for width, height in sides]


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_header_bombs_take_neither_time_nor_memory_nor_torch(tiny_file: bytes, tmp_path: Path, count: int) -> None:
    path = tmp_path / "bomb.dlc"
    for data in bombs(tiny_file, count):
        path.write_bytes(data)
        command = [sys.executable, "-c", SCRIPT, "decode", str(path), "-o", str(tmp_path / "a.png")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        code, imported, mebibytes, seconds = result.stdout.split()
        assert (code, imported, result.stderr.count("\n")) == ("6", "False", 1)
        assert float(mebibytes) <= 64
        assert float(seconds) <= 0.5
    assert [each.name for each in tmp_path.iterdir()] == ["bomb.dlc"]
