"""Stages 2 and 3 on a tiny codec: they learn, follow the base's orientation, resume, and export what decodes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from tests.conftest import RGB

try:
    import compressai.models  # noqa: F401
    import lpips
except (ImportError, RuntimeError) as error:
    # CompressAI and lpips need torchvision, which does not import beside a CPU-only build of torch.
    pytest.skip(f"CompressAI or lpips does not import here: {error}", allow_module_level=True)

from dlcodec import checkpoint
from dlcodec.codecs import codec_class
from dlcodec.coding import run_steps
from dlcodec.errors import OutputError, UsageError, WeightsError
from dlcodec.fusion.schedule import CosineSchedule
from dlcodec.lpips import load_lpips
from dlcodec.pipeline import decode_image, encode_image
from dlcodec.training import __main__ as commands
from dlcodec.training.auxiliary_stage import load_auxiliary, train_auxiliary
from dlcodec.training.base_stage import train_base
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.frozen import FrozenBase
from dlcodec.training.fusion_network import FusionDesign, TrainableFusion, places_of
from dlcodec.training.fusion_recipe import FusionRecipe
from dlcodec.training.fusion_stage import _parts, train_fusion
from dlcodec.training.loop import Budget, Optimisation
from dlcodec.training.perceptual import PictureLoss, weave
from dlcodec.training.runs import TrainingRun, load_prefixed
from tests.tiny import PARAMS
from tests.tiny import PLACES as PLACES_OF
from tests.training.test_base_stage import recipe as base_recipe

CPU = torch.device("cpu")
SCHEDULE = CosineSchedule(0.008, 1e-4)
PLACES = PLACES_OF["mean-scale"]
DESIGN = FusionDesign(PARAMS, 2, tuple(PLACES), SCHEDULE)


def recipe(data: Path, steps: int) -> FusionRecipe:
    how = Optimisation(3e-3, 1e-4, warmup=2, clip=1.0, ema=0.9, budget=Budget(steps, None))
    return FusionRecipe(
        data=(str(data),),
        batch=4,
        crop=64,
        reduce=1,
        seed=0,
        bf16=False,
        compile=False,
        distortion=0.2,
        smoothness=0.05,
        adversarial=0.0,
        latent=0.1,
        rising=1.0,
        noised="decoded",
        between=0.0,
        optimisation=how,
    )


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LPIPS on a random backbone: its gradients are real, its judgement is not."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("metric") / "lpips.safetensors"
    state = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).state_dict()
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)  # the heads are there under two names
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, photo: RGB) -> Path:
    """A tiny base that was trained a little: a random synthesis would not react to its latent."""
    folder = tmp_path_factory.mktemp("base")
    Image.fromarray(photo[:256, 100:400]).save(folder / "photo.png")
    run, path = folder / "run.safetensors", folder / "mean-scale" / "base.safetensors"
    train_base(base_recipe(folder, 150), run, None, CPU, 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "LADDER", (0.0018, 0.0067, 0.025))
        options = ["--data", str(folder), "--crops", "2", "--crop", "64", "--default-level", "1"]
        answer = CliRunner().invoke(commands.app, ["export", str(run), str(path), *options])
    assert answer.exit_code == 0, answer.output
    return path


@pytest.fixture
def base(weights: Path) -> FrozenBase:
    return FrozenBase(weights, CPU, bf16=False, compile_=False)


@pytest.fixture
def batch(tar: Path) -> Tensor:
    return CropSampler(load_tiles([tar], 64), 8, 64, CPU, 7).batch()


def test_the_frozen_base_decodes_what_the_codec_decodes(base: FrozenBase, weights: Path, batch: Tensor) -> None:
    found = checkpoint.read_metadata(weights)
    codec = codec_class(found.family)(found.config, checkpoint.load_arrays(found), CPU)

    def known(step):  # type: ignore[no-untyped-def]
        return step.symbols

    base._corrects = False  # of random weights, nothing that is a correction
    near = 0
    for level in (0.0, 1.0, 1.5):
        q = round(level * 256)
        y_hat = base.decode(base.analyse(batch), torch.full((8,), level))
        for number in range(8):
            x = batch[number : number + 1]
            latent, _ = run_steps(codec.coding_steps(64, 64, q, codec.analyse(x, q)), known)
            exact = codec.to_float(latent, q)[0]
            near += bool((y_hat[number] - exact).abs().mean() < 0.02 * exact.abs().mean())
    assert near >= 20  # of 24: a symbol of z that is rounded apart moves a picture's means


def test_the_auxiliary_encoder_learns_what_the_synthesis_needs(
    base: FrozenBase,
    tar: Path,
    metric: Path,
    tmp_path: Path,
    batch: Tensor,
) -> None:
    run = tmp_path / "auxiliary.safetensors"
    train_auxiliary(recipe(tar, 40), base, metric, run, CPU, 60)
    loss = PictureLoss(load_lpips("alex", metric), 0.2)
    torch.manual_seed(0)
    before = loss(batch, base.synthesise(base.analyse(batch)))[0]
    torch.manual_seed(0)
    after = loss(batch, base.synthesise(load_auxiliary(run, base)(batch)))[0]
    assert after < before - 0.02
    assert load_file(run)["ema.0.weight"].shape == (8, 3, 5, 5)


def test_only_detail_that_the_original_has_not_costs(photo: RGB) -> None:
    x = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255
    smooth = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    cell = torch.randn(16, 16, generator=torch.Generator().manual_seed(0)) * 3 / 255
    noise = torch.randn(128, 192, generator=torch.Generator().manual_seed(1)) * 3 / 255
    pairs = {
        "same": (x, x + 1e-4),
        "less": (x, smooth),
        "moved": (x, x.roll(4, 3)),
        "noise": (smooth, smooth + noise),
        "weave": (smooth, smooth + cell.tile(8, 12)),
    }
    cost = {name: float(PictureLoss(None, 0, 1)(*pair)[0]) for name, pair in pairs.items()}
    assert cost["same"] < 1e-3
    assert cost["less"] < 0.01
    assert max(cost["moved"], cost["noise"]) < cost["weave"] - 1


def test_a_weave_is_told_from_noise_of_the_same_strength(photo: RGB) -> None:
    cell = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 1, 128, 192, generator=torch.Generator().manual_seed(1))
    woven, noisy = (weave(part.expand(1, 3, -1, -1)) for part in (cell.tile(8, 12), noise))
    assert woven.shape == (1, 2, 3)
    assert (woven - noisy - math.log(16)).abs().max() < 0.5


def fusion_loss(base: FrozenBase, run: Path, batch: Tensor, loss: PictureLoss) -> float:
    fusion = TrainableFusion(DESIGN, base).eval()
    fusion.load_state_dict(load_prefixed(run, "ema."))
    base.attach(fusion.placed_blocks())
    torch.manual_seed(0)
    level = torch.ones(8)
    with torch.inference_mode():
        y_hat = fusion.standardise(base.decode(base.analyse(batch), level))
        clean = fusion(torch.randn_like(y_hat), y_hat, torch.ones(8), level / 2)
        amounts = fusion.amounts(level / 2, torch.ones(8))
        return float(loss(batch, base.synthesise(fusion.restore(clean), fusion.adapters(level / 2), amounts))[0])


@pytest.mark.parametrize("orientation", ["distortion", "perception"])
def test_the_fusion_network_learns_what_the_orientation_asks_for(
    base: FrozenBase,
    tar: Path,
    metric: Path,
    tmp_path: Path,
    batch: Tensor,
    orientation: str,
) -> None:
    """Towards LPIPS beside a base that minimises distortion; towards distortion alone beside one that does not."""
    base.orientation = orientation
    losses = []
    judge = PictureLoss(load_lpips("alex", metric) if orientation == "distortion" else None, 0.2)
    run = tmp_path / "fusion.safetensors"
    for steps in (1, 40):
        plan = replace(recipe(tar, steps), latent=0.0, smoothness=0.0)
        absent = metric if orientation == "distortion" else tmp_path / "absent"
        train_fusion(plan, base, DESIGN, absent, run, CPU, 60)
        losses.append(fusion_loss(base, run, batch, judge))
    assert losses[1] < losses[0] - 0.01


@pytest.mark.parametrize("noised", ["decoded", "auxiliary", "nothing"])
def test_every_choice_of_noise_trains_and_resumes(
    base: FrozenBase,
    tar: Path,
    metric: Path,
    tmp_path: Path,
    noised: str,
) -> None:
    auxiliary, run = tmp_path / "auxiliary.safetensors", tmp_path / "fusion.safetensors"
    train_auxiliary(recipe(tar, 1), base, metric, auxiliary, CPU, 60)
    for steps in (2, 3):
        plan = replace(recipe(tar, steps), noised=noised, between=0.5)  # type: ignore[arg-type]
        train_fusion(plan, base, DESIGN, metric, run, CPU, 60, auxiliary=auxiliary)
        with safe_open(run, "pt") as handle:
            assert json.loads(handle.metadata()["state"])["step"] == steps
    tensors = load_file(run)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert (tensors["ema.deviation"] > 0).all()
    assert tensors["ema.denoiser.stem.weight"].any() == (noised != "nothing")


def test_as_many_crops_as_asked_for_are_judged_between_the_ends() -> None:
    torch.manual_seed(0)
    parts = _parts(20_000, 0.25, CPU)
    between = parts[parts < 1]
    assert 0.24 < len(between) / len(parts) < 0.26
    assert between.min() >= 0
    assert abs(between.mean() - 2 / 3) < 0.02  # of 1 - tau^2, tau uniform
    assert (_parts(100, 0.0, CPU) == 1).all()


def test_a_discriminator_trains_along_and_resumes(base: FrozenBase, tar: Path, metric: Path, tmp_path: Path) -> None:
    run, before = tmp_path / "fusion.safetensors", dict[str, Tensor]()
    for steps in (2, 3):
        plan = replace(recipe(tar, steps), latent=0.0, adversarial=0.1)
        train_fusion(plan, base, DESIGN, metric, run, CPU, 60)
        after = load_prefixed(run, "side.")
        name = "picture.0.parametrizations.weight.original"
        assert steps == 2 or 0 < (after[name] - before[name]).abs().max() < 1e-3  # one step of Adam further
        before = after


def test_a_run_begun_without_a_discriminator_does_not_go_on_with_one(
    base: FrozenBase, tar: Path, metric: Path, tmp_path: Path
) -> None:
    run = tmp_path / "fusion.safetensors"
    plan = replace(recipe(tar, 1), latent=0.0)
    train_fusion(plan, base, DESIGN, metric, run, CPU, 60)
    with pytest.raises(UsageError, match="begun without adam"):
        train_fusion(replace(plan, adversarial=0.1), base, DESIGN, metric, run, CPU, 60)


def test_standardised_latents_have_mean_0_and_at_most_deviation_1(
    base: FrozenBase,
    tar: Path,
    metric: Path,
    tmp_path: Path,
    batch: Tensor,
) -> None:
    run = tmp_path / "fusion.safetensors"
    train_fusion(replace(recipe(tar, 0), latent=0.0), base, DESIGN, metric, run, CPU, 60)
    fusion = TrainableFusion(DESIGN, base)
    fusion.load_state_dict(load_prefixed(run, "model."))
    latent = base.decode(base.analyse(batch), torch.linspace(0, 2, 8))
    standard = fusion.standardise(latent)
    assert standard.mean().abs() < 0.5
    assert 0.3 < standard.std() < 1.5
    torch.testing.assert_close(fusion.restore(standard), latent)


def test_an_exported_network_decodes(
    base: FrozenBase,
    weights: Path,
    tar: Path,
    metric: Path,
    tmp_path: Path,
    photo: RGB,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, folder = tmp_path / "fusion.safetensors", tmp_path / "installed" / "mean-scale"
    train_fusion(replace(recipe(tar, 30), latent=0.0), base, DESIGN, metric, run, CPU, 60)
    with safe_open(run, "pt") as handle:
        metadata = handle.metadata()
    recipe_then = {**json.loads(metadata["recipe"]), "perception": 1.0}  # as runs had it that were begun earlier
    save_file(load_file(run), run, {**metadata, "recipe": json.dumps(recipe_then)})
    folder.mkdir(parents=True)
    (folder / "base.safetensors").write_bytes(weights.read_bytes())
    arguments = ["export-fusion", str(run), str(folder / "fusion.safetensors"), "--base", str(weights), "--steps", "4"]
    answer = CliRunner().invoke(commands.app, arguments)
    assert answer.exit_code == 0, answer.output
    for source in (weights, run):
        answer = CliRunner().invoke(commands.app, [*arguments[:2], str(source), *arguments[3:], "--force"])
        assert isinstance(answer.exception, OutputError)
        assert "an input itself" in str(answer.exception)
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "installed"))
    data = encode_image(photo[:90, :70])
    assert np.array_equal(decode_image(data, 0.0), decode_image(data, 0.0, steps=4))
    assert not np.array_equal(decode_image(data, 0.0), decode_image(data, 1.0))
    again = tmp_path / "again.safetensors"
    start = folder / "fusion.safetensors"
    train_fusion(replace(recipe(tar, 0), latent=0.0), base, DESIGN, metric, again, CPU, 60, start=start)
    exported, back = load_prefixed(run, "ema."), load_prefixed(again, "model.")
    assert exported.keys() == back.keys()
    for name, tensor in exported.items():
        torch.testing.assert_close(back[name], tensor, rtol=1e-3, atol=1e-4)
    record = json.loads(safe_open(folder / "fusion.safetensors", "np").metadata()["record"])
    assert record["strength"] == 1
    assert record["step"] == 30
    assert record["data"] == ["tiles.tar"]
    half = decode_image(data, 0.5, steps=1, precision="fp32")
    answer = CliRunner().invoke(commands.app, [*arguments, "--strength", "0.75", "--force"])
    assert answer.exit_code == 0, answer.output
    scaled = load_prefixed(folder / "fusion.safetensors", "")
    for name, share in (("blocks.0.scale", 0.75), ("blocks.0.second.weight", 1), ("denoiser.head.weight", 0.75)):
        torch.testing.assert_close(scaled[name].float(), share * exported[name], rtol=1e-3, atol=1e-4)
    gentle = decode_image(data, 0.0, steps=1, precision="fp32")
    assert np.abs(gentle.astype(int) - half).max() <= 1  # 1 - .5^2
    assert not np.array_equal(decode_image(data, 0.5, steps=1, precision="fp32"), half)


@pytest.mark.parametrize(
    ("stage", "lines"), [(2, ["g_s(g_a(x))", "g_s(g_a'(x))"]), (3, ["level 1, tau 1", "level 1, tau 0"])]
)
def test_a_run_of_either_stage_is_validated(
    base: FrozenBase, weights: Path, tar: Path, metric: Path, tmp_path: Path, photo: RGB, stage: int, lines: list[str]
) -> None:
    run, pictures = tmp_path / "run.safetensors", tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(photo[:128, :128]).save(pictures / "a.png")
    plan = replace(recipe(tar, 1), latent=0.0)
    if stage == 2:
        train_auxiliary(plan, base, metric, run, CPU, 60)
    else:
        train_fusion(plan, base, DESIGN, metric, run, CPU, 60)
    arguments = ["validate-fusion", str(run), str(pictures), "--base", str(weights), "--lpips", str(metric), "-q", "1"]
    answer = CliRunner().invoke(commands.app, arguments)
    assert answer.exit_code == 0, answer.output
    with pytest.raises(UsageError, match=f"trained beside another base, {base.digest[:16]}$"):
        train_base(base_recipe(tar, 1), run, None, CPU, 60)
    assert [line.partition(" PSNR")[0].rstrip() for line in answer.output.splitlines()] == ["step 1", *lines]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1", "give layer and channels"),
        ("", "give layer and channels"),
        ("1:4,", "give layer and channels"),
        ("1:4:2", "give layer and channels"),
        ("1:x", "give layer and channels"),
        ("6:4", "layers 0 to 5"),
        ("1:0", "1 to 1024"),
    ],
)
def test_blocks_that_cannot_be_are_refused(
    weights: Path, tar: Path, metric: Path, tmp_path: Path, text: str, message: str
) -> None:
    run = tmp_path / "run.safetensors"
    arguments = ["fusion", str(run), "--base", str(weights), "--data", str(tar), "--lpips", str(metric), "--steps", "1"]
    answer = CliRunner().invoke(commands.app, [*arguments, "--latent", "0", "--width", "32", f"--blocks={text}"])
    assert isinstance(answer.exception, UsageError)
    assert message in str(answer.exception)
    assert not run.exists()


def test_blocks_are_those_of_the_start_unless_others_are_named(
    base: FrozenBase, weights: Path, tar: Path, metric: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun.safetensors"
    arguments = ["--base", str(weights), "--data", str(tar), "--lpips", str(metric), "--steps", "1", "--crop", "64"]
    arguments += ["--latent", "0", "--width", "32", "--no-bf16", "--no-compile", "--batch", "2"]
    for run, more, hidden in (
        (begun, ["--blocks", "1:6,3:5"], [6, 5]),
        (tmp_path / "same.safetensors", ["--start", str(begun)], [6, 5]),
        (tmp_path / "none.safetensors", ["--start", str(begun), "--blocks", "none"], []),
        (tmp_path / "fresh.safetensors", [], []),
    ):
        answer = CliRunner().invoke(commands.app, ["fusion", str(run), *arguments, *more])
        assert answer.exit_code == 0, answer.output
        assert [place.hidden for place in places_of(run)] == hidden
        names = {name.split(".")[1] for name in load_prefixed(run, "ema.") if name.startswith("blocks.")}
        assert len(names) == len(hidden)
    for run, more in (
        (tmp_path / "other.safetensors", ["--start", str(begun), "--blocks", "1:4,3:5"]),
        (tmp_path / "other.safetensors", ["--start", str(begun), "--blocks", "3:6,3:5"]),
        (tmp_path / "other.safetensors", ["--start", str(begun), "--blocks", "1:6"]),
        (begun, ["--blocks", "1:6,5:5"]),
        (begun, ["--blocks", "1:6,3:5,3:5"]),
        (begun, ["--blocks", "none"]),
    ):
        answer = CliRunner().invoke(commands.app, ["fusion", str(run), *arguments, *more])
        assert isinstance(answer.exception, UsageError)
        assert "has blocks 1:6,3:5" in str(answer.exception)


def test_a_run_from_before_there_were_blocks_goes_on(
    base: FrozenBase, weights: Path, tar: Path, metric: Path, tmp_path: Path
) -> None:
    run, design = tmp_path / "run.safetensors", replace(DESIGN, places=())
    train_fusion(replace(recipe(tar, 1), latent=0.0), base, design, metric, run, CPU, 60)
    with safe_open(run, "pt") as handle:
        metadata = handle.metadata()
    earlier = json.loads(metadata["recipe"])
    assert earlier.pop("blocks") == []
    save_file(load_file(run), run, {**metadata, "recipe": json.dumps(earlier)})
    train_fusion(replace(recipe(tar, 2), latent=0.0), base, design, metric, run, CPU, 60)
    assert TrainingRun.read(run).steps == 2
    answer = CliRunner().invoke(
        commands.app, ["export-fusion", str(run), str(tmp_path / "fusion.safetensors"), "--base", str(weights)]
    )
    assert answer.exit_code == 0, answer.output
    assert "blocks" not in checkpoint.read_metadata(tmp_path / "fusion.safetensors").config


def test_lpips_of_another_backbone_or_none_is_refused(tmp_path: Path) -> None:
    save_file({"lin0.model.1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "absent.safetensors"):
        with pytest.raises(WeightsError, match=f"{name} does not hold the weights of LPIPS-alex"):
            load_lpips("alex", tmp_path / name)
