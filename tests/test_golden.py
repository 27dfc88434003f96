"""Golden files: what was written once decodes to the same latents and the same picture for ever."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dlcodec import checkpoint, container
from dlcodec.coding import decode_latent
from dlcodec.errors import WeightsError
from dlcodec.families import FAMILIES
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image
from tests.golden.make import REFERENCE
from tests.golden.manifest import FOLDER, PATH, GoldenFile, GoldenSet, read, seal

ROOT = Path(__file__).resolve().parents[1]
SETS = read()
FILES = [(each, file) for each in SETS for file in each.files]
SHIPPED = [(each, file) for each, file in FILES if each.weights is None]
each_file = pytest.mark.parametrize(("golden", "file"), FILES, ids=lambda value: getattr(value, "file", ""))
each_shipped = pytest.mark.parametrize(("golden", "file"), SHIPPED, ids=lambda value: getattr(value, "file", ""))

SEALED = (
    (1, "1e6f6cedc2e96c6af435f23e26304c86c09f8424b4204bfaa2cf027096c4e593"),
    (2, "2565a9b343a3728397b8b368c06b8bfd5b2c28e81bc14a58f096e3fdd50b180b"),
    (3, "3a69d96028f453645ac1b3401b442e620dc44bf34e24a1b31755101db21cc6bb"),
    (4, "29a2b4fbd8f666442972f1201692404942853df5fd198d12a2c2cc2568c374a5"),
    (5, "d27e92c216b79c00cc3971a058c5ca0dcfb8787a1a246e76e9f3c0a8b7b922ef"),
    (6, "e2d6ebb35ada5b79f5ca0b69ecf3f77ea413fcac9f13b819ee204aa213ba8ac6"),
    (7, "0f609d31d02cdf2fc0fd927eaf3fddee3916331262fb7921fa2e7b4d47b1cd53"),
    (8, "8590601475b6f35776a572d0ae0d775cf13eb68bfde26f436c4d1aa375f169bc"),
    (9, "7dd302197c8893bef1182d11d9d958af7461620f04615c45762c049dff0ce521"),
    (10, "4c2da67b0a153e8beab2f222454e8a80a2de1ffed14f9d513161ec8b626d2706"),
    (11, "0e92c4bd092459dc90f54daab263519023b374785a46c321c94654f7910031f4"),
)
"""Digests of the manifest's first sets. Lines are added, as ``tests.golden.make`` prints them; none is changed."""

REFERENCE_TORCH = ("2.13.0", "2.15.0")
"""Releases of torch whose reference path was seen to give the reference pixels bit for bit."""


def install(golden: GoldenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a set's weights found, or the shipped ones alone."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", "" if golden.weights is None else str(FOLDER / golden.weights))


def find_base(golden: GoldenSet) -> checkpoint.Checkpoint:
    return checkpoint.find(golden.family, bytes.fromhex(golden.base)[: checkpoint.DIGEST_BYTES])


def installed(golden: GoldenSet) -> bool:
    """Whether the base weights of a set can be found."""
    try:
        return find_base(golden).digest == golden.base
    except WeightsError:
        return False


def has_fusion(golden: GoldenSet) -> bool:
    """Whether the fusion weights that made a set's pictures at tau 0 can be found."""
    try:
        return checkpoint.find_fusion(find_base(golden)).digest == golden.fusion
    except WeightsError:
        return False


def test_the_manifest_has_only_grown() -> None:
    assert [count for count, _ in SEALED] == list(range(1, len(SETS) + 1))
    for count, digest in SEALED:
        assert seal(SETS[:count]) == digest


def test_every_file_is_as_the_manifest_says_and_none_is_missing() -> None:
    found = {str(path.relative_to(FOLDER)): path for path in FOLDER.rglob("*") if path.is_file() and path != PATH}
    said = {path: digest for each in SETS for path, digest in each.sha256.items()}
    assert {path: hashlib.sha256(found[path].read_bytes()).hexdigest() for path in found} == said
    assert {file.file for _, file in FILES} == {path for path in said if path.endswith(".dlc")}


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        *(("tiny", family.name) for family in FAMILIES),
        *(("shipped", path.parent.name) for path in sorted((ROOT / "weights").glob("*/base.safetensors"))),
    ],
)
def test_each_family_is_there_at_three_levels(kind: str, family: str) -> None:
    sets = [each for each in SETS if each.family == family and (each.weights is None) == (kind == "shipped")]
    assert sets
    for each in sets:
        assert len({file.level for file in each.files}) >= 3


@pytest.mark.parametrize(
    "path", sorted((ROOT / "weights").glob("*/base.safetensors")), ids=lambda path: path.parent.name
)
def test_the_weights_that_ship_have_golden_files(path: Path) -> None:
    base = checkpoint.read_metadata(path)
    ours = [each for each in SETS if each.weights is None and each.base == base.digest]
    assert ours
    assert checkpoint.find(base.family).digest == base.digest
    assert checkpoint.find_fusion(base).digest in {each.fusion for each in ours}


@each_file
def test_a_golden_file_decodes_to_the_same_latent(
    golden: GoldenSet, file: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(golden, monkeypatch)
    read_file = container.unpack(file.data, DEFAULT_LIMITS)
    assert read_file.version == 1
    assert f"{read_file.header.latent_digest:08x}" == file.latent_digest
    assert read_file.header.model_digest.hex() == golden.base[:16]
    if golden.weights is None and not installed(golden):
        return refused(golden, file)
    found = checkpoint.find(golden.family, read_file.header.model_digest)
    latent = decode_latent(read_file, load_codec(found, torch.device("cpu")))
    assert f"{zlib.crc32(latent.astype('<i4').tobytes()):08x}" == file.latent


def refused(golden: GoldenSet, file: GoldenFile) -> None:
    """Decoding says code 7: the weights that the file names are not installed."""
    with pytest.raises(WeightsError, match=f"the file needs {golden.family} weights") as caught:
        decode_image(file.data, 1.0, "cpu")
    assert caught.value.exit_code == 7


@each_shipped
def test_other_weights_than_a_file_names_are_code_7(
    golden: GoldenSet, file: GoldenFile, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "weight_folders", lambda: [tiny.parents[1]])
    assert not installed(golden)
    refused(golden, file)


@each_file
def test_a_golden_file_decodes_to_the_same_pixels(
    golden: GoldenSet, file: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 2 of 255, whatever the machine: other kernels round differently."""
    install(golden, monkeypatch)
    if golden.weights is None and not installed(golden):
        return refused(golden, file)
    pixels, expected = decode_image(file.data, 1.0, "cpu"), file.picture("1")
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("golden", "file"), [(g, f) for g, f in FILES if "0" in f.pictures], ids=lambda value: getattr(value, "file", "")
)
def test_a_golden_file_decodes_to_the_same_pixels_at_tau_0(
    golden: GoldenSet, file: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least 45 dB against the pixels where they were made: noise, sampler and network are the same."""
    install(golden, monkeypatch)
    if golden.weights is None and not installed(golden):
        return refused(golden, file)
    if not has_fusion(golden):
        pytest.skip("other fusion weights are installed; the format promises the picture at tau 1 alone")
    pixels, expected = decode_image(file.data, 0.0, "cpu", precision="fp32"), file.picture("0")
    assert np.square(pixels.astype(float) - expected).mean() <= 255**2 / 10**4.5
    if expected.size > 3:  # a single pixel hardly moves; all others do
        assert np.abs(expected.astype(int) - file.picture("1")).max() > 2


CHILD = """
import sys, numpy, torch
from pathlib import Path
from dlcodec.pipeline import decode_image
torch.backends.mkldnn.enabled = False
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    numpy.save(target, decode_image(Path(source).read_bytes(), 1.0, "cpu"))
"""


@pytest.fixture(scope="module")
def reference_pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, npt.NDArray[np.uint8]]:
    """The pictures of the shipped weights at tau 1, by the reference path in a process of its own."""
    folder = tmp_path_factory.mktemp("reference")
    names = {file.file: folder / f"{number}.npy" for number, (g, file) in enumerate(SHIPPED) if installed(g)}
    paths = [str(path) for name, target in names.items() for path in (FOLDER / name, target)]
    environment = {**os.environ, **REFERENCE, "DLCODEC_WEIGHTS": ""}
    command = [sys.executable, "-W", "ignore", "-c", CHILD, *paths]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return {name: np.load(target) for name, target in names.items()}


@each_shipped
def test_the_reference_path_gives_the_reference_pixels(
    golden: GoldenSet, file: GoldenFile, reference_pictures: dict[str, npt.NDArray[np.uint8]]
) -> None:
    """Bit for bit with a torch that was seen to; within 2 of 255 with others."""
    if file.file not in reference_pictures:
        return refused(golden, file)
    pixels, expected = reference_pictures[file.file], file.picture("1")
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2
    known = torch.__version__.partition("+")[0] in REFERENCE_TORCH and torch.backends.mkl.is_available()
    if known and platform.machine() == "x86_64":
        assert np.array_equal(pixels, expected)
