"""Golden files: what was written once decodes to the same latents and the same picture for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dlcodec import checkpoint, container, installed
from dlcodec.errors import WeightsError
from dlcodec.families import FAMILIES
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image
from tests.golden.checks import (
    Pictures,
    check_latent,
    check_pixels,
    check_pixels_at_tau_0,
    check_reference,
    reference_pictures,
)
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
    (12, "2b3f4a8b8db1568948df92cf1ac4029dad8d3dcbbbc6b36d176f9611018e2390"),
    (13, "5870d60c0f7add6525edf011fc95f020151941399074aba6dcdeb8fb1c940c04"),
    (14, "dff1774838657a7678028934cd3ae86dabe64f4dabed9205228b81fd2cbf3878"),
    (15, "3b71237fb107223796d2c05c3fd31cc29da8cd6f1fa4189fda3c4c153c3262ef"),
    (16, "7b5aaed6d70e4047b36aebb740045e6bae5fe47e1db6e8f148edc66fa6d553fe"),
)
"""Digests of the manifest's first sets. Lines are added, as ``tests.golden.make`` prints them; none is changed."""


def install(golden: GoldenSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a set's weights found, or the shipped ones alone."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", "" if golden.weights is None else str(FOLDER / golden.weights))


def find_base(golden: GoldenSet) -> checkpoint.Checkpoint:
    return installed.find(golden.family, bytes.fromhex(golden.base)[: checkpoint.DIGEST_BYTES])


def have_weights(golden: GoldenSet) -> bool:
    """Whether the base weights of a set can be found."""
    try:
        return find_base(golden).digest == golden.base
    except WeightsError:
        return False


def has_fusion(golden: GoldenSet) -> bool:
    """Whether the fusion weights that made a set's pictures at tau 0 can be found."""
    try:
        return installed.find_fusion(find_base(golden)).digest == golden.fusion
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
    assert installed.find(base.family).digest == base.digest
    assert installed.find_fusion(base).digest in {each.fusion for each in ours}


@each_file
def test_a_golden_file_decodes_to_the_same_latent(
    golden: GoldenSet, file: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(golden, monkeypatch)
    read_file = container.unpack(file.data, DEFAULT_LIMITS)
    assert read_file.version == 1
    assert f"{read_file.header.latent_digest:08x}" == file.latent_digest
    assert read_file.header.model_digest.hex() == golden.base[:16]
    if golden.weights is None and not have_weights(golden):
        return refused(golden, file)
    check_latent(golden, file)


def refused(golden: GoldenSet, file: GoldenFile) -> None:
    """Decoding says code 7: the weights that the file names are not installed."""
    with pytest.raises(WeightsError, match=f"the file needs {golden.family} weights") as caught:
        decode_image(file.data, 1.0, "cpu")
    assert caught.value.exit_code == 7


@each_shipped
def test_other_weights_than_a_file_names_are_code_7(
    golden: GoldenSet, file: GoldenFile, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "weight_folders", lambda: [tiny.parents[1]])
    assert not have_weights(golden)
    refused(golden, file)


@each_file
def test_a_golden_file_decodes_to_the_same_pixels(
    golden: GoldenSet, file: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(golden, monkeypatch)
    if golden.weights is None and not have_weights(golden):
        return refused(golden, file)
    check_pixels(file)


@pytest.mark.parametrize(
    ("golden", "file"), [(g, f) for g, f in FILES if "0" in f.pictures], ids=lambda value: getattr(value, "file", "")
)
def test_a_golden_file_decodes_to_the_same_pixels_at_tau_0(
    golden: GoldenSet, file: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(golden, monkeypatch)
    if golden.weights is None and not have_weights(golden):
        return refused(golden, file)
    if not has_fusion(golden):
        pytest.skip("other fusion weights are installed; the format promises the picture at tau 1 alone")
    check_pixels_at_tau_0(file)


def taus_of(golden: GoldenSet) -> list[str]:
    """The taus at which the weights that are here give the pictures of a set."""
    with pytest.MonkeyPatch.context() as patch:
        install(golden, patch)
        if not have_weights(golden):
            return []
        return ["1", "0"] if golden.fusion and has_fusion(golden) else ["1"]


def weights_of(golden: GoldenSet) -> Path | None:
    return FOLDER / golden.weights if golden.weights else None


HERE = [(golden, file, tau) for golden in SETS for tau in taus_of(golden) for file in golden.files]


@pytest.fixture(scope="module")
def by_reference(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Every picture that the weights that are here give."""
    pictures = [(weights_of(golden), file, tau) for golden, file, tau in HERE]
    return reference_pictures(pictures, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize(
    ("golden", "file", "tau"), HERE, ids=lambda value: getattr(value, "file", value if isinstance(value, str) else "")
)
def test_the_reference_path_gives_the_reference_pixels(
    golden: GoldenSet, file: GoldenFile, tau: str, by_reference: Pictures
) -> None:
    check_reference(golden, file, tau, by_reference[file.file, tau])


def test_every_family_has_reference_pixels_at_both_ends() -> None:
    assert {(golden.family, tau) for golden, _, tau in HERE} == {(f.name, tau) for f in FAMILIES for tau in "01"}
