"""The base stage on a tiny network: it learns, it resumes, it exports a codec that round-trips."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.conftest import RGB
from tests.tiny import CHANNELS

try:
    import compressai.models  # noqa: F401
    from pytorch_optimizer import SOAP
except (ImportError, RuntimeError) as error:
    # CompressAI needs torchvision, which does not import beside a CPU-only build of torch.
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec import checkpoint
from dlcodec.console import Volume, volume
from dlcodec.errors import InputError, UsageError, WeightsError
from dlcodec.training.base_stage import BaseRecipe, train_base
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.loop import Budget, Optimisation, ProgressLine, learning_rate
from dlcodec.training.runs import TrainingRun, current_commit, flatten_optimizer, load_prefixed, restore_optimizer


def recipe(tar: Path, steps: int, family: str = "mean-scale") -> BaseRecipe:
    N, M = CHANNELS[family]
    return BaseRecipe(
        family=family,
        data=(str(tar),),
        lambdas=(0.0018, 0.0067, 0.025),
        N=N,
        M=M,
        batch=4,
        crop=64,
        reduce=1,
        seed=0,
        bf16=False,
        compile=False,
        optimisation=Optimisation(3e-3, 1e-4, warmup=2, clip=1.0, ema=0.9, budget=Budget(steps, None)),
    )


@pytest.mark.parametrize("family", CHANNELS)
def test_training_lowers_the_loss_and_resumes_where_it_stopped(tar: Path, tmp_path: Path, family: str) -> None:
    from dlcodec.codecs.hyperprior_network import HyperpriorParams
    from dlcodec.training.rate_distortion import TrainableCodec, rate_distortion_loss

    run = tmp_path / "run.safetensors"
    losses = []
    x = CropSampler(load_tiles([tar], 64), 8, 64, torch.device("cpu"), 7).batch()
    for steps in (1, 60, 120):
        train_base(recipe(tar, steps, family), run, None, torch.device("cpu"), 60)
        model = TrainableCodec(family, HyperpriorParams(*CHANNELS[family], 3)).eval()
        model.load_state_dict(load_prefixed(run, "model."), strict=False)
        with torch.inference_mode():
            outcome = model(x, torch.ones(8, dtype=torch.long), None)
        losses.append(rate_distortion_loss(outcome, torch.full((8,), 0.0067)).item())
    assert losses[1] < 0.9 * losses[0]
    assert losses[2] < losses[1]


def soap(layers: nn.Module) -> SOAP:
    return SOAP(layers.parameters(), lr=1e-2, betas=(0.95, 0.95), precondition_frequency=2, max_precondition_dim=7)


def leaves(state: object, name: str = "") -> dict[str, object]:
    """The values of nested dicts and sequences by their paths."""
    if not isinstance(state, dict | list | tuple):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    return {path: leaf for key, item in items for path, leaf in leaves(item, f"{name}/{key!r}").items()}


def test_an_optimizer_is_restored_with_all_its_state() -> None:
    """And steps on from there as the one that was saved would."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 9, 1))
    old = soap(layers)

    def step(module: nn.Module, optimizer: SOAP) -> None:
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        torch.autograd.backward(module(x).square().mean())
        optimizer.step()

    for _ in range(5):
        step(layers, old)
    again = copy.deepcopy(layers)
    new = soap(again)
    restore_optimizer(new, *flatten_optimizer(old, "soap"))
    expected, restored = leaves(old.state_dict()), leaves(new.state_dict())
    assert any("exp_avg_sq" in name for name in expected)
    assert expected.keys() == restored.keys()
    for name, leaf in expected.items():
        other = restored[name]
        assert torch.equal(leaf, other) if isinstance(leaf, Tensor) else leaf == other, name  # type: ignore[arg-type]
    step(layers, old)
    step(again, new)
    for here, there in zip(layers.parameters(), again.parameters(), strict=True):
        assert torch.equal(here, there)


def test_a_start_with_fewer_levels_gets_lower_ones_by_extrapolation(tar: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train_base(recipe(tar, 3), first, None, torch.device("cpu"), 60)
    longer = replace(recipe(tar, 0), lambdas=(0.0009, 0.0018, 0.0067, 0.025))
    train_base(longer, second, first, torch.device("cpu"), 60)
    old, new = load_file(first)["ema.network.gain"].abs(), load_file(second)["model.network.gain"].abs()
    torch.testing.assert_close(new[1:], old)
    torch.testing.assert_close(new[0], old[0] ** 2 / old[1])


def folder_of(photo: RGB, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(photo[:128, :128]).save(folder / "a.png")
    return folder


@pytest.mark.parametrize("family", CHANNELS)
def test_an_exported_run_encodes_and_decodes(
    tar: Path, tmp_path: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    from typer.testing import CliRunner

    from dlcodec.installed import find
    from dlcodec.pipeline import decode_image, encode_image
    from dlcodec.training import __main__ as commands

    run, weights = tmp_path / "run.safetensors", tmp_path / "weights" / family / "base.safetensors"
    train_base(recipe(tar, 3, family), run, None, torch.device("cpu"), 60)
    monkeypatch.setattr(commands, "LADDER", (0.0018, 0.0067, 0.025))
    monkeypatch.setattr(checkpoint, "_PART_BYTES", 20_000)
    arguments = [
        "export",
        str(run),
        str(weights),
        "--data",
        str(tar),
        "--crops",
        "2",
        "--crop",
        "64",
        "--default-level",
        "1",
    ]
    answer = CliRunner().invoke(commands.app, arguments)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    files = sorted(weights.parent.iterdir())
    assert len(files) > 1
    assert f" {sum(file.stat().st_size for file in files)} bytes, " in answer.output
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "weights"))
    assert decode_image(encode_image(photo[:90, :70], base=find(family)), 1.0).shape == (90, 70, 3)
    again = tmp_path / "again.safetensors"
    train_base(recipe(tar, 0, family), again, weights, torch.device("cpu"), 60)
    trained, back = load_file(run), load_file(again)
    names = [name.removeprefix("ema.") for name in trained if name.startswith("ema.") and "._" not in name]
    assert {"network.hinv", "entropy_bottleneck.quantiles"} <= set(names)
    for name in names:
        old, new = trained[f"ema.{name}"], back[f"model.{name}"]
        if name == "network.context_prediction.weight":  # what the mask hides is not exported
            old = old * (new != 0)
        torch.testing.assert_close(new.abs(), old.abs(), rtol=2e-3, atol=1e-3)
    cost = CliRunner().invoke(commands.app, ["rate-cost", str(run), str(weights), str(folder_of(photo, tmp_path))])
    assert cost.exit_code == 0, cost.output
    for line in cost.output.splitlines()[1:]:
        assert abs(float(line.split()[2])) < 5  # percent: bits of the integer path against the float path


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--steps 1 --minutes 1", "give --steps or --minutes"),
        ("--steps 1 --crop 100", "crops of 100 pixels"),
        ("--steps 1 --family none", "family 'none' is none of mean-scale"),
    ],
)
def test_options_that_make_no_sense_are_a_sentence(tar: Path, tmp_path: Path, options: str, sentence: str) -> None:
    from typer.testing import CliRunner

    from dlcodec.training import __main__ as commands

    arguments = ["base", str(tmp_path / "run"), "--data", str(tar), *options.split()]
    answer = CliRunner().invoke(commands.app, arguments)
    assert isinstance(answer.exception, UsageError)
    assert sentence in str(answer.exception)


@pytest.mark.parametrize(("told", "lines"), [(Volume.normal, ["step 1"]), (Volume.quiet, [])])
def test_progress_is_told_now_and_then_and_not_to_the_quiet(
    capsys: pytest.CaptureFixture[str], told: Volume, lines: list[str]
) -> None:
    token = volume.set(told)
    try:
        line = ProgressLine()
        line.show("step 1")
        line.show("step 2")
    finally:
        volume.reset(token)
    assert capsys.readouterr().err.splitlines() == lines


def test_the_learning_rate_warms_up_and_falls_to_its_end() -> None:
    rates = [learning_rate(1e-3, 1e-5, 10, step, step / 100) for step in range(101)]
    assert rates[0] < rates[5] < rates[9]
    assert max(rates) <= 1e-3
    assert rates[100] == pytest.approx(1e-5)


def test_crops_come_from_the_tiles(tar: Path) -> None:
    tiles = load_tiles([tar], 64)
    batch = CropSampler(tiles, 5, 64, torch.device("cpu"), 0).batch()
    assert batch.shape == (5, 3, 64, 64)
    values = np.unique((batch * 255).round().numpy().astype(int))
    assert set(values) <= set(np.unique(np.concatenate([tile.numpy().ravel() for tile in tiles])))


def test_reduced_crops_are_of_their_size_and_show_more_of_a_tile() -> None:
    device = torch.device("cpu")
    stripes = torch.arange(256, dtype=torch.uint8).expand(3, 256, 256).contiguous()  # a grey wedge
    small = stripes[:, :80, :80].contiguous()
    plain = CropSampler([stripes], 16, 64, device, 0).batch()
    reduced = CropSampler([stripes], 16, 64, device, 0, reduce=4).batch()
    assert CropSampler([small], 4, 64, device, 0, reduce=4).batch().shape == (4, 3, 64, 64)
    assert reduced.shape == plain.shape == (16, 3, 64, 64)
    spans = [(batch.amax((1, 2, 3)) - batch.amin((1, 2, 3))) * 255 for batch in (plain, reduced)]
    assert spans[0].max().item() == pytest.approx(63, abs=0.1)
    assert spans[1].max().item() > 150
    assert spans[1].min().item() < 150
    assert torch.equal((reduced * 255).round() / 255, reduced)


def test_missing_and_useless_data_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        load_tiles([tmp_path / "empty"], 64)
    for name in ("missing.tar", "no.tar"):
        (tmp_path / "no.tar").write_bytes(b"no tar file")
        with pytest.raises(InputError, match=name):
            load_tiles([tmp_path / name], 64)
    (tmp_path / "empty" / "a.png").write_bytes(b"damaged")
    Image.new("RGB", (64, 64)).save(tmp_path / "empty" / "b.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "empty" / "._c.png")
    assert len(load_tiles([tmp_path / "empty"], 64)) == 1


def test_a_run_that_exists_begins_nowhere_else_and_a_spent_one_stays(
    tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu, first, run = torch.device("cpu"), tmp_path / "first.safetensors", tmp_path / "run.safetensors"
    train_base(recipe(tar, 1), first, None, cpu, 60)
    train_base(recipe(tar, 2), run, first, cpu, 60)
    with pytest.raises(UsageError, match="continues from it"):
        train_base(recipe(tar, 3), run, first, cpu, 60)
    train_base(recipe(tar, 3), run, None, cpu, 60)
    assert TrainingRun.read(run).recipe["start"] == "first.safetensors"
    (group,) = dict(json.loads(TrainingRun.read(run).optimizers["soap"])["items"])["param_groups"]
    assert dict(group["items"])["step"] == 3  # a fresh one would have counted one step
    before = run.read_bytes()
    train_base(recipe(tar, 3), run, None, cpu, 60)
    assert run.read_bytes() == before
    assert "has had 3 steps" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "export-fusion"])
def test_what_is_no_training_checkpoint_is_refused(tar: Path, tmp_path: Path, tiny: Path, command: str) -> None:
    from typer.testing import CliRunner

    from dlcodec.training import __main__ as commands

    (tmp_path / "garbage").write_bytes(b"garbage")
    for path in (tmp_path / "garbage", tiny):  # an exported checkpoint is none
        arguments = [
            command,
            str(path),
            *([str(tmp_path)] if command == "validate" else ["--base", str(tiny), "--force"]),
        ]
        answer = CliRunner().invoke(commands.app, arguments)
        assert isinstance(answer.exception, WeightsError)
        assert f"{path} is no training checkpoint" in str(answer.exception)


def test_a_record_is_written_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert current_commit() == "unknown"
