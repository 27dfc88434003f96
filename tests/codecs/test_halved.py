from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from dlcodec import checkpoint
from dlcodec.codecs.halved import HalvedSynthesis, subpixel
from dlcodec.codecs.layers import deconv
from dlcodec.container import unpack
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, decode_images
from tests.tiny import make_network


@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (2, 5, 4, 7)])
def test_the_pixel_shuffle_computes_the_transposed_convolution(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = deconv(5, 3).double(), torch.randn(shape).double()
    torch.testing.assert_close(subpixel(layer)(x), layer(x), rtol=0, atol=1e-12)


def test_the_halved_synthesis_differs_by_the_rounding_of_bfloat16_and_gives_float32() -> None:
    layers = make_network().g_s
    y = torch.randn(1, 12, 4, 4)
    with torch.inference_mode():
        whole = layers(y)
        halved = HalvedSynthesis(copy.deepcopy(layers))(y)
    assert halved.dtype == torch.float32
    assert 0 < (halved - whole).abs().max() < 0.03 * whole.abs().max()
    assert halved.unique().numel() > whole.numel() // 2  # the last layer was not rounded to 8 bits


def test_a_synthesis_that_ends_otherwise_keeps_its_last_layer() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 12, 1), torch.nn.PixelShuffle(2))
    y = torch.randn(1, 2, 3, 3)
    with torch.inference_mode():
        expected = torch.nn.functional.pixel_shuffle(copy.deepcopy(layers[0]).bfloat16()(y.bfloat16()).float(), 2)
        assert torch.equal(HalvedSynthesis(layers)(y), expected)


def test_the_codec_in_memory_keeps_its_numbers(tiny: Path) -> None:
    codec = load_codec(checkpoint.read_metadata(tiny), torch.device("cpu"))
    y = torch.randn(1, 12, 4, 4)
    before = codec.synthesis()(y)
    assert not torch.equal(codec.synthesis(halved=True)(y), before)
    assert torch.equal(codec.synthesis()(y), before)


def test_only_who_asks_for_bfloat16_by_name_gets_it_at_tau_1(tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    base, halved = (decode_image(tiny_file, 1.0, "cpu", precision=kind) for kind in ("fp32", "bf16"))
    assert (halved != base).any()
    assert abs(halved.astype(int) - base).max() <= 2
    file = unpack(tiny_file, DEFAULT_LIMITS)
    together = list(decode_images(file, (0.0, 1.0), "cpu"))
    assert (together[1] == base).all()
    assert (decode_image(tiny_file, 1.0, "cpu") == base).all()
    assert (together[0] != decode_image(tiny_file, 0.0, "cpu", precision="fp32")).any()
    assert (list(decode_images(file, (0.0, 1.0), "cpu", precision="bf16"))[1] == halved).all()
