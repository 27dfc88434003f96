from __future__ import annotations

import pytest
import torch

from dlcodec.codecs import layers
from dlcodec.codecs.layers import GDN


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_by_rows_and_in_place_gdn_gives_the_same_bits(
    inverse: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    gdn = GDN(8, inverse=inverse)
    gdn.gamma.data += 0.1 * torch.rand(8, 8)
    x = torch.randn(2, 8, 7, 5).contiguous(memory_format=torch.channels_last)
    whole = gdn(x).detach()
    monkeypatch.setattr(layers, "_POSITIONS", rows * 10)
    with torch.inference_mode():
        given = x.clone()
        assert torch.equal(gdn(given), whole)
        assert torch.equal(given, whole)  # in place


def test_gdn_leaves_its_input_alone_where_it_is_trained() -> None:
    x = torch.randn(1, 8, 3, 3)
    before = x.clone()
    GDN(8)(x)
    assert torch.equal(x, before)
