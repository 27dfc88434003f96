"""What an honest decode takes of memory at most, as the system counts it, with the shipped weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dlcodec.bench.children import _run
from dlcodec.bench.subject import fill
from dlcodec.image import read_size
from dlcodec.limits import DEFAULT_LIMITS
from tests.conftest import RGB

SIZES = {(768, 512): 1.5, (3840, 2160): 3.0, (12000, 9000): 6.0}
"""Width and height, and the bound in GiB."""


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def coded(
    request: pytest.FixtureRequest, photo: RGB, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[int, int]]:
    """A photograph and its mirror images, encoded at the default level, and its width and height."""
    folder = tmp_path_factory.mktemp("coded")
    Image.fromarray(fill(photo, *request.param)).save(folder / "a.ppm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCODEC_WEIGHTS", "")
        _run(["encode", folder / "a.ppm", "-o", folder / "a.dlc", "--device", "cpu"])
    (folder / "a.ppm").unlink()
    return folder / "a.dlc", request.param


@pytest.mark.slow
@pytest.mark.parametrize("tau", ["1", "0"])
def test_an_honest_decode_keeps_to_its_bound_of_memory(
    coded: tuple[Path, tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tau: str
) -> None:
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")
    path, size = coded
    seconds, processor, peak = _run(["decode", path, "-o", tmp_path / "a.png", "--tau", tau, "--device", "cpu"])
    print(f"{size[0]} x {size[1]}, tau {tau}: {peak / 2**20:.0f} MiB, {processor:.1f} processor s of {seconds:.1f} s")
    assert read_size(tmp_path / "a.png", DEFAULT_LIMITS) == size
    assert peak > 256 * 2**20  # the weights and torch alone take more: less would be another process's
    assert peak <= SIZES[size] * 2**30
