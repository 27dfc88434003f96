"""Residual blocks within a synthesis transform: what they compute, how far they see, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dlcodec import checkpoint
from dlcodec.changes import SynthesisChanges
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.errors import WeightsError
from dlcodec.fusion.blocks import BlockPlace, ResidualBlock, reach
from dlcodec.loading import load_codec, load_fusion
from dlcodec.tiles import run_by_tiles
from tests.tiny import PLACES

CPU = torch.device("cpu")


def random_block(channels: int = 8, hidden: int = 6, levels: int = 3) -> ResidualBlock:
    torch.manual_seed(0)
    block = ResidualBlock(channels, hidden, levels)
    block.second.weight.data.normal_(0, 0.2)
    block.scale.data.normal_()
    block.spread.uniform_(0.2, 3)
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
        block.spread.mul_(4)
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
        changes = SynthesisChanges({}, ((3, fixed[2]), (1, fixed[0]), (1, fixed[1])))
        torch.testing.assert_close(codec.synthesise(y, changes), x)


def test_the_changed_synthesis_is_the_same_in_tiles(family: str) -> None:
    found = checkpoint.find(family)
    codec, fusion = load_codec(found, CPU), load_fusion(found, CPU, "fp32")
    changes = fusion.changes(0.0, 0.4)
    assert len(changes.blocks) == len(PLACES[family])
    assert changes.reach == fusion.synthesis_reach == reach(PLACES[family]) > 0
    y = torch.randn(1, codec.latent_channels, 21, 34, generator=torch.Generator().manual_seed(1))

    def tiled(halo: int) -> torch.Tensor:
        def synthesise(part: torch.Tensor) -> torch.Tensor:
            return codec.synthesise(part, changes)

        return run_by_tiles(synthesise, (y,), tile=8, halo=halo, ratio=codec.latent_stride)

    whole = codec.synthesise(y, changes)
    scale = whole.abs().max()
    assert (tiled(codec.synthesis_halo + changes.reach) - whole).abs().max() <= 4e-6 * scale
    assert (tiled(1) - whole).abs().max() > 1e-5 * scale


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


def test_a_block_after_no_layer_or_of_other_channels_is_refused(tiny: Path) -> None:
    codec, y = load_codec(checkpoint.read_metadata(tiny), CPU), torch.randn(1, 12, 3, 4)
    for after, channels in ((6, 3), (99, 8), (1, 7)):
        changes = SynthesisChanges({}, ((after, random_block(channels).at(0.0, 1.0)),))
        with pytest.raises(WeightsError, match="do not fit the synthesis"):
            codec.synthesise(y, changes)
