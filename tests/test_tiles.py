"""Tiles give what the whole gives: for plain operations, for every network, at every size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcodec.checkpoint import read_metadata
from dlcodec.codecs import codec_class
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.codecs.mean_scale import MeanScaleCodec
from dlcodec.entropy import exact
from dlcodec.errors import LimitError
from dlcodec.fusion.denoiser import Denoiser
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.memory import BASE, DECODE, DEFAULT_WORK, choose_tile, work_memory
from dlcodec.tiles import Then, run_by_tiles, spans
from tests.conftest import RGB, ROOT
from tests.tiny import CHANNELS, make_denoiser, make_network

SIZES = [(1, 1), (3, 50), (17, 16), (33, 40), (1, 130), (64, 23)]
CPU = torch.device("cpu")


@pytest.mark.parametrize("align", [1, 4, 8])
@pytest.mark.parametrize("tile", [4, 8, 24, 1000])
@pytest.mark.parametrize("length", [*range(1, 40), 130])
def test_tiles_cover_an_axis_once_on_their_grid(length: int, tile: int, align: int) -> None:
    cut = list(spans(length, tile, 3, align))
    assert [span.start for span in cut] == [0, *(span.stop for span in cut[:-1])]
    assert cut[-1].stop == length
    for span in cut:
        assert span.start % align == 0
        assert 0 < span.stop - span.start <= max(tile, align)
        assert (span.first, span.last) == (max(0, span.start - 3), min(length, span.stop + 3))


def integers(*shape: int) -> Tensor:
    return torch.randint(-9, 9, shape, generator=torch.Generator().manual_seed(shape[-1])).float()


def same(x: Tensor) -> Tensor:
    return F.conv2d(x, integers(4, 3, 5, 5), padding=2)


def doubled(x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, integers(3, 4, 5, 5), stride=2, padding=2, output_padding=1)


def halved(x: Tensor) -> Tensor:
    return F.conv2d(x, integers(4, 3, 5, 5), stride=2, padding=2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile", [2, 8, 14])
@pytest.mark.parametrize(
    ("function", "halo", "align", "ratio"), [(same, 2, 1, 1), (doubled, 1, 1, 2), (halved, 2, 2, 0.5)]
)
def test_sums_of_integers_are_equal(
    function: Callable[[Tensor], Tensor], halo: int, align: int, ratio: float, size: tuple[int, int], tile: int
) -> None:
    x = integers(2, 3, *(side + side % align for side in size))
    tiled = run_by_tiles(function, (x,), tile=tile, halo=halo, align=align, ratio=ratio)
    assert torch.equal(tiled, function(x))


def test_a_halo_that_is_too_small_shows() -> None:
    x = integers(1, 3, 40, 40)
    assert not torch.equal(run_by_tiles(same, (x,), tile=8, halo=1), same(x))


@pytest.fixture(params=[*CHANNELS, "shipped"])
def codec(request: pytest.FixtureRequest, tiny_folder: Path) -> HyperpriorCodec:
    shipped = ROOT / "weights" / "mean-scale" / "base.safetensors"
    path = shipped if request.param == "shipped" else tiny_folder / request.param / "base.safetensors"
    loaded = load_codec(read_metadata(path), CPU)
    assert isinstance(loaded, HyperpriorCodec)
    return loaded


def random_latent(codec: HyperpriorCodec, height: int, width: int) -> Tensor:
    channels = codec.latent_channels
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(height * 200 + width))


@pytest.mark.parametrize("size", [(1, 1), (5, 23), (1, 40), (17, 9), (24, 24)])
def test_the_synthesis_is_the_same_in_tiles(codec: HyperpriorCodec, size: tuple[int, int]) -> None:
    y, synthesis = random_latent(codec, *size), codec.synthesis()

    def tiled(halo: int, late_halo: int) -> Tensor:
        then = Then(synthesis.last, late_halo, synthesis.ratio)
        return run_by_tiles(synthesis.first, (y,), tile=8, halo=halo, ratio=codec.latent_stride, then=then)

    whole = synthesis(y)
    scale = whole.abs().max()
    assert tiled(codec.synthesis_halo, synthesis.halo).shape == whole.shape
    assert (tiled(codec.synthesis_halo, synthesis.halo) - whole).abs().max() <= 4e-6 * scale
    if max(size) > 8:
        for short in (1, min(1, synthesis.halo)), (codec.synthesis_halo, 1):
            assert (tiled(*short) - whole).abs().max() > 1e-4 * scale


def reach(network: nn.Module, channels: int, length: int, middle: slice) -> tuple[int, int]:
    """The first and last column that the columns ``middle`` of the output depend on.

    Weights are made positive, so that no influence is cancelled or stopped on its way.
    """
    for parameter in network.parameters():
        parameter.data = parameter.data.double().abs()
    x = torch.ones(1, channels, 64, length, dtype=torch.float64, requires_grad=True)
    network(x)[..., middle].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1, 2)).nonzero()
    return int(seen.min()), int(seen.max())


@pytest.mark.parametrize("family", CHANNELS)
def test_networks_reach_as_far_as_their_halos_say(family: str) -> None:
    codec, (N, M) = codec_class(family), CHANNELS[family]
    network = make_network(family=family)
    first, last = reach(network.g_s, M, 64, slice(32 * 16, 33 * 16))
    assert max(32 - first, last - 32) == codec.synthesis_halo
    late, ratio = network.g_s[codec.synthesis_cut :], codec.cut_ratio  # M = N where there is a cut
    first, last = reach(late, M, 64 * ratio, slice(32 * 16, 33 * 16))
    assert max(32 * ratio - first, last - 32 * ratio - ratio + 1) == codec.late_halo * ratio
    first, last = reach(network.g_a, 3, 512, slice(16, 17))
    furthest = max(256 - first, last - 271)
    assert codec.analysis_halo - 16 < furthest <= codec.analysis_halo
    first, last = reach(network.h_a, M, 64, slice(8, 9))
    furthest = max(32 - first, last - 35)
    assert codec.hyper_analysis_halo - 4 < furthest <= codec.hyper_analysis_halo
    first, last = reach(network.h_s, N, 64, slice(32 * 4, 33 * 4))
    assert max(32 - first, last - 32) == codec.hyper_synthesis_reach


@pytest.mark.parametrize("size", [(2, 5), (5, 3)])
def test_the_analysis_in_bfloat16_differs_in_tiles_by_its_own_rounding_at_most(
    codec: HyperpriorCodec, photo: RGB, size: tuple[int, int]
) -> None:
    x = torch.from_numpy(photo[: 64 * size[0], : 64 * size[1]].copy()).permute(2, 0, 1)[None]
    exact = codec.transform(x)
    whole, tiled = (codec.transform(x, tile, halved=True) for tile in (None, 4))
    assert (tiled - whole).abs().max() <= (whole - exact).abs().max()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (5, 3)])
def test_the_analysis_is_the_same_in_tiles(codec: HyperpriorCodec, photo: RGB, size: tuple[int, int]) -> None:
    x = torch.from_numpy(photo[: 64 * size[0], : 64 * size[1]].copy()).permute(2, 0, 1)[None]
    whole, tiled = codec.analyse(x.float() / 255, 300), codec.latents(codec.transform(x, tile=4), 300, tile=4)
    assert np.abs(tiled.y - whole.y).max() <= 1e-5 * max(1, np.abs(whole.y).max())
    assert (tiled.z_symbols != whole.z_symbols).mean() < 0.001


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (7, 4)])
def test_the_hyper_synthesis_is_bit_equal_in_tiles(
    codec: HyperpriorCodec, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    symbols = np.random.default_rng(0).integers(-5, 6, (codec.hyper_tables, *size), dtype=np.int32)
    whole = codec.hyper_synthesis(symbols, 300)
    for tile in (1, 3):
        monkeypatch.setattr(exact, "_TILE", tile)
        tiled = codec.hyper_synthesis(symbols, 300)
        assert tiled.dtype == np.int32
        assert np.array_equal(tiled, whole)
    short = replace(codec.hyper_synthesis, reach=codec.hyper_synthesis_reach - 1)
    if max(size) > 3:
        assert not np.array_equal(short(symbols, 300), whole)


def denoised(net: Denoiser, y_t: Tensor, y_hat: Tensor, tile: int | None) -> Tensor:
    one = torch.ones(1)
    with torch.inference_mode():
        return net(y_t, y_hat, net.condition(y_hat, one * 0.3, tile), one * 0.5, one * 0.3, tile)


@pytest.mark.parametrize("size", [(1, 1), (9, 40), (23, 17), (1, 50), (32, 32)])
@pytest.mark.parametrize("tile", [8, 16])
def test_the_denoiser_is_the_same_in_tiles(size: tuple[int, int], tile: int) -> None:
    net, (y_t, y_hat) = make_denoiser(), torch.randn(2, 1, 12, *size, generator=torch.Generator().manual_seed(1))
    whole = denoised(net, y_t, y_hat, None)
    assert (denoised(net, y_t, y_hat, tile) - whole).abs().max() <= 2e-5 * whole.abs().max()


def test_the_denoiser_sees_as_far_as_it_says() -> None:
    net, reach = make_denoiser(), make_denoiser().reach()
    assert reach == 32  # two units: 1, 8 + 4, 16 + 4, 24 + 4, + 1, to whole windows
    y_t, y_hat = torch.randn(2, 1, 12, 8, 128, generator=torch.Generator().manual_seed(1))
    far, near = y_hat.clone(), y_hat.clone()
    far[..., 64 + 8 + reach :] += 1
    near[..., 64 + 8 :] += 1
    whole = denoised(net, y_t, y_hat, None)[..., 64:72]
    assert torch.equal(denoised(net, y_t, far, None)[..., 64:72], whole)
    assert not torch.equal(denoised(net, y_t, near, None)[..., 64:72], whole)


def test_the_default_takes_small_pictures_whole_and_cuts_large_ones() -> None:
    need = MeanScaleCodec.usual_bytes_per_latent
    work = work_memory(DEFAULT_LIMITS, 768 * 512, DECODE)
    assert work == DEFAULT_WORK
    assert choose_tile(48, 32, need, work=work, halo=2, grid=4) is None
    tile = choose_tile(240, 135, need, work=work, halo=2, grid=4)
    assert tile is not None
    assert (tile + 4) ** 2 * need <= work < (tile + 8 + 4) ** 2 * need
    assert tile % 4 == 0


def test_a_bound_leaves_the_rest_for_tiles_or_refuses() -> None:
    pixels = 10**8
    limits = DEFAULT_LIMITS.allow(None, 6.0)
    assert work_memory(limits, pixels, DECODE) == 6 * 2**30 - BASE - pixels * DECODE
    with pytest.raises(LimitError, match=r"100\.0 megapixels need about 3\.\d\d GiB"):
        work_memory(DEFAULT_LIMITS.allow(None, 2.0), pixels, DECODE)


def test_a_tile_is_at_least_one_step_of_the_grid() -> None:
    assert choose_tile(100, 100, 10**6, work=1, halo=2, grid=8) == 8
