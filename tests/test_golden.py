from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dlcodec import container
from dlcodec.checkpoint import read_metadata
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image, decode_latent, load_codec

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.dlc"))


def test_golden_files_are_there() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_golden_file_decodes_to_the_same_latent(path: Path) -> None:
    import zlib

    import torch

    expected = json.loads((path.parent / "expected.json").read_text())[path.name]
    file = container.unpack(path.read_bytes(), DEFAULT_LIMITS)
    assert f"{file.header.latent_digest:08x}" == expected["latent"]
    codec = load_codec(
        read_metadata(path.parent / "weights" / file.header.family / "base.safetensors"), torch.device("cpu")
    )
    latent = decode_latent(file, codec)
    assert f"{zlib.crc32(latent.astype('<i4').tobytes()):08x}" == expected["fixed_point"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_golden_file_decodes_to_the_same_pixels(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identical where it was made; within 2 of 255 elsewhere (other kernels round differently)."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(path.parent / "weights"))
    pixels = decode_image(path.read_bytes(), 1.0, "cpu")
    expected = np.load(path.with_suffix(".npy"))
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.parametrize("path", [p for p in FILES if p.with_suffix(".tau0.npy").exists()], ids=lambda path: path.name)
def test_a_golden_file_decodes_to_the_same_pixels_at_tau_0(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 45 dB against the pixels where they were made: noise, sampler and network are the same."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(path.parent / "weights"))
    pixels = decode_image(path.read_bytes(), 0.0, "cpu", precision="fp32")
    expected = np.load(path.with_suffix(".tau0.npy"))
    mse = np.square(pixels.astype(float) - expected).mean()
    assert mse <= 255**2 / 10**4.5
    if expected.size > 3:  # a single pixel hardly moves; all others do
        assert np.abs(expected.astype(int) - np.load(path.with_suffix(".npy"))).max() > 2
