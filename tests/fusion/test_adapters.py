from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcodec import checkpoint
from dlcodec.changes import SynthesisChanges, add_change
from dlcodec.fusion.adapters import SynthesisAdapters, scale_at
from dlcodec.loading import load_codec, load_fusion

CPU = torch.device("cpu")
SHAPES = {"0.weight": torch.Size((12, 8, 5, 5)), "2.weight": torch.Size((8, 3, 5, 5))}


def test_fresh_adapters_change_nothing() -> None:
    changes = SynthesisAdapters(SHAPES, 4, 3)(torch.tensor([0.2]))
    assert changes.keys() == SHAPES.keys()
    assert all(not up.any() for _, up in changes.values())


def random_adapters(rank: int = 3, levels: int = 3) -> SynthesisAdapters:
    torch.manual_seed(0)
    adapters = SynthesisAdapters(SHAPES, rank, levels)
    for parameter in (*adapters.up.values(), *adapters.scale.values()):
        parameter.data.normal_()
    return adapters


def test_a_change_has_its_rank_and_its_place() -> None:
    down, up = random_adapters()(torch.tensor([0.5]))["0.weight"]
    change = down[0] @ up
    assert change.shape == (12, 200)
    assert torch.linalg.matrix_rank(change) == 3
    weight = torch.randn(12, 8, 5, 5)
    assert torch.allclose(add_change(weight, change)[7, 2, 1, 4], weight[7, 2, 1, 4] + change[7, 2 * 25 + 1 * 5 + 4])


def test_scales_are_linear_between_levels() -> None:
    table = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 0.0]])
    levels = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    expected = [[1, 10], [1.5, 15], [2, 20], [3, 10], [4, 0]]
    assert scale_at(table, levels).tolist() == expected
    assert scale_at(table[:1], levels).tolist() == [[1, 10]] * 5


def test_widened_adapters_change_what_they_did() -> None:
    narrow, wide = random_adapters(), SynthesisAdapters(SHAPES, 5, 3)
    tensors = {f"adapters.{name}": tensor for name, tensor in narrow.state_dict().items()}
    wide.widen(tensors)
    wide.load_state_dict({name.removeprefix("adapters."): tensor for name, tensor in tensors.items()})
    level = torch.tensor([0.3])
    for name, (down, up) in narrow(level).items():
        new_down, new_up = wide(level)[name]
        assert new_up.shape[0] == 5
        assert torch.allclose(new_down @ new_up, down @ up)


def test_a_change_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError):
        add_change(torch.zeros(12, 8, 5, 5), torch.zeros(12, 100))


def test_changes_fade_with_the_square_of_tau(tiny: Path) -> None:
    fusion = load_fusion(checkpoint.read_metadata(tiny), CPU, "fp32")
    whole = fusion.changes(0.0, 0.3).weights
    assert set(whole) == {"0.weight", "2.weight", "4.weight", "6.weight"}
    for name, change in fusion.changes(0.5, 0.3).weights.items():
        assert torch.equal(change, 0.75 * whole[name])
        assert change.any()
        assert not torch.equal(fusion.changes(0.5, 0.4).weights[name], change)
    assert fusion.changes(1.0, 0.3) == SynthesisChanges({})


def test_the_synthesis_is_as_before_once_it_was_changed(tiny: Path) -> None:
    """Changes are applied for one call; the codec that is kept in memory is not touched."""
    found = checkpoint.read_metadata(tiny)
    codec, fusion = load_codec(found, CPU), load_fusion(found, CPU, "fp32")
    y_hat = torch.randn(1, 12, 4, 4)
    before = codec.synthesis()(y_hat)
    changed = codec.synthesis(fusion.changes(0.0, 0.5))(y_hat)
    assert not torch.equal(before, changed)
    assert torch.equal(codec.synthesis()(y_hat), before)
    with torch.inference_mode():
        zero = {name: torch.zeros_like(change) for name, change in fusion.changes(0.0, 0.5).weights.items()}
        assert torch.equal(codec.synthesis(SynthesisChanges(zero))(y_hat), before)
