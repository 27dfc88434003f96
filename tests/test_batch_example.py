"""docs/batch-example.sh does what docs/batch.md says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import dlcodec

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_script_compresses_and_resumes(tiny: Path, tmp_path: Path, photo: npt.NDArray[np.uint8]) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(photo[:40, :50]).save(tmp_path / "in" / name)
    for name in ("bad.png", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"garbage")
    environment = {**os.environ, "DLCODEC": f"{sys.executable} -m dlcodec", "PYTHONPATH": str(ROOT)}
    for skipped in (False, True):
        result = subprocess.run(
            ["sh", str(ROOT / "docs" / "batch-example.sh"), "in", "out", "2"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 3
        assert result.stderr == "dlcodec: cannot read in/bad.png as an image: it is not in a known image format\n"
        data = (tmp_path / "out" / "sub" / "b.dlc").read_bytes()
        assert dlcodec.read_info(data).level == 2
        size = len(data) + (tmp_path / "out" / "a.dlc").stat().st_size
        assert result.stdout == f"2 pictures, {size} bytes, {8 * size / 4000:.3f} bpp; 1 failed, 1 left out\n"
        assert (tmp_path / "out" / "failed.txt").read_text() == "in/bad.png\n"
        lines = [json.loads(line) for line in (tmp_path / "out" / "done.jsonl").read_text().splitlines()]
        assert [line.get("skipped") for line in lines] == [skipped, None, skipped, None]
