"""Golden files whose weights no longer ship: out of the repository's history they still decode them, for ever."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dlcodec import checkpoint, installed
from tests.golden.checks import check_latent, check_pixels, check_pixels_at_tau_0, check_reference, reference_pictures
from tests.golden.manifest import GoldenSet, read

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| \d+ \| `(?P<base>[0-9a-f]{16})` \|.*\| (?:`(?P<commit>[0-9a-f]{7,40})`|here) \|$", re.MULTILINE)
COMMITS = {row["base"]: row["commit"] for row in ROW.finditer((ROOT / "weights" / "README.md").read_text())}
"""By the first digits of a base's digest, the commit that has its weights; None where they ship."""
SHIPPED = [each for each in read() if each.weights is None]
PRESENT = {
    checkpoint.read_metadata(path).digest for path in ROOT.glob("weights/*/*.safetensors") if path.name[:4] != "part"
}
OLDER = [each for each in SHIPPED if not {each.base, each.fusion} <= PRESENT]


def git(*arguments: str) -> bytes:
    """What git says of this repository."""
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


def why_not() -> str:
    """Why there is no history to take weights from; nothing where there is."""
    if shutil.which("git") is None:
        return "git is not installed"
    try:
        if Path(git("rev-parse", "--show-toplevel").decode().strip()) != ROOT:
            return "this is no checkout"
        shallow = git("rev-parse", "--is-shallow-repository").decode().strip()
    except subprocess.CalledProcessError:
        return "this is no checkout"
    return "this is a shallow clone" if shallow == "true" else ""


def take(commit: str, family: str, kind: str, folder: Path) -> checkpoint.Checkpoint:
    """Write the ``kind`` of checkpoint, "base" or "fusion", that a commit has for a family, all its parts."""
    for stale in folder.glob(f"*{kind}.safetensors"):
        stale.unlink()
    for name in git("ls-tree", "--name-only", commit, f"weights/{family}/").decode().splitlines():
        if re.fullmatch(rf"(part\d+-)?{kind}\.safetensors", Path(name).name):
            (folder / Path(name).name).write_bytes(git("show", f"{commit}:{name}"))
    return checkpoint.read_metadata(folder / f"{kind}.safetensors")


def take_fusion(golden: GoldenSet, commit: str, folder: Path) -> None:
    """The fusion network that made a set's pictures: that of the commit, or one before it beside the same base."""
    earlier = git("log", "--format=%H", commit, "--", f"weights/{golden.family}/fusion.safetensors").decode().split()
    for each in (commit, *earlier):
        if take(each, golden.family, "fusion", folder).digest == golden.fusion:
            return
    raise AssertionError(f"no commit up to {commit} has the fusion weights {golden.fusion}")


@dataclass(frozen=True)
class Taken:
    """A golden set and a folder that holds its weights and no others."""

    golden: GoldenSet
    weights: Path


@pytest.fixture(scope="module", params=OLDER, ids=lambda golden: golden.name)
def taken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    """Each older set in turn."""
    if reason := why_not():
        pytest.skip(reason)
    golden: GoldenSet = request.param
    weights = tmp_path_factory.mktemp("old")
    folder = weights / golden.family
    folder.mkdir()
    commit = COMMITS[golden.base[:16]]
    assert commit
    assert take(commit, golden.family, "base", folder).digest == golden.base
    if golden.fusion:
        take_fusion(golden, commit, folder)
    yield Taken(golden, weights)
    shutil.rmtree(weights)  # 30 MB each


def test_the_table_of_weights_has_every_base_that_golden_files_name() -> None:
    assert OLDER
    for each in SHIPPED:
        assert each.base[:16] in COMMITS, f"weights/README.md lacks {each.base[:16]}"
        assert (COMMITS[each.base[:16]] is None) == (each.base in PRESENT)


@pytest.mark.slow
def test_older_weights_decode_their_golden_files_to_the_same_latents_and_pixels(
    taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine's kernels as the format promises, and on the reference path bit for bit."""
    golden = taken.golden
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(taken.weights))
    base = installed.find(golden.family, bytes.fromhex(golden.base)[: checkpoint.DIGEST_BYTES])
    assert base.path.is_relative_to(taken.weights)
    assert installed.find_fusion(base).digest == golden.fusion
    pictures = [(taken.weights, file, tau) for file in golden.files for tau in file.pictures]
    by_reference = reference_pictures(pictures, tmp_path)
    for file in golden.files:
        check_latent(golden, file)
        check_pixels(file)
        if "0" in file.pictures:
            check_pixels_at_tau_0(file)
        for tau in file.pictures:
            check_reference(golden, file, tau, by_reference[file.file, tau])
