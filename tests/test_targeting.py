from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dlcodec
from dlcodec import installed, targeting
from dlcodec.codecs.mean_scale import MeanScaleCodec
from dlcodec.coding import code_known, run_steps
from dlcodec.entropy.coder import Encoder
from dlcodec.errors import UsageError, WeightsError
from dlcodec.forecast import forecast_level
from dlcodec.image import load, psnr
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, encode_image
from dlcodec.targeting import PSNR_ABOVE, encode_to_target
from dlcodec.targets import Target
from tests.conftest import RGB

LEVELS = [0.0, 0.3, 1.0, 1.7, 2.0]


def size_at(rgb: RGB, level: float) -> int:
    return len(encode_image(rgb, level))


def to_bytes(rgb: RGB, size: float) -> tuple[bytes, str | None]:
    return encode_to_target(rgb, Target("bytes", size))


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.77, 0.9])
def test_a_size_is_met_within_1_percent_and_never_exceeded(tiny: Path, photo: RGB, share: float) -> None:
    crop = photo[:192, :256]
    goal = round(size_at(crop, 0) ** (1 - share) * size_at(crop, 2) ** share)
    data, warning = to_bytes(crop, goal)
    assert 0.99 * goal <= len(data) <= goal
    assert warning is None
    assert data == encode_image(crop, dlcodec.read_info(data).level)


def test_a_rate_is_the_size_over_the_pixels_of_the_picture_unpadded(tiny: Path, photo: RGB) -> None:
    crop = photo[:130, :190]
    goal = size_at(crop, 1) * 8 / (130 * 190)
    data, _ = encode_to_target(crop, Target("bpp", goal))
    assert 0.99 * goal <= len(data) * 8 / (130 * 190) <= goal
    assert data == to_bytes(crop, goal * 130 * 190 / 8)[0]


@pytest.mark.parametrize("level", LEVELS)
def test_the_exact_size_of_a_level_is_met(tiny: Path, photo: RGB, level: float) -> None:
    crop = photo[:128, :128]
    goal = size_at(crop, level)
    data, warning = to_bytes(crop, goal)
    assert warning is None
    assert 0.99 * goal <= len(data) <= goal


@pytest.mark.parametrize("side", [1, 3, 20])
def test_a_small_picture_gets_the_largest_file_that_fits(tiny: Path, photo: RGB, side: int) -> None:
    """Files of tens of bytes grow by words, so that 99 % is out of question; a level may jump by two."""
    crop = photo[:side, :side]
    smallest, largest = (size_at(crop, level) for level in (0, 2))
    for goal in range(smallest, largest + 4):
        data, warning = to_bytes(crop, goal)
        assert goal - 8 < len(data) <= goal
        assert warning is None
    assert to_bytes(crop, smallest - 1)[1]
    assert to_bytes(crop, largest + 8)[1]


@pytest.mark.parametrize("unit", ["bytes", "bpp", "dB"])
def test_one_pixel_takes_any_target(tiny: Path, photo: RGB, unit: str) -> None:
    for value in (1e-9, 1, 30, 400, 1e300):
        data, _ = encode_to_target(photo[:1, :1], Target(unit, value))  # type: ignore[arg-type]
        assert decode_image(data, 1).shape == (1, 1, 3)


def measured(rgb: RGB, data: bytes) -> float:
    return psnr(rgb, decode_image(data, 1))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_psnr_is_reached_and_hardly_passed(photo: RGB, share: float) -> None:
    """With the shipped weights: the pictures of random ones do not grow better with the level."""
    crop = photo[100:200, 200:320]
    worst, best = (measured(crop, encode_image(crop, level)) for level in (0, 7))
    goal = worst + share * (best - worst)
    data, warning = encode_to_target(crop, Target("dB", goal))
    assert warning is None
    assert data == encode_image(crop, dlcodec.read_info(data).level)
    found = measured(crop, data)
    assert goal <= found
    assert (
        found <= goal + PSNR_ABOVE or measured(crop, encode_image(crop, dlcodec.read_info(data).level - 1 / 256)) < goal
    )


@pytest.mark.parametrize(
    ("target", "level", "words"),
    [
        (Target("bytes", 60), 0, "level 0, the smallest"),
        (Target("bytes", 40_000), 2, "level 2, the best"),
        (Target("bpp", 1e-3), 0, "bpp"),
        (Target("bpp", 20), 2, "bpp"),
        (Target("dB", 1), 0, "dB"),
        (Target("dB", 60), 2, "dB"),
    ],
)
def test_a_target_out_of_reach_gives_the_nearest_end_with_a_warning(
    tiny: Path, photo: RGB, target: Target, level: float, words: str
) -> None:
    crop = photo[:90, :90]
    data, warning = encode_to_target(crop, target)
    assert data == encode_image(crop, level)
    assert warning is not None
    assert f"target {target} is out of reach" in warning
    assert words in warning
    with pytest.raises(UsageError, match="out of reach"):
        encode_to_target(crop, target, strict=True)


def test_strict_changes_nothing_where_the_target_is_reached(tiny: Path, photo: RGB) -> None:
    target = Target("bytes", size_at(photo[:90, :90], 1))
    assert encode_to_target(photo[:90, :90], target, strict=True) == encode_to_target(photo[:90, :90], target)


def test_a_file_that_comes_out_larger_than_estimated_is_not_accepted(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TooShort(targeting.CodeLength):
        @property
        def payload_bytes(self) -> int:
            return round(super().payload_bytes * 0.985)

    crop = photo[:192, :256]
    goal = size_at(crop, 1)
    monkeypatch.setattr(targeting, "CodeLength", TooShort)
    assert 0.99 * goal <= len(to_bytes(crop, goal)[0]) <= goal


def test_the_analysis_transform_runs_once(tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    transform = MeanScaleCodec.transform

    def counted(self: MeanScaleCodec, x: object, tile: int | None, *, halved: bool = False) -> object:
        runs.append(1)
        return transform(self, x, tile, halved=halved)  # type: ignore[arg-type]

    monkeypatch.setattr(MeanScaleCodec, "transform", counted)
    for target in (Target("bytes", 450), Target("dB", 14)):
        runs.clear()
        encode_to_target(photo[:128, :128], target, effort="low")
        assert len(runs) == 1


def test_the_same_target_gives_the_same_bytes(tiny: Path, photo: RGB) -> None:
    for target in (Target("bytes", 450), Target("bpp", 0.26), Target("dB", 14)):
        assert encode_to_target(photo[:100, :120], target) == encode_to_target(photo[:100, :120], target)


def test_the_tau_hint_goes_into_the_file(tiny: Path, photo: RGB) -> None:
    data, _ = encode_to_target(photo[:90, :90], Target("bytes", 400), tau_hint=1.0)
    assert dlcodec.read_info(data).tau_hint == 1


def test_the_public_function_takes_targets(tiny: Path, photo: RGB) -> None:
    crop = photo[:90, :90]
    size = size_at(crop, 1)
    assert dlcodec.encode(crop, target_bytes=size) == to_bytes(crop, size)[0]
    assert dlcodec.encode(crop, target_bpp=8 * size / 8100, strict=True) == to_bytes(crop, size)[0]
    with pytest.warns(UserWarning, match="out of reach"):
        assert dlcodec.encode(crop, target_psnr=60) == encode_image(crop, 2)
    with pytest.raises(UsageError, match="exclude each other"):
        dlcodec.encode(crop, level=1, target_psnr=30)


def test_the_shipped_weights_land_within_1_percent_below(photo: RGB) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = dlcodec.encode(photo, target_bytes=15_000, strict=True)
    assert 14_850 <= len(data) <= 15_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kodim05", "kodim23"])
def test_kodak_images_land_within_1_percent_below(name: str) -> None:
    """Needs the folder of the Kodak images in $DLCODEC_KODAK."""
    rgb = load(Path(os.environ["DLCODEC_KODAK"]) / f"{name}.png", DEFAULT_LIMITS)
    for bpp in (0.15, 0.3, 0.4):
        data, _ = encode_to_target(rgb, Target("bpp", bpp), strict=True)
        assert 0.99 * bpp <= 8 * len(data) / (rgb.shape[0] * rgb.shape[1]) <= bpp
    goal = math.floor(measured(rgb, encode_image(rgb, 3)))
    data, _ = encode_to_target(rgb, Target("dB", goal), strict=True)
    assert goal <= measured(rgb, data) <= goal + PSNR_ABOVE


def test_the_psnr_of_a_grey_picture_is_that_of_what_is_written(photo: RGB) -> None:
    original = Image.fromarray(photo[:96, :128]).convert("L")

    def written(data: bytes) -> float:
        decoded = dlcodec.decode(data, tau=1)
        assert decoded.mode == "L"
        return psnr(np.asarray(original), np.asarray(decoded))

    goal = (written(dlcodec.encode(original, level=0)) + written(dlcodec.encode(original, level=7))) / 2
    reached = written(dlcodec.encode(original, target_psnr=goal))
    assert goal <= reached <= goal + PSNR_ABOVE + 0.01


def half_flat(photo: RGB) -> RGB:
    """A picture whose left half says nothing of its right one."""
    rgb = np.full((256, 512, 3), 128, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (256, 128, 3), np.uint8)
    rgb[:, 256:384], rgb[:, 384:] = noise, photo[:256, :128]
    return rgb


def forecast_beside(by: int) -> Callable[..., tuple[int, float]]:
    """A forecast that is wrong by so many steps of the level."""

    def forecast(*known: Any) -> tuple[int, float]:
        level, slope = forecast_level(*known)
        return min(max(level + by, 0), known[-2]), slope

    return forecast


@pytest.mark.parametrize("by", [0, -300, 40, 10_000])
def test_a_forecast_that_is_wrong_does_not_move_a_psnr_out_of_its_window(
    photo: RGB, monkeypatch: pytest.MonkeyPatch, by: int
) -> None:
    rgb = half_flat(photo)
    goal = (measured(rgb, encode_image(rgb, 1)) + measured(rgb, encode_image(rgb, 5))) / 2
    monkeypatch.setattr(targeting, "forecast_level", forecast_beside(by))
    data, warning = encode_to_target(rgb, Target("dB", goal))
    assert warning is None
    assert data == encode_image(rgb, dlcodec.read_info(data).level)
    assert goal <= measured(rgb, data) <= goal + PSNR_ABOVE


def test_a_psnr_takes_few_real_pictures(photo: RGB, monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[int] = []
    real = targeting._Search.psnr

    def counted(self: targeting._Search, level: int) -> float:
        probes.append(level)
        return real(self, level)

    monkeypatch.setattr(targeting._Search, "psnr", counted)
    goals = [round(measured(photo, encode_image(photo, level)), 1) for level in (1, 3, 6)]
    for goal in goals:
        encode_to_target(photo, Target("dB", goal))
    assert len(probes) < 3 * len(goals)


def test_the_rounded_latent_is_as_near_to_the_transform_as_the_coded_one(family: str, photo: RGB) -> None:
    codec = load_codec(installed.find(family), torch.device("cpu"))
    x = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None]
    transformed = codec.transform(x)
    y_hat, lost = codec.rounded(transformed, 300)
    steps = codec.coding_steps(128, 192, 300, codec.latents(transformed, 300))
    latent, _ = run_steps(steps, code_known(Encoder(codec.models)))
    coded = codec.to_float(latent, 300)
    assert y_hat.shape == lost.shape == coded.shape
    assert (coded - (y_hat + lost)).abs().max() <= 1.02 * lost.abs().max()


def test_weights_that_give_no_finite_latent_are_at_fault(tiny: Path) -> None:
    codec = load_codec(installed.find("mean-scale"), torch.device("cpu"))
    transformed = codec.transform(torch.zeros(1, 3, 64, 64)).clone()
    transformed[0, 0, 0, 0] = torch.inf
    with pytest.raises(WeightsError, match="not finite"):
        codec.rounded(transformed, 256)
