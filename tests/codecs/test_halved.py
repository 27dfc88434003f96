from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

import dlcodec
import dlcodec.pillow  # registers itself
from dlcodec import checkpoint, installed
from dlcodec.arguments import Effort, Precision
from dlcodec.codecs.halved import HalvedTransform, subpixel
from dlcodec.codecs.hyperprior import HyperpriorCodec
from dlcodec.codecs.layers import deconv
from dlcodec.container import unpack
from dlcodec.errors import UsageError
from dlcodec.image import psnr
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.loading import load_codec
from dlcodec.pipeline import decode_image, decode_images, encode_image
from tests.conftest import RGB
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
        halved = HalvedTransform(copy.deepcopy(layers))(y)
    assert halved.dtype == torch.float32
    assert 0 < (halved - whole).abs().max() < 0.03 * whole.abs().max()
    assert halved.unique().numel() > whole.numel() // 2  # the last layer was not rounded to 8 bits


def test_a_synthesis_that_ends_otherwise_keeps_its_last_layer() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 12, 1), torch.nn.PixelShuffle(2))
    y = torch.randn(1, 2, 3, 3)
    with torch.inference_mode():
        expected = torch.nn.functional.pixel_shuffle(copy.deepcopy(layers[0]).bfloat16()(y.bfloat16()).float(), 2)
        assert torch.equal(HalvedTransform(layers)(y), expected)


def test_the_codec_in_memory_keeps_its_numbers(tiny: Path) -> None:
    codec = load_codec(checkpoint.read_metadata(tiny), torch.device("cpu"))
    y = torch.randn(1, 12, 4, 4)
    before = codec.synthesis()(y)
    assert not torch.equal(codec.synthesis(halved=True)(y), before)
    assert torch.equal(codec.synthesis()(y), before)


def pretend_bfloat16(monkeypatch: pytest.MonkeyPatch, *, native: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native, raising=False)


def test_only_who_asks_for_bfloat16_by_name_gets_it_at_tau_1(tiny_file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_bfloat16(monkeypatch, native=True)
    base, halved = (decode_image(tiny_file, 1.0, "cpu", precision=kind) for kind in ("fp32", "bf16"))
    assert (halved != base).any()
    assert abs(halved.astype(int) - base).max() <= 2
    file = unpack(tiny_file, DEFAULT_LIMITS)
    together = list(decode_images(file, (0.0, 1.0), "cpu"))
    assert (together[1] == base).all()
    assert (decode_image(tiny_file, 1.0, "cpu") == base).all()
    assert (together[0] != decode_image(tiny_file, 0.0, "cpu", precision="fp32")).any()
    assert (list(decode_images(file, (0.0, 1.0), "cpu", precision="bf16"))[1] == halved).all()


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("effort", get_args(Effort))
def test_an_encoder_left_to_choose_takes_bfloat16_where_the_processor_has_it(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, native: bool, effort: Effort
) -> None:
    pretend_bfloat16(monkeypatch, native=native)
    crop = photo[130:230, 200:300]

    def encoded(precision: Precision) -> bytes:
        return encode_image(crop, 2.0, "cpu", precision=precision, effort=effort)

    whole, halved = encoded("fp32"), encoded("bf16")
    assert whole != halved
    assert encoded("auto") == (halved if native else whole)
    assert encoded("bf16") == halved
    assert dlcodec.encode(crop, level=2, precision="bf16", effort=effort, device="cpu") == halved


@pytest.mark.parametrize("effort", get_args(Effort))
def test_float32_asked_for_by_name_runs_nothing_in_bfloat16(
    tiny: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch, effort: Effort
) -> None:
    pretend_bfloat16(monkeypatch, native=True)
    monkeypatch.setattr(HalvedTransform, "__init__", lambda *_: pytest.fail("bfloat16"))
    encode_image(photo[:64, :64], 1.0, "cpu", precision="fp32", effort=effort)


@pytest.mark.parametrize("level", [0, 3.5, 7])
def test_a_photograph_encoded_in_bfloat16_is_as_good(photo: RGB, monkeypatch: pytest.MonkeyPatch, level: float) -> None:
    monkeypatch.setenv("DLCODEC_WEIGHTS", "")
    crop = photo[100:292, 150:406]
    files = [encode_image(crop, level, "cpu", precision=each) for each in ("fp32", "bf16")]
    whole, halved = (psnr(crop, decode_image(file, 1.0, "cpu")) for file in files)
    assert abs(whole - halved) < 0.05
    assert abs(len(files[1]) / len(files[0]) - 1) < 0.02


def test_analysis_in_bfloat16_leaves_the_codec_in_memory_alone(family: str, photo: RGB) -> None:
    codec = load_codec(installed.find(family), torch.device("cpu"))
    assert isinstance(codec, HyperpriorCodec)
    x = torch.from_numpy(photo[:128, :128].copy()).permute(2, 0, 1)[None]
    before, halved = codec.transform(x), codec.transform(x, halved=True)
    assert halved.dtype == torch.float32
    assert 0 < (halved - before).abs().max() < 0.05 * before.abs().max()
    assert torch.equal(codec.transform(x), before)


def test_pillow_passes_the_precision_of_encode_on(tiny: Path, photo: RGB) -> None:
    crop, stream = np.ascontiguousarray(photo[:64, :64]), io.BytesIO()
    Image.fromarray(crop).save(stream, "DLC", precision="bf16")
    assert stream.getvalue() == dlcodec.encode(crop, precision="bf16")
    with pytest.raises(ValueError, match="precision"):
        Image.fromarray(crop).save(io.BytesIO(), "DLC", precision="fp8")


def test_an_unknown_precision_of_encode_is_refused(tiny: Path, photo: RGB) -> None:
    with pytest.raises(UsageError, match="precision"):
        encode_image(photo[:64, :64], precision="fp8")  # type: ignore[arg-type]
