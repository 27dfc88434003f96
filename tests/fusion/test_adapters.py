from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcodec import checkpoint
from dlcodec.codecs.layers import add_change
from dlcodec.fusion.adapters import SynthesisAdapters
from dlcodec.pipeline import load_codec, load_fusion

CPU = torch.device("cpu")
SHAPES = {"0.weight": torch.Size((12, 8, 5, 5)), "2.weight": torch.Size((8, 3, 5, 5))}


def test_fresh_adapters_change_nothing() -> None:
    changes = SynthesisAdapters(SHAPES, 4)()
    assert changes.keys() == SHAPES.keys()
    assert all(not change.any() for change in changes.values())


def test_a_change_has_its_rank_and_its_place() -> None:
    torch.manual_seed(0)
    adapters = SynthesisAdapters(SHAPES, 3)
    for up in adapters.up.values():
        up.data.normal_()
    change = adapters()["0.weight"]
    assert change.shape == (12, 200)
    assert torch.linalg.matrix_rank(change) == 3
    weight = torch.randn(12, 8, 5, 5)
    assert torch.allclose(add_change(weight, change)[7, 2, 1, 4], weight[7, 2, 1, 4] + change[7, 2 * 25 + 1 * 5 + 4])


def test_a_change_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError):
        add_change(torch.zeros(12, 8, 5, 5), torch.zeros(12, 100))


def test_changes_fade_with_the_square_of_tau(tiny: Path) -> None:
    fusion = load_fusion(checkpoint.read_metadata(tiny), CPU, "fp32")
    whole = fusion.changes(0.0)
    assert set(whole) == {"0.weight", "2.weight", "4.weight", "6.weight"}
    for name, change in fusion.changes(0.5).items():
        assert torch.equal(change, 0.75 * whole[name])
        assert change.any()
    assert fusion.changes(1.0) == {}


def test_the_synthesis_is_as_before_once_it_was_changed(tiny: Path) -> None:
    """Changes are applied for one call; the codec that is kept in memory is not touched."""
    found = checkpoint.read_metadata(tiny)
    codec, fusion = load_codec(found, CPU), load_fusion(found, CPU, "fp32")
    y_hat = torch.randn(1, 12, 4, 4)
    before = codec.synthesise(y_hat)
    changed = codec.synthesise(y_hat, fusion.changes(0.0))
    assert not torch.equal(before, changed)
    assert torch.equal(codec.synthesise(y_hat), before)
    with torch.inference_mode():
        zero = {name: torch.zeros_like(change) for name, change in fusion.changes(0.0).items()}
        assert torch.equal(codec.synthesise(y_hat, zero), before)
