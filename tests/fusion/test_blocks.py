"""Residual blocks within a synthesis transform: what they compute, how far they see, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcodec import checkpoint, installed
from dlcodec.changes import UNCHANGED, PlacedBlock, SynthesisChanges
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.errors import WeightsError
from dlcodec.fusion.blocks import BlockPlace, ResidualBlock, read_places
from dlcodec.loading import load_codec, load_fusion
from dlcodec.painting import transform_tile
from dlcodec.tiles import run_by_tiles
from tests.tiny import PLACES

CPU = torch.device("cpu")


def random_block(channels: int = 8, hidden: int = 6, levels: int = 3) -> ResidualBlock:
    torch.manual_seed(0)
    block = ResidualBlock(channels, hidden, levels)
    block.second.weight.data.normal_(0, 0.2)
    block.scale.data.normal_()
    block.rms.uniform_(0.2, 3)
    return block


def test_a_fresh_block_changes_nothing() -> None:
    x, block = torch.randn(2, 8, 5, 7), ResidualBlock(8, 6, 3)
    assert torch.equal(block(x, block.amount(torch.tensor([0.1, 0.9]), torch.ones(2))), x)


def test_a_block_at_one_level_and_tau_is_the_block() -> None:
    x, block = torch.randn(2, 8, 5, 7), random_block()
    levels, parts = torch.tensor([0.2, 1.0]), torch.tensor([1.0, 0.3])
    with torch.inference_mode():
        together = block(x, block.amount(levels, parts))
        for number in range(2):
            own = x[number : number + 1].clone()
            fixed = block.at(levels[number].item(), parts[number].item())
            torch.testing.assert_close(fixed(own), together[number : number + 1])
        assert torch.equal(block.at(0.2, 0.0)(x), x)


def test_the_scale_of_the_input_is_that_of_the_change() -> None:
    x, block = torch.randn(1, 8, 5, 7), random_block()
    amount = block.amount(torch.tensor([0.5]), torch.ones(1))
    with torch.no_grad():
        change = block(x, amount) - x
        block.rms.mul_(4)
        torch.testing.assert_close(block(4 * x, amount) - 4 * x, 4 * change, rtol=1e-4, atol=1e-5)


def test_blocks_that_follow_one_layer_act_in_their_order(tiny: Path) -> None:
    codec = load_codec(checkpoint.read_metadata(tiny), CPU)
    assert isinstance(codec, HyperpriorCodec)
    first, second, later = random_block(), random_block(hidden=4), random_block(hidden=5)
    y = torch.randn(1, 12, 3, 4)
    with torch.inference_mode():
        fixed = [block.at(0.5, 1.0) for block in (first, second, later)]
        x = y
        for number, layer in enumerate(codec._transforms.g_s):
            x = layer(x)
            for block in {1: fixed[:2], 3: fixed[2:]}.get(number, []):
                x = block(x)
        places = ((3, 4, fixed[2]), (1, 2, fixed[0]), (1, 2, fixed[1]))
        changes = SynthesisChanges({}, tuple(PlacedBlock(*place) for place in places))
        torch.testing.assert_close(codec.synthesis(changes)(y), x)


def test_the_changed_synthesis_is_the_same_in_tiles(family: str) -> None:
    found = installed.find(family)
    codec, fusion = load_codec(found, CPU), load_fusion(found, CPU, "fp32")
    changes = fusion.changes(0.0, 0.4)
    y = torch.randn(1, codec.latent_channels, 21, 34, generator=torch.Generator().manual_seed(1))
    draw = codec.synthesis(changes)
    whole = draw(y)
    tiled = run_by_tiles(draw, (y,), tile=8, halo=codec.synthesis_halo + changes.reach, ratio=codec.latent_stride)
    assert (tiled - whole).abs().max() <= 4e-6 * whole.abs().max()


def test_a_pixel_depends_on_latents_as_far_as_the_reach_says(family: str) -> None:
    """With positive weights, so that no influence is cancelled or stopped on its way."""
    found = installed.find(family)
    codec, fusion = load_codec(found, CPU), load_fusion(found, CPU, "fp32")
    assert isinstance(codec, HyperpriorCodec)
    changes, channels = fusion.changes(0.0, 0.4), codec.latent_channels
    assert len(changes.blocks) == len(PLACES[family]) > 0
    with torch.inference_mode():
        changed = changes.apply(codec._transforms.g_s, channels)
    network = copy.deepcopy(changed)
    for name, parameter in changed.named_parameters():
        *path, last = name.split(".")
        positive = torch.nn.Parameter(parameter.detach().double().abs().clone())
        setattr(network.get_submodule(".".join(path)), last, positive)
    x = torch.ones(1, channels, 64, 64, dtype=torch.float64, requires_grad=True)
    network(x)[..., 32 * 16 : 33 * 16].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1, 2)).nonzero()
    furthest = max(32 - int(seen.min()), int(seen.max()) - 32)
    assert codec.synthesis_halo < furthest <= codec.synthesis_halo + changes.reach


def test_blocks_in_bfloat16_draw_nearly_the_same(family: str) -> None:
    found = installed.find(family)
    codec, fusion = load_codec(found, CPU), load_fusion(found, CPU, "fp32")
    changes = fusion.changes(0.0, 0.5)
    y = 0.3 * torch.randn(1, codec.latent_channels, 6, 5, generator=torch.Generator().manual_seed(1))
    full, half, without = (
        codec.synthesis(SynthesisChanges(changes.weights, blocks), halved=halved)(y)
        for blocks, halved in ((changes.blocks, False), (changes.blocks, True), ((), False))
    )
    assert (half - full).abs().max() < 0.2 * (without - full).abs().max()


def test_many_channels_inside_make_the_tiles_smaller(family: str) -> None:
    codec = load_codec(installed.find(family), CPU)
    wide = SynthesisChanges({}, reach=2, bytes_per_latent=4 * codec.bytes_per_latent)
    plain, thin, small = (
        transform_tile(codec, 5000, 5000, 2**32, codec.synthesis_halo, changes)
        for changes in (UNCHANGED, SynthesisChanges({}, reach=2, bytes_per_latent=1), wide)
    )
    assert plain is not None
    assert thin is not None
    assert small is not None
    assert 1.5 * small < thin <= plain


@pytest.mark.parametrize(
    "place",
    [
        {"after": 1, "ratio": 2},
        {"after": 1, "ratio": 2, "hidden": 6.0},
        {"after": -1, "ratio": 2, "hidden": 6},
        {"after": 1, "ratio": 0, "hidden": 6},
        {"after": 1, "ratio": 2, "hidden": 10**9},
        {"after": 1, "ratio": 2, "hidden": 6, "more": 1},
    ],
)
def test_places_that_make_no_sense_are_refused(place: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        BlockPlace(**place)


@pytest.mark.parametrize(
    "found", [None, {"after": 1}, [5], [{"after": 1}], [{"after": 1, "ratio": 2, "hidden": 6}] * 17]
)
def test_lists_of_blocks_that_make_no_sense_are_refused(found: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_places({"blocks": found})


def test_a_block_after_no_layer_or_of_other_channels_or_elsewhere_is_refused(tiny: Path) -> None:
    codec, y = load_codec(checkpoint.read_metadata(tiny), CPU), torch.randn(1, 12, 3, 4)
    for after, ratio, channels in ((6, 16, 3), (99, 2, 8), (-1, 2, 8), (1, 2, 7), (1, 4, 8)):
        changes = SynthesisChanges({}, (PlacedBlock(after, ratio, random_block(channels).at(0.0, 1.0)),))
        with pytest.raises(WeightsError, match="do not fit the synthesis"):
            codec.synthesis(changes)(y)
