"""CompressAI's Cheng2020Attention as our codec: the same picture at the same rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import RGB

try:
    from compressai.models import Cheng2020Anchor, Cheng2020Attention
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec import checkpoint
from dlcodec.container import unpack
from dlcodec.errors import WeightsError
from dlcodec.image import psnr
from dlcodec.importing.command import import_source
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image, encode_image
from tests.importing.test_mean_scale import source


def make_original(N: int = 8) -> Cheng2020Attention:
    """A network of random weights whose latents spread over several symbols and scales."""
    torch.manual_seed(0)
    network = Cheng2020Attention(N).eval()
    with torch.no_grad():
        network.g_a[7].weight.mul_(10)
        network.g_s[9][0].weight.mul_(4)
        network.h_a[8].weight.mul_(40)
        network.entropy_parameters[4].weight.mul_(4)
        network.entropy_parameters[4].bias[:N].add_(3)
    network.update(force=True, update_quantiles=True)
    return network


def test_the_picture_and_the_rate_are_those_of_compressai(photo: RGB, tmp_path: Path) -> None:
    original = make_original()
    path = tmp_path / "cheng2020" / "base.safetensors"
    import_source(source(original.state_dict()), "cheng2020", None, path, force=True)
    base = checkpoint.read_metadata(path)
    crop = np.ascontiguousarray(photo[100:228, 100:292])
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        strings = original.compress(x)
        theirs = original.decompress(**strings)["x_hat"][0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    data = encode_image(crop, precision="fp32", base=base)
    ours = decode_image(data, 1.0, base=base)
    assert len(np.unique(theirs)) > 20  # a picture, not a grey field
    assert psnr(theirs, ours) > 30  # a symbol that differs is amplified by this synthesis
    assert psnr(crop, ours) == pytest.approx(psnr(crop, theirs), abs=0.01)
    size = sum(len(string) for (string,) in strings["strings"])
    assert len(unpack(data, DEFAULT_LIMITS).payload) <= 1.003 * size + 4


def test_its_relatives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"it (lacks|has) |has the shape"):
        import_source(
            source(Cheng2020Anchor(8).state_dict()), "cheng2020", None, tmp_path / "base.safetensors", force=True
        )
    with pytest.raises(WeightsError, match=r"it lacks g_a\.0\.weight|g_a\.6\.weight"):
        import_source(
            source(make_original().state_dict()), "mean-scale", None, tmp_path / "base.safetensors", force=True
        )
