"""``dlcodec models import``: the whole way from a foreign file to a picture, and every refusal with its exit code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Run
from tests.conftest import RGB

try:
    import compressai.models  # noqa: F401
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec.importing import command, zoo
from tests.importing.test_mean_scale import make_original


@pytest.fixture(scope="module")
def saved() -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": make_original().state_dict(), "epoch": 1}, stream)
    return stream.getvalue()


@pytest.fixture
def file(tmp_path: Path, saved: bytes) -> Path:
    path = tmp_path / "tiny.pth.tar"
    path.write_bytes(saved)
    return path


@pytest.fixture
def image(tmp_path: Path, photo: RGB) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(photo[:90, :100]).save(path)
    return path


def test_an_imported_model_encodes_and_decodes_at_once(run: Run, file: Path, image: Path, tmp_path: Path) -> None:
    folder, coded, picture = tmp_path / "zoo", tmp_path / "a.dlc", tmp_path / "a.png"
    assert run("models", "import", file, "-o", folder).code == 0
    base = folder / "mean-scale" / "base.safetensors"
    assert run("models", "verify", base).code == 0
    assert run("encode", image, "--model", folder, "-o", coded).code == 0
    (said,) = json.loads(run("info", coded, "--model", folder, "--json").out)
    assert (said["level"], said["weights"], said["fusion"]) == (0, str(base), None)
    assert run("decode", coded, "--model", folder, "--tau", "1", "-o", picture).code == 0
    assert np.asarray(Image.open(picture)).shape == (90, 100, 3)
    for more in ((), ("--tau", "0.5")):
        fused = run("decode", coded, "--model", folder, *more, "-o", tmp_path / "b.png")
        assert (fused.code, fused.err.count("\n")) == (7, 1)
        assert "tau below 1 needs fusion weights for the mean-scale base" in fused.err
    assert run("explore", coded, "--model", folder, "-o", tmp_path / "a.html").code == 7
    assert run("demo", "--model", folder, "-o", tmp_path / "demo").code == 7
    assert run("decode", coded, "--tau", "1", "-o", tmp_path / "b.png").code == 7  # not among those installed
    assert not list(tmp_path.glob("b.*"))


def test_names_let_several_models_share_a_folder(run: Run, file: Path, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    for name in ("one", "two.2"):
        assert run("models", "import", file, "--name", name, "-o", folder).code == 0
    assert sorted(path.name for path in (folder / "mean-scale").iterdir()) == [
        "base-one.safetensors",
        "base-two.2.safetensors",
    ]
    assert run("encode", image, "--model", folder, "-o", tmp_path / "a.dlc").code == 2
    one = folder / "mean-scale" / "base-one.safetensors"
    assert run("encode", image, "--model", one, "-o", tmp_path / "a.dlc").code == 0
    assert run("decode", tmp_path / "a.dlc", "--model", folder, "--tau", "1", "-o", tmp_path / "a.png").code == 0


def test_what_exists_is_kept_without_force(run: Run, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    assert run("models", "import", file, "-o", folder).code == 0
    assert run("models", "import", file, "-o", folder).code == 8
    assert run("models", "import", file, "-o", folder, "--force").code == 0


def test_weights_that_another_wrote_meanwhile_are_kept(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, real = tmp_path / "zoo" / "mean-scale" / "base.safetensors", command.compare

    def compare(codec: Any, converted: Any) -> Any:
        output.parent.mkdir(parents=True)
        output.write_bytes(b"another's")
        return real(codec, converted)

    monkeypatch.setattr(command, "compare", compare)
    assert run("models", "import", file, "-o", tmp_path / "zoo").code == 8
    assert output.read_bytes() == b"another's"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        pickle.dumps({"state_dict": {}}),
        b"<html>",
        b"\x00" * 100,
    ],
    ids=["empty", "pointer", "pickle", "page", "zeros"],
)
def test_what_is_no_checkpoint_is_code_7_in_one_sentence(run: Run, file: Path, tmp_path: Path, data: bytes) -> None:
    file.write_bytes(data)
    result = run("models", "import", file, "-o", tmp_path / "zoo")
    assert (result.code, result.out, result.err.count("\n")) == (7, "", 1)
    assert not (tmp_path / "zoo").exists()


def test_a_damaged_a_poisoned_and_a_missing_checkpoint_are_code_7(
    run: Run, file: Path, saved: bytes, tmp_path: Path
) -> None:
    state = make_original().state_dict()
    poisoned, partial = io.BytesIO(), io.BytesIO()
    torch.save({**state, "g_a.2.weight": torch.full_like(state["g_a.2.weight"], torch.nan)}, poisoned)
    torch.save({name: tensor for name, tensor in state.items() if "h_s" not in name}, partial)
    for data in (saved[:-1000], saved[: len(saved) // 2], poisoned.getvalue(), partial.getvalue()):
        file.write_bytes(data)
        result = run("models", "import", file, "-o", tmp_path / "zoo")
        assert (result.code, result.err.count("\n")) == (7, 1)
    file.unlink()
    assert run("models", "import", file, "-o", tmp_path / "zoo").code == 7
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("FILE", "--zoo", "mbt2018-mean", "--quality", "1"),
        ("FILE", "--quality", "1"),
        ("--zoo", "mbt2018-mean"),
        ("--zoo", "mbt2018-mean", "--quality", "1", "--family", "mean-scale"),
        ("--zoo", "mbt2018-mean", "--quality", "9"),
        ("--zoo", "bmshj2018-factorized", "--quality", "1"),
        ("FILE", "--family", "jpeg"),
        ("FILE", "--name", "../a"),
        ("FILE", "--name", ""),
    ],
)
def test_arguments_that_make_no_sense_are_code_2(
    run: Run, file: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    words = (str(file) if word == "FILE" else word for word in arguments)
    assert run("models", "import", *words, "-o", tmp_path / "zoo").code == 2
    assert not (tmp_path / "zoo").exists()


def test_without_a_network_the_zoo_is_code_7(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, timeout: float) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    result = run("models", "import", "--zoo", "mbt2018-mean", "--quality", "3", "-o", tmp_path / "zoo")
    assert (result.code, result.err.count("\n")) == (7, 1)
    assert result.err.startswith("dlcodec: cannot download https://")
    assert result.err.endswith(": Name or service not known\n")


def test_the_zoo_gives_what_its_name_promises_or_nothing(
    run: Run, saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(saved))
    arguments = ("models", "import", "--zoo", "mbt2018-mean", "--quality", "3", "-o", tmp_path / "zoo")
    result = run(*arguments)
    assert result.code == 7
    assert "not the file that its name promises" in result.err
    url = f"https://example.org/mean-3-{hashlib.sha256(saved).hexdigest()[:8]}.pth.tar"
    monkeypatch.setattr(zoo, "model_urls", {"mbt2018-mean": {"mse": {3: url}}})
    assert run(*arguments).code == 0
    (model,) = json.loads(run("models", "show", tmp_path / "zoo" / "mean-scale" / "base.safetensors", "--json").out)
    assert model["record"]["source"] == url.rpartition("/")[2]


@pytest.mark.parametrize(
    ("command", "package"), [("models import a.pth -o b", "compressai"), ("train fusion", "pytorch_optimizer")]
)
def test_a_missing_extra_is_said(run: Run, monkeypatch: pytest.MonkeyPatch, command: str, package: str) -> None:
    for name in list(sys.modules):
        if name.startswith(("dlcodec.importing", "dlcodec.training")) or name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = run(*command.split())
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.endswith("pip install 'dlcodec[train]'\n")
