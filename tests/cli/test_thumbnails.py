"""``encode --thumbnail`` and ``decode --thumbnail``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import dlcodec
from tests.cli.conftest import Run
from tests.conftest import RGB


def test_commands_write_and_read_it(run: Run, tmp_path: Path, photo: RGB) -> None:
    image, file, small = tmp_path / "a.png", tmp_path / "a.dlc", tmp_path / "t.png"
    Image.fromarray(photo[:200, :300]).save(image)
    assert run("encode", image, "-o", file, "--thumbnail", "64").code == 0
    ran = run("decode", file, "-o", small, "--thumbnail", "--json")
    assert (ran.code, ran.lines[0]["tau"], ran.lines[0]["width"]) == (0, None, 64)
    shown = dlcodec.read_thumbnail(file.read_bytes())
    assert shown is not None
    with Image.open(small) as written:
        assert written.size == (64, 43)
        assert np.array_equal(written, shown)
    assert dlcodec.read_info(file.read_bytes()).sections["thumbnail"] > 0
    assert run("decode", file, "-o", small, "--thumbnail").code == 8
    assert run("decode", file, "-o", tmp_path / "u.png", "--thumbnail", "--tau", "0").code == 2
    assert run("decode", file, "-o", tmp_path / "u-{tau}.png", "--thumbnail").code == 2
    assert run("encode", image, "-o", tmp_path / "b.dlc", "--thumbnail", "8").code == 2


def test_a_file_without_one_is_code_3(run: Run, tmp_path: Path, tiny_file: bytes) -> None:
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    ran = run("decode", tmp_path / "a.dlc", "-o", tmp_path / "t.png", "--thumbnail")
    assert ran.code == 3
    assert "has no thumbnail" in ran.err
    assert not (tmp_path / "t.png").exists()


def test_reading_it_needs_no_torch(run: Run, tmp_path: Path, photo: RGB) -> None:
    image, file, small = tmp_path / "a.png", tmp_path / "a.dlc", tmp_path / "t.png"
    Image.fromarray(photo[:50, :70]).save(image)
    assert run("encode", image, "-o", file, "--thumbnail", "64").code == 0
    code = (
        "import sys\nfrom dlcodec import cli\n"
        f"sys.argv[1:] = ['decode', {str(file)!r}, '-o', {str(small)!r}, '--thumbnail']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert small.exists()
