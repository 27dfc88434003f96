"""What a CPU encodes a CUDA device decodes to the same latents, and the reverse; skipped where there is none."""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from dlcodec import container, installed
from dlcodec.arguments import Effort
from dlcodec.coding import decode_latent
from dlcodec.errors import UsageError
from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, encode_image
from tests.conftest import RGB, ROOT

DeviceName = Literal["cpu", "cuda"]
FAMILIES = sorted({path.parent.name for path in (ROOT / "weights").glob("*/base*.safetensors")})
WAYS: list[tuple[DeviceName, DeviceName]] = list(permutations(("cpu", "cuda")))  # type: ignore[arg-type]

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.parametrize("family", FAMILIES),
    pytest.mark.parametrize(("encoder", "decoder"), WAYS),
]


def check(
    rgb: RGB, family: str, level: float | None, encoder: DeviceName, decoder: DeviceName, *, effort: Effort = "medium"
) -> None:
    """The latents are those of the encoder, checked by their digest; the pictures differ by 2 of 255 at most."""
    found = installed.find(family)
    data = encode_image(rgb, level, encoder, base=found, effort=effort)
    file = container.unpack(data, DEFAULT_LIMITS)
    latents = [decode_latent(file, load_codec(found, torch.device(device))) for device in (encoder, decoder)]
    assert np.array_equal(*latents)
    pictures = [decode_image(data, 1.0, device).astype(int) for device in (encoder, decoder)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2


@pytest.mark.parametrize("level", [0, 2.3, 7])
def test_a_photograph_crosses_over(
    photo: RGB, family: str, level: float, encoder: DeviceName, decoder: DeviceName
) -> None:
    check(photo, family, level, encoder, decoder)


def test_a_refined_photograph_crosses_over(photo: RGB, family: str, encoder: DeviceName, decoder: DeviceName) -> None:
    try:
        check(photo[:200, :300], family, 3, encoder, decoder, effort="high")
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_kodak_crosses_over(family: str, encoder: DeviceName, decoder: DeviceName) -> None:
    """Needs the folder of the Kodak images in $DLCODEC_KODAK."""
    paths = sorted(Path(os.environ["DLCODEC_KODAK"]).glob("*.png"))
    assert len(paths) == 24
    for path in paths:
        check(load(path, DEFAULT_LIMITS), family, None, encoder, decoder)
