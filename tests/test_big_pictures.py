"""Pictures that run by tiles, crops, smaller copies, and the bounds of pixels and memory."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dlcodec
from dlcodec import memory
from dlcodec.arguments import Crop, Precision
from dlcodec.bench.children import _run
from dlcodec.checkpoint import load_arrays
from dlcodec.codecs import codec_class
from dlcodec.container import unpack
from dlcodec.errors import LimitError, UsageError
from dlcodec.fusion.fuse import Fusion
from dlcodec.image import load, png_bytes, read_size, read_whole_size
from dlcodec.installed import find
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec, load_fusion
from dlcodec.opening import allowing, quiet
from dlcodec.picture import Extras, Picture
from dlcodec.pipeline import decode_image, decode_images, encode_image
from tests.conftest import RGB

TAUS = (1.0, 0.4, 0.0)
SIZES = [(1, 130), (130, 1), (63, 65), (129, 250), (300, 511)]
SMALL_TILES = 3 * 2**20


def reduce(rgb: RGB, factor: int) -> RGB:
    return Picture(rgb, Extras()).reduce(factor).rgb


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little memory for a tile that every picture is cut."""
    monkeypatch.setattr(memory, "DEFAULT_WORK", SMALL_TILES)


def peak(a: RGB, b: RGB) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_decoded_by_tiles_is_the_picture(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    file = unpack(encode_image(photo[: size[0], : size[1]]), DEFAULT_LIMITS)
    whole = list(decode_images(file, TAUS, "cpu", precision="fp32"))
    monkeypatch.setattr(memory, "DEFAULT_WORK", SMALL_TILES)
    monkeypatch.setattr(load_fusion(find("mean-scale"), torch.device("cpu"), "fp32"), "bytes_per_latent", 2**17)
    tiles, real = [], Fusion.fuse

    def fuse(self: Fusion, y_hat: torch.Tensor, *more: Any) -> Any:
        tiles.append(more[-1])
        return real(self, y_hat, *more)

    monkeypatch.setattr(Fusion, "fuse", fuse)
    for a, b in zip(decode_images(file, TAUS, "cpu", precision="fp32"), whole, strict=True):
        assert peak(a, b) <= 1
        assert (a != b).mean() <= 0.001
    assert tiles
    assert None not in tiles


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_encoded_by_tiles_decodes_to_the_picture(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], precision: Precision
) -> None:
    rgb = photo[: size[0], : size[1]]
    whole = encode_image(rgb, precision=precision)
    monkeypatch.setattr(memory, "DEFAULT_WORK", SMALL_TILES)
    tiled = encode_image(rgb, precision=precision)
    assert abs(len(tiled) - len(whole)) <= 8
    difference = decode_image(tiled, 1.0, "cpu").astype(int) - decode_image(whole, 1.0, "cpu")
    assert np.square(difference).mean() < 0.1  # one symbol more or less, where rounding is a tie


CROPS = [Crop(0, 0, 511, 300), Crop(0, 0, 1, 1), Crop(510, 299, 1, 1), Crop(37, 111, 90, 33), Crop(250, 0, 5, 300)]


@pytest.mark.parametrize("crop", CROPS, ids=str)
@pytest.mark.parametrize("tiled", [False, True])
def test_a_crop_is_the_crop_of_the_picture(
    family: str, photo: RGB, monkeypatch: pytest.MonkeyPatch, crop: Crop, tiled: bool
) -> None:
    file = unpack(encode_image(photo[:300, :511], base=find(family)), DEFAULT_LIMITS)
    whole = list(decode_images(file, TAUS, "cpu", precision="fp32"))
    if tiled:
        monkeypatch.setattr(memory, "DEFAULT_WORK", SMALL_TILES)
    for a, b in zip(decode_images(file, TAUS, "cpu", precision="fp32", crop=crop), whole, strict=True):
        assert peak(a, b[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]) <= 1


@pytest.mark.parametrize("tau", [1.0, 0.0])
def test_a_crop_far_inside_a_long_picture_is_cut_before_fusion_and_synthesis(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, tau: float
) -> None:
    from dlcodec.codecs.mean_scale import MeanScaleCodec

    strip = np.tile(photo[:64], (1, 5, 1))
    data = encode_image(strip)
    whole = decode_image(data, tau, "cpu", precision="fp32")
    widths, real = [], MeanScaleCodec.synthesis

    def synthesis(self: MeanScaleCodec, *how, **options):  # type: ignore[no-untyped-def]
        draw = real(self, *how, **options)

        def watched(y_hat: torch.Tensor) -> torch.Tensor:
            widths.append(y_hat.shape[3])
            return draw.first(y_hat)

        return replace(draw, first=watched)

    monkeypatch.setattr(MeanScaleCodec, "synthesis", synthesis)
    part = decode_image(data, tau, "cpu", precision="fp32", crop=Crop(1600, 10, 64, 40))
    assert peak(part, whole[10:50, 1600:1664]) <= 1
    assert widths == [4 + 2 * (2 if tau == 1 else 4)]  # blocks see two latents farther


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tau_1_beside_others_is_tau_1_alone(family: str, photo: RGB, precision: Precision) -> None:
    data, crop = encode_image(photo[:300, :511], base=find(family)), Crop(37, 111, 90, 33)
    alone = decode_image(data, 1.0, "cpu", precision=precision, crop=crop)
    _, beside = decode_images(unpack(data, DEFAULT_LIMITS), (0.0, 1.0), "cpu", precision=precision, crop=crop)
    assert np.array_equal(alone, beside)


@pytest.mark.parametrize(
    "crop", [(0, 0, 0, 5), (0, 0, 71, 5), (-1, 0, 5, 5), (66, 0, 5, 5), (0, 50, 1, 1), (0, 0, 5, -5)]
)
def test_a_crop_outside_the_picture_is_refused(tiny_file: bytes, crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="not inside 70 x 50"):
        dlcodec.decode(tiny_file, crop=crop)


def test_the_public_function_crops(tiny_file: bytes) -> None:
    whole, part = dlcodec.decode(tiny_file, tau=1), dlcodec.decode(tiny_file, tau=1, crop=(10, 20, 30, 25))
    assert peak(np.asarray(part), np.asarray(whole.crop((10, 20, 40, 45)))) <= 1


def test_a_smaller_picture_is_the_mean_of_its_pixels() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (13, 9, 3), dtype=np.uint8)
    small = reduce(rgb, 4)
    assert small.shape == (4, 3, 3)
    for row in range(4):
        for column in range(3):
            mean = rgb[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(-1, 3).mean(0)
            assert np.abs(small[row, column] - mean).max() <= 1
    assert reduce(rgb, 1) is rgb


def test_limits_are_raised_and_lowered(tiny: Path, tiny_file: bytes, photo: RGB) -> None:
    with pytest.raises(LimitError, match="70 x 50"):
        dlcodec.decode(tiny_file, max_pixels=3499)
    with pytest.raises(LimitError, match="GiB"):
        dlcodec.decode(tiny_file, max_memory=0.5)
    with pytest.raises(LimitError, match="8 x 8"):
        dlcodec.encode(photo[:8, :8].copy(), max_pixels=63)
    assert dlcodec.decode(tiny_file, max_pixels=3500, max_memory=1.5).size == (70, 50)
    raised = DEFAULT_LIMITS.allow(2**30, None)
    raised.check_size(2**15, 2**15)
    assert raised.file_bytes == 2**32
    assert DEFAULT_LIMITS.allow(None, None) == DEFAULT_LIMITS
    for pixels, gibibytes in ((0, None), (-1, None), (2**33, None), (None, 0.0), (None, -1.0), (None, float("nan"))):
        with pytest.raises(UsageError):
            DEFAULT_LIMITS.allow(pixels, gibibytes)


def test_pillows_own_bound_is_moved_only_while_a_picture_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (tmp_path / "a.png").write_bytes(png_bytes(np.zeros((30, 30, 3), np.uint8)))
    assert load(tmp_path / "a.png", DEFAULT_LIMITS).shape == (30, 30, 3)
    assert read_size(tmp_path / "a.png", DEFAULT_LIMITS) == (30, 30)
    assert read_whole_size(tmp_path / "a.png", DEFAULT_LIMITS) == (30, 30)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_readers_that_overlap_leave_pillow_and_its_warnings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    first, second = allowing(500), allowing(300)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 300
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 100
    before = warnings.filters[:]
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    try:
        with warnings.catch_warnings(record=True) as seen:  # with the filters that were left
            warnings.warn_explicit("the target is out of reach", UserWarning, "user.py", 1, module="user")
        assert len(seen) == 1
    finally:
        warnings.filters[:] = before


def test_a_picture_above_pillows_bound_keeps_its_alpha(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture = Image.fromarray(photo[:30, :40])
    picture.putalpha(Image.linear_gradient("L").resize((40, 30)))
    decoded = dlcodec.decode(dlcodec.encode(picture))
    assert decoded.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def run(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "dlcodec", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stderr


def test_the_command_line_crops_and_scales(tmp_path: Path, tiny_file: bytes) -> None:
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    whole = np.asarray(dlcodec.decode(tiny_file, tau=1))
    assert run("decode", tmp_path / "a.dlc", "-o", tmp_path / "a.png", "--tau", "1", "--scale", "1/4")[0] == 0
    assert peak(load(tmp_path / "a.png", DEFAULT_LIMITS), reduce(whole, 4)) <= 2
    options = ("--tau", "1", "--crop", "3,4,50,40", "--scale", "1/2", "--max-memory", "2")
    assert run("decode", tmp_path / "a.dlc", "-o", tmp_path / "b.png", *options)[0] == 0
    assert peak(load(tmp_path / "b.png", DEFAULT_LIMITS), reduce(whole[4:44, 3:53].copy(), 2)) <= 2


def test_a_crop_without_a_transparent_pixel_has_no_alpha(tmp_path: Path, tiny: Path, photo: RGB) -> None:
    image = Image.fromarray(photo[:50, :70])
    image.putalpha(Image.new("L", image.size, 255))
    image.paste((0, 0, 0, 0), (60, 0, 70, 50))
    (tmp_path / "a.dlc").write_bytes(dlcodec.encode(image))
    assert dlcodec.decode(tmp_path / "a.dlc", tau=1, crop=(50, 0, 11, 50)).mode == "RGBA"
    assert run("decode", tmp_path / "a.dlc", "-o", tmp_path / "a.jpg", "--tau", "1", "--crop", "0,0,60,50")[0] == 0


def test_the_command_line_raises_its_limit(tmp_path: Path, tiny_file: bytes) -> None:
    (tmp_path / "a.dlc").write_bytes(tiny_file)
    code, line = run("info", tmp_path / "a.dlc", "--max-pixels", "100")
    assert (code, "--max-pixels" in line) == (6, True)
    assert run("info", tmp_path / "a.dlc", "--max-pixels", "3500")[0] == 0


def test_a_bound_of_memory_refuses_a_picture_before_its_pixels_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (3000, 3000)).save(tmp_path / "a.png")

    def load_pixels(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load_pixels)
    with pytest.raises(LimitError, match="GiB"):
        dlcodec.encode(tmp_path / "a.png", max_memory=0.9)


def test_a_wider_latent_takes_more_memory_a_pixel() -> None:
    assert memory.widened(memory.DECODE, 384) == 2 * memory.DECODE
    assert memory.widened(memory.DECODE, 12) == memory.DECODE


def test_tiles_of_a_wider_codec_take_more_memory(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find("mean-scale")
    usual = load_codec(found, torch.device("cpu")).bytes_per_latent
    monkeypatch.setattr("dlcodec.codecs.mean_scale.MeanScaleCodec.network.channels", (4, 6))
    codec = codec_class("mean-scale")(found.config, load_arrays(found), torch.device("cpu"))
    assert codec.latent_channels == found.config["M"]
    assert codec.bytes_per_latent == usual * found.config["N"] // 4


@pytest.mark.slow
def test_a_process_keeps_to_its_bound_of_memory(photo: RGB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command takes at most, as the system counts it, with the shipped weights."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")
    picture, coded = tmp_path / "a.png", tmp_path / "a.dlc"
    Image.fromarray(np.tile(photo, (4, 4, 1))).save(picture)
    for line in (
        ["encode", picture, "-o", coded],
        ["decode", coded, "-o", tmp_path / "1.png", "--tau", "1"],
        ["decode", coded, "-o", tmp_path / "0.png", "--tau", "0"],
    ):
        *_, peak_bytes = _run([*line, "--max-memory", "1.25"])
        assert peak_bytes <= 1.25 * 2**30
