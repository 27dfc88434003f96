"""What golden files promise, as checks: of a set whose weights are found under a folder, or where they ship."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dlcodec import container, installed
from dlcodec.coding import decode_latent
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image
from tests.golden.make import REFERENCE
from tests.golden.manifest import FOLDER, GoldenFile, GoldenSet

REFERENCE_TORCH = ("2.13.0", "2.15.0")
"""Releases of torch whose reference path was seen to give the reference pixels of shipped weights at tau 1."""

REFERENCE_TORCH_OF_ALL = ("2.15.0",)
"""Those that gave the pixels of all sets, at tau 0 too."""

Pictures = Mapping[tuple[str, str], npt.NDArray[np.uint8]]
"""Pixels by the name of a golden file and tau."""

CHILD = """
import os, sys, numpy, torch
from pathlib import Path
from dlcodec.pipeline import decode_image
torch.backends.mkldnn.enabled = False
arguments = iter(sys.argv[1:])
for weights, source, tau, target in zip(*4 * [arguments]):
    os.environ["DLCODEC_WEIGHTS"] = weights
    numpy.save(target, decode_image(Path(source).read_bytes(), float(tau), "cpu", precision="fp32"))
"""


def check_latent(golden: GoldenSet, file: GoldenFile) -> None:
    """The same integers, for ever and on every machine."""
    read_file = container.unpack(file.data, DEFAULT_LIMITS)
    found = installed.find(golden.family, read_file.header.model_digest)
    assert found.digest == golden.base
    latent = decode_latent(read_file, load_codec(found, torch.device("cpu")))
    assert f"{zlib.crc32(latent.astype('<i4').tobytes()):08x}" == file.latent


def check_pixels(file: GoldenFile) -> None:
    """Within 2 of 255, whatever the machine: other kernels round differently."""
    pixels, expected = decode_image(file.data, 1.0, "cpu"), file.picture("1")
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2


def check_pixels_at_tau_0(file: GoldenFile) -> None:
    """At least 45 dB against the pixels where they were made: noise, sampler and network are the same."""
    pixels, expected = decode_image(file.data, 0.0, "cpu", precision="fp32"), file.picture("0")
    assert np.square(pixels.astype(float) - expected).mean() <= 255**2 / 10**4.5
    if expected.size > 3:  # a single pixel hardly moves; all others do
        assert np.abs(expected.astype(int) - file.picture("1")).max() > 2


def reference_pictures(pictures: Sequence[tuple[Path | None, GoldenFile, str]], folder: Path) -> Pictures:
    """What the reference path makes of golden files at a tau, each with its folder of weights, in one process.

    ``folder`` is for what the process writes.
    """
    targets: dict[tuple[str, str], Path] = {}
    arguments: list[str] = []
    for number, (weights, file, tau) in enumerate(pictures):
        targets[file.file, tau] = folder / f"{number}.npy"
        arguments += [str(weights or ""), str(FOLDER / file.file), tau, str(targets[file.file, tau])]
    command = [sys.executable, "-W", "ignore", "-c", CHILD, *arguments]
    answer = subprocess.run(command, env={**os.environ, **REFERENCE}, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return {key: np.load(target) for key, target in targets.items()}


def check_reference(golden: GoldenSet, file: GoldenFile, tau: str, pixels: npt.NDArray[np.uint8]) -> None:
    """Bit for bit with a torch that was seen to; otherwise as near as on other paths."""
    expected = file.picture(tau)
    if tau == "1":
        assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2
    seen = REFERENCE_TORCH if golden.weights is None and tau == "1" else REFERENCE_TORCH_OF_ALL
    known = torch.__version__.partition("+")[0] in seen and torch.backends.mkl.is_available()
    if known and platform.machine() == "x86_64":
        assert np.array_equal(pixels, expected)
