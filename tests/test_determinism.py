"""The same file gives the same latents whatever the threads and kernels (every shipped base, and each family)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlcodec.families import FAMILIES
from dlcodec.installed import find
from dlcodec.pipeline import encode_image
from tests.conftest import RGB, ROOT
from tests.golden.manifest import FOLDER, read

CHILD = """
import os, sys, torch
threads, onednn = int(sys.argv[1]), sys.argv[2] == "on"
torch.set_num_threads(threads)
torch.backends.mkldnn.enabled = onednn
from dlcodec import container, installed
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.coding import decode_latent
from dlcodec.loading import load_codec
for weights, path in zip(sys.argv[3::2], sys.argv[4::2]):
    os.environ["DLCODEC_WEIGHTS"] = weights
    file = container.unpack(open(path, "rb").read(), DEFAULT_LIMITS)
    codec = load_codec(installed.find(file.header.family, file.header.model_digest), torch.device("cpu"))
    decode_latent(file, codec)  # raises when one scale index, symbol or mean differs
    print("same", torch.backends.cpu.get_cpu_capability())
"""
MATRIX = list(itertools.product((1, 2, 8), ("on", "off"), ("default", "avx2", "avx512")))
BASES = sorted((ROOT / "weights").glob("*/base*.safetensors"))
WithWeights = tuple[Path, Path]
"""A folder of weights and a file for them."""
_LAST = {each.family: each for each in read() if each.weights}
TINY: dict[str, list[WithWeights]] = {
    family: [(FOLDER / str(each.weights), FOLDER / file.file) for file in each.files] for family, each in _LAST.items()
}
"""The last tiny golden set of each family."""


@pytest.fixture(scope="module", params=BASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder that holds one of the shipped base checkpoints."""
    folder = tmp_path_factory.mktemp("one")
    (folder / request.param.parent.name).mkdir()
    (folder / request.param.parent.name / "base.safetensors").symlink_to(request.param)
    return folder


def encode_with(weights: Path, rgb: RGB, level: float | None) -> bytes:
    (family,) = (path.name for path in weights.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCODEC_WEIGHTS", str(weights))
        return encode_image(rgb, level, "cpu", base=find(family))


def decode_in_child(
    threads: int, onednn: str, capability: str, files: list[WithWeights], **variables: str
) -> list[str]:
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability, **variables}
    pairs = (str(path) for pair in files for path in pair)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(threads), onednn, *pairs]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def encoded(photo: RGB, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[WithWeights]:
    folder = tmp_path_factory.mktemp("encoded")
    files = []
    for level in (1.5, 6.0):
        path = folder / f"{level}.dlc"
        path.write_bytes(encode_with(weights, photo, level))
        files.append((weights, path))
    return files


@pytest.mark.parametrize(("threads", "onednn", "capability"), MATRIX)
def test_latents_do_not_depend_on_threads_or_kernels(
    encoded: list[WithWeights], threads: int, onednn: str, capability: str
) -> None:
    """Of a photograph by the shipped base, and of the golden files of each family's tiny one."""
    assert set(TINY) == {family.name for family in FAMILIES}
    files = [*encoded, *(pair for pairs in TINY.values() for pair in pairs)]
    lines = decode_in_child(threads, onednn, capability, files)
    assert len(lines) == len(files) >= 2 + 3 * len(FAMILIES)
    assert all(line.startswith("same") for line in lines)
    if capability == "default":
        assert lines[0].endswith(("DEFAULT", "NO AVX")), lines


@pytest.mark.parametrize(("threads", "kernels"), [(1, "Prescott"), (2, "Haswell")])
def test_latents_of_a_context_model_do_not_depend_on_the_kernels_of_numpy(threads: int, kernels: str) -> None:
    """OpenBLAS takes these names on x86-64, and leaves them aside elsewhere."""
    options = {"OPENBLAS_CORETYPE": kernels, "OPENBLAS_NUM_THREADS": str(threads)}
    lines = decode_in_child(threads, "off", "default", TINY["cheng2020"], **options)
    assert len(lines) == len(TINY["cheng2020"]) == 4


@pytest.mark.slow
def test_latents_of_kodak_do_not_depend_on_threads_or_kernels(weights: Path, tmp_path: Path) -> None:
    """Needs the folder of the Kodak images in $DLCODEC_KODAK."""
    from dlcodec.image import load
    from dlcodec.limits import DEFAULT_LIMITS

    files = []
    for path in sorted(Path(os.environ["DLCODEC_KODAK"]).glob("*.png")):
        files.append((weights, tmp_path / f"{path.stem}.dlc"))
        files[-1][1].write_bytes(encode_with(weights, load(path, DEFAULT_LIMITS), None))
    assert len(files) == 24
    for threads, onednn, capability in MATRIX:
        assert len(decode_in_child(threads, onednn, capability, files)) == 24
