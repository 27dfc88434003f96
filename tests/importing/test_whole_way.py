"""From a stranger's checkpoint to a picture at tau 0, by commands alone; and training beside weights of one level."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.cli.conftest import Run, run
from tests.conftest import RGB
from tests.training.conftest import tar

try:
    import compressai.models  # noqa: F401
    import lpips
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI or lpips does not import here: {error}", allow_module_level=True)

from dlcodec import checkpoint
from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.errors import WeightsError
from dlcodec.training.base_stage import initialise
from dlcodec.training.frozen import FrozenBase, _rows
from dlcodec.training.rate_distortion import TrainableCodec
from tests.importing.test_mean_scale import make_original

__all__ = ["run", "tar"]
CPU = torch.device("cpu")


@pytest.fixture
def base(run: Run, tmp_path: Path) -> Path:
    """The folder of an imported model."""
    torch.save(make_original().state_dict(), tmp_path / "stranger.pth.tar")
    assert run("models", "import", tmp_path / "stranger.pth.tar", "-o", tmp_path / "zoo").code == 0
    return tmp_path / "zoo"


def test_a_fusion_is_trained_for_an_imported_model_and_serves_it(
    run: Run, base: Path, tar: Path, photo: RGB, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    state = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).state_dict()
    metric, training = tmp_path / "lpips.safetensors", tmp_path / "run.safetensors"
    save_file({name: tensor.clone() for name, tensor in state.items()}, metric)
    fixed = ("--base", base, "--lpips", metric)
    fast = ("--width", "32", "--rank", "2", "--batch", "2", "--crop", "64", "--no-bf16", "--no-compile")
    assert run("train", "fusion", training, *fixed, "--data", tar, *fast, "--latent", "0", "--steps", "3").code == 0
    assert run("train", "export-fusion", training, "--base", base).code == 0
    fusion = base / "mean-scale" / "fusion.safetensors"
    assert (
        checkpoint.read_metadata(fusion).config["base"]
        == checkpoint.read_metadata(base / "mean-scale" / "base.safetensors").digest
    )
    image, coded = tmp_path / "image.png", tmp_path / "a.dlc"
    Image.fromarray(photo[:70, :80]).save(image)
    assert run("encode", image, "--model", base, "-o", coded).code == 0
    out = tmp_path / "{tau}.png"
    assert run("decode", coded, "--model", base, "--tau", "0,0.5,1", "--steps", "2", "-o", out).code == 0
    assert len({(tmp_path / f"{tau}.png").read_bytes() for tau in ("0", "0.5", "1")}) == 3
    again = run("train", "export-fusion", training, "--base", base)
    assert (again.code, "--force overwrites it" in again.err) == (8, True)
    assert run("train", "export-fusion", training, "--base", base, "--force").code == 0
    training.write_bytes(training.read_bytes()[:-100])
    damaged = run("train", "export-fusion", training, "--base", base, "--force")
    assert (damaged.code, damaged.err.count("\n")) == (7, 1)


def test_training_takes_no_base_that_is_not_there(run: Run, base: Path, tar: Path, tmp_path: Path) -> None:
    fixed = ("--lpips", tar, "--data", tar, "--latent", "0", "--steps", "1")
    (tmp_path / "empty").mkdir()
    for folder, code in ((tmp_path / "empty", 7), (tmp_path / "absent", 2)):
        assert run("train", "fusion", tmp_path / "run.safetensors", "--base", folder, *fixed).code == code


def test_the_frozen_base_of_one_level_decodes_as_compressai_does(base: Path, photo: RGB) -> None:
    frozen = FrozenBase(base / "mean-scale" / "base.safetensors", CPU, bf16=False, compile_=False)
    original = make_original()
    x = torch.from_numpy(photo[:128, :128].copy()).permute(2, 0, 1)[None].float() / 255
    x_hat = frozen.synthesise(frozen.decode(frozen.analyse(x), torch.zeros(1)))
    with torch.inference_mode():
        assert (x_hat - original(x)["x_hat"]).abs().mean() < 2e-3


def test_the_gains_of_one_level_are_the_same_everywhere() -> None:
    gains = torch.tensor([[2.0, 3.0]])
    assert torch.allclose(_rows(gains, torch.zeros(4))[:, :, 0, 0], gains.expand(4, 2))


def test_a_ladder_cannot_begin_from_one_level(base: Path) -> None:
    model = TrainableCodec("mean-scale", HyperpriorParams(8, 12, levels=3))
    with pytest.raises(WeightsError, match="has one rate level"):
        initialise(model, base / "mean-scale" / "base.safetensors")
