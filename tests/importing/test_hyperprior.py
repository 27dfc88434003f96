"""The names in CompressAI's state dicts."""

from __future__ import annotations

import pytest
import torch

try:
    from dlcodec.importing.hyperprior import rename
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec.errors import WeightsError


def test_old_names_become_those_of_today() -> None:
    old = ("module.entropy_bottleneck._matrix0", "entropy_bottleneck._biases.1", "g_a.0.weight")
    assert list(rename({name: torch.ones(1) for name in old})) == [
        "entropy_bottleneck.matrices.0",
        "entropy_bottleneck.biases.1",
        "g_a.0.weight",
    ]


@pytest.mark.parametrize("name", ["entropy_bottleneck_y.quantiles", "module.entropy_bottleneck"])
def test_another_entropy_bottleneck_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=r"it has entropy_bottleneck.*, which no hyperprior codec has"):
        rename({name: torch.ones(1)})
