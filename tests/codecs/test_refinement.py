"""Searched latents cost less, whatever the picture; gradients are those of the error of the real pixels."""

from __future__ import annotations

import copy
import io
import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import dlcodec
import dlcodec.pillow  # registers itself
from dlcodec import cli, installed, pipeline
from dlcodec.arguments import Effort
from dlcodec.codecs.refinement import STEPS, ErrorGradient
from dlcodec.errors import LimitError, UsageError, WeightsError
from dlcodec.image import psnr
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, encode_image
from dlcodec.targeting import encode_to_target
from dlcodec.targets import Target
from tests.conftest import RGB

CPU = torch.device("cpu")


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")


def cost(rgb: RGB, level: int, *, effort: Effort) -> float:
    """What the weights were trained to make small: bits plus lambda times the squared error."""
    lambdas = installed.find("mean-scale").config["lambdas"]
    data = encode_image(rgb, float(level), effort=effort)
    error = np.square(decode_image(data, 1.0).astype(float) - rgb).sum() / 3
    return float(8 * len(data) + lambdas[level] * error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("level", "savings"), [(0, (0.004, 0.03)), (3, (0.008, 0.03)), (7, (0.02, 0.08))], ids=lambda each: str(each)[0]
)
def test_more_effort_makes_rate_and_error_together_smaller(
    shipped: None,
    photo: RGB,
    level: int,
    savings: tuple[float, float],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "choose_dtype", lambda precision, device: dtype)
    crop = photo[130:290, 200:401]
    low, medium, high = (cost(crop, level, effort=effort) for effort in get_args(Effort))
    assert medium < (1 - savings[0]) * low
    assert high < (1 - savings[1]) * low
    plain, corrected, refined = (encode_image(crop, float(level), effort=effort) for effort in get_args(Effort))
    assert 0.9 * len(plain) < len(corrected) < 1.06 * len(plain)
    assert 0.9 * len(plain) < len(refined) < 1.12 * len(plain)
    assert psnr(crop, decode_image(refined, 1.0)) > psnr(crop, decode_image(plain, 1.0))


def odd_pictures() -> dict[str, RGB]:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (70, 160, 3))
    return {"noise": noise, "white": np.full((64, 64, 3), 255, np.uint8), "one pixel": noise[:1, :1], "ramp": ramp}


@pytest.mark.parametrize("effort", ["medium", "high"])
@pytest.mark.parametrize("level", [2, 6])
@pytest.mark.parametrize("name", odd_pictures())
def test_pictures_that_are_no_photographs_lose_next_to_nothing(
    shipped: None, name: str, level: int, effort: Effort
) -> None:
    rgb = odd_pictures()[name]
    rounding = 1.0  # the search does not see that samples become whole numbers: worth less than a bit here
    most = {"medium": 1.05, "high": 1.0}[effort]  # a correction of a hundred bytes may miss by some
    assert cost(rgb, level, effort=effort) <= most * cost(rgb, level, effort="low") + rounding


def test_a_step_is_told_each_time_and_the_file_is_the_same_every_time(tiny: Path, photo: RGB) -> None:
    told: list[int] = []
    crop = photo[:90, :130]
    data = encode_image(crop, 1.5, effort="high", after_step=lambda: told.append(1))
    assert len(told) == STEPS
    assert data == encode_image(crop, 1.5, effort="high")
    assert data != encode_image(crop, 1.5)
    assert decode_image(data, 0.0).shape == crop.shape


def test_inference_mode_around_it_changes_nothing(tiny: Path, photo: RGB) -> None:
    crop = photo[:64, :64]
    load_codec.__globals__["_load_codec"].cache_clear()
    with torch.inference_mode():
        inside = encode_image(crop, effort="high")
    assert inside == encode_image(crop, effort="high")


class Doubling(nn.Module):
    """A synthesis whose gradient is known: each latent is twice the value of its 4 x 4 pixels."""

    def forward(self, y: Tensor) -> Tensor:
        return 2 * y[:, :3].repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_the_gradient_is_that_of_the_real_pixels_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(5, 3, 4, generator=generator) / 2
    gain = torch.tensor([1.0, 0.5, 0.25, 1.0, 1.0])[None, :, None, None]
    x = torch.randint(0, 256, (1, 3, 10, 13), generator=generator, dtype=torch.uint8)
    found = ErrorGradient(Doubling(), gain, x, 7.0, 4, None, 0)(y)
    assert not found[3:].any()
    for row in range(3):
        for column in range(4):
            pixels = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].float() / 255
            error = 2 * (gain[0] * y)[:3, row : row + 1, column : column + 1] - pixels[0]
            torch.testing.assert_close(found[:3, row, column], 7 * 2 * 2 * gain[0, :3, 0, 0] * error.sum((1, 2)))


def test_tiles_give_the_gradient_of_the_whole(tiny: Path, photo: RGB) -> None:
    codec = load_codec(installed.find("mean-scale"), CPU)
    g_s, halo = copy.deepcopy(codec._transforms.g_s), codec.synthesis_halo  # type: ignore[attr-defined]
    x = torch.from_numpy(photo[:250, :317].copy()).permute(2, 0, 1)[None]
    y = torch.randn(g_s[0].weight.shape[0], 16, 20, generator=torch.Generator().manual_seed(0))
    gain = torch.ones(1, len(y), 1, 1)
    whole, *cut = (ErrorGradient(g_s, gain, x, 100.0, 16, tile, halo)(y) for tile in (None, 4, 7))
    for tiled in cut:
        torch.testing.assert_close(tiled, whole, rtol=1e-3, atol=1e-4 * whole.abs().max().item())


def test_bounded_memory_refines_by_tiles(tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = []
    original = ErrorGradient.__init__

    def watch(self: ErrorGradient, *arguments: object) -> None:
        tiles.append(arguments[5])
        original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ErrorGradient, "__init__", watch)
    encode_image(photo, effort="high")
    encode_image(photo, effort="high", limits=DEFAULT_LIMITS.allow(None, 1.0))
    assert tiles[0] is None
    assert isinstance(tiles[1], int)
    with pytest.raises(LimitError):
        encode_image(photo, effort="high", limits=DEFAULT_LIMITS.allow(None, 0.9))


def test_a_target_is_met_by_the_refined_file(shipped: None, photo: RGB) -> None:
    crop = photo[130:258, 200:328]
    data, _ = encode_to_target(crop, Target("bytes", 1200), effort="high")
    assert 0.99 * 1200 <= len(data) <= 1200
    assert data == encode_image(crop, dlcodec.read_info(data).level, effort="high")


def test_a_family_that_predicts_from_earlier_symbols_says_no(tiny: Path, photo: RGB) -> None:
    with pytest.raises(UsageError, match="cheng2020 predicts symbols from earlier ones"):
        encode_image(photo[:64, :64], base=installed.find("cheng2020"), effort="high")


@pytest.mark.parametrize("lambdas", [[None] * 3, [0.01, -1, 0.02], ["a", "b", "c"], [float("nan")] * 3])
def test_weights_of_unknown_lambda_say_so(
    tiny: Path, photo: RGB, lambdas: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_codec(installed.find("mean-scale"), CPU), "_lambdas", lambdas)
    with pytest.raises(UsageError, match="lambda"):
        encode_image(photo[:64, :64], effort="high")


def test_a_gradient_that_is_not_finite_is_the_fault_of_the_weights(tiny: Path, photo: RGB) -> None:
    codec = load_codec(installed.find("mean-scale"), CPU)
    latents = codec.latents(codec.transform(torch.zeros(1, 3, 64, 64)), 0)
    latents.y[0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match="finite"):
        codec.refine(latents, torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 0)


def test_every_door_has_it(
    tiny: Path, photo: RGB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = photo[:80, :100]
    expected = encode_image(crop, 1.0, effort="high")
    assert dlcodec.encode(crop, level=1, effort="high") == expected
    saved = io.BytesIO()
    Image.fromarray(crop).save(saved, "DLC", level=1, effort="high")
    assert saved.getvalue() == expected
    Image.fromarray(crop).save(tmp_path / "a.png")
    arguments = [
        "encode",
        str(tmp_path / "a.png"),
        "-o",
        str(tmp_path / "a.dlc"),
        "-q",
        "1",
        "--effort",
        "high",
        "--json",
    ]
    monkeypatch.setattr(sys, "argv", ["dlcodec", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == len(expected)
    assert (tmp_path / "a.dlc").read_bytes() == expected
