"""CompressAI's MeanScaleHyperprior as our codec: the same picture at the same rate, and refusals of what it is not."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import RGB

try:
    from compressai.models import JointAutoregressiveHierarchicalPriors, MeanScaleHyperprior
except (ImportError, RuntimeError) as error:
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec import checkpoint
from dlcodec.codecs.mean_scale import MeanScaleCodec
from dlcodec.container import unpack
from dlcodec.errors import WeightsError
from dlcodec.image import psnr
from dlcodec.importing.command import import_source
from dlcodec.importing.mean_scale import convert_mean_scale
from dlcodec.importing.source import Source, parse_source
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.pipeline import decode_image, encode_image

State = dict[str, Tensor]


def make_original(N: int = 8, M: int = 12) -> MeanScaleHyperprior:
    """A network of random weights whose latents spread over several symbols and scales."""
    torch.manual_seed(0)
    network = MeanScaleHyperprior(N, M).eval()
    with torch.no_grad():
        network.g_a[6].weight.mul_(40)
        network.g_s[0].weight.div_(4)
        network.h_a[4].weight.mul_(10)
        network.h_s[4].weight.mul_(20)
        network.h_s[4].bias[:M].add_(2)
        for bias in network.entropy_bottleneck.biases:
            bias.uniform_(-0.3, 0.3)
    network.update(force=True, update_quantiles=True)
    return network


def source(state: State) -> Source:
    stream = io.BytesIO()
    torch.save({"state_dict": state}, stream)
    return parse_source("tiny.pth.tar", stream.getvalue())


@pytest.fixture(scope="module")
def original() -> MeanScaleHyperprior:
    return make_original()


@pytest.fixture(scope="module")
def base(original: MeanScaleHyperprior, tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    path = tmp_path_factory.mktemp("imported") / "mean-scale" / "base.safetensors"
    imported = import_source(source(original.state_dict()), "mean-scale", None, path, force=True)
    found = checkpoint.read_metadata(imported.path)
    assert found.digest == imported.digest
    return found


@pytest.fixture(scope="module")
def crop(photo: RGB) -> RGB:
    return np.ascontiguousarray(photo[100:292, 100:356])


def test_the_picture_and_the_rate_are_those_of_compressai(
    original: MeanScaleHyperprior, base: checkpoint.Checkpoint, crop: RGB
) -> None:
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        strings = original.compress(x)
        theirs = original.decompress(**strings)["x_hat"][0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
    data = encode_image(crop, precision="fp32", base=base)
    ours = decode_image(data, 1.0, base=base)
    assert len(np.unique(theirs)) > 20  # a picture, not a grey field
    assert psnr(theirs, ours) > 45
    assert psnr(crop, ours) == pytest.approx(psnr(crop, theirs), abs=0.01)
    size = sum(len(string) for (string,) in strings["strings"])
    assert len(unpack(data, DEFAULT_LIMITS).payload) <= 1.003 * size + 4


def test_the_transforms_are_copied_and_every_latent_is_where_compressai_puts_it(
    original: MeanScaleHyperprior, base: checkpoint.Checkpoint, crop: RGB
) -> None:
    arrays = checkpoint.load_arrays(base)
    codec = MeanScaleCodec(base.config, arrays, torch.device("cpu"))
    for name, tensor in original.state_dict().items():
        if name.startswith(("g_a.", "g_s.", "h_a.")) and "reparam" not in name:
            assert np.array_equal(arrays[name], tensor.numpy())
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    latents = codec.latents(codec.transform(x), 0)
    _, mu = np.split(codec.hyper_synthesis(latents.z_symbols, 0), 2)
    with torch.inference_mode():
        y = original.g_a(x)
        z_hat, _ = original.entropy_bottleneck(original.h_a(y))
        means = original.h_s(z_hat).chunk(2, 1)[1]
    assert np.abs(latents.y - y[0].numpy()).max() < 1e-4 * y.abs().max()
    assert len(np.unique(latents.z_symbols)) > 4
    assert np.abs(mu / 1024 - means[0].numpy()).mean() < 0.01 * means.abs().mean()


def test_the_record_names_the_source_and_what_was_compared(
    original: MeanScaleHyperprior, base: checkpoint.Checkpoint
) -> None:
    from dlcodec.models import describe

    model = describe(base.path)
    assert model.record is not None
    assert (model.record["source"], model.record["name"]) == ("tiny.pth.tar", "tiny")
    assert len(model.record["source_sha256"]) == 64
    assert model.record["check"]["ours"]["psnr"] == pytest.approx(model.record["check"]["theirs"]["psnr"], abs=0.05)
    assert (model.levels, model.default_level, model.lambdas) == (1, 0, (None,))
    assert (base.config["N"], base.config["M"]) == (8, 12)


def test_the_names_of_older_versions_are_understood(
    original: MeanScaleHyperprior, base: checkpoint.Checkpoint, tmp_path: Path
) -> None:
    old = OrderedDict()
    for name, tensor in original.state_dict().items():
        for new, former in (("matrices.", "_matrices."), ("biases.", "_biases."), ("factors.", "_factors.")):
            name = name.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{former}")
        old[f"module.{name}"] = tensor
    assert not any(".matrices." in name for name in old)
    again = import_source(source(old), "mean-scale", None, tmp_path / "base.safetensors", force=True)
    assert again.digest == base.digest


def test_half_precision_weights_import(original: MeanScaleHyperprior) -> None:
    state = {n: t.half() if t.is_floating_point() else t for n, t in original.state_dict().items()}
    assert convert_mean_scale(state).arrays["g_a.0.weight"].dtype == np.float32


def _without(name: str) -> Callable[[State], object]:
    return lambda state: state.pop(name)


def _set(name: str, value: float) -> Callable[[State], object]:
    def change(state: State) -> None:
        state[name] = state[name].clone()
        state[name].view(-1)[0] = value

    return change


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (_without("g_a.0.weight"), "it lacks g_a.0.weight"),
        (_without("h_s.4.bias"), "it lacks h_s.4.bias"),
        (_without("entropy_bottleneck.quantiles"), "it lacks entropy_bottleneck.quantiles"),
        (lambda state: state.update(gain=torch.ones(8, 12)), "it has 'gain', which MeanScaleHyperprior lacks"),
        (_set("g_s.2.weight", float("nan")), "g_s.2.weight is not made of finite"),
        (_set("h_s.0.bias", float("inf")), "h_s.0.bias is not made of finite"),
        (_set("entropy_bottleneck.quantiles", 1e9), "the quantiles of its entropy bottleneck"),
        (_set("h_a.0.weight", 1e37), "a photograph|cannot code"),
        (lambda state: state.update({"h_a.0.weight": torch.ones(8, 13, 3, 3)}), r"3\), not \(8, 12, 3, 3\)"),
        (lambda state: state.update({"g_a.6.weight": torch.ones(5, 5)}), r"\(5, 5\), not 1 to 1024 kernels"),
        (lambda state: state.update({"g_a.6.weight": torch.ones(2000, 8, 1, 1)}), "not 1 to 1024 kernels"),
        (lambda state: state.update({"g_a.6.weight": torch.ones(1024, 8, 5, 5)}), "has the shape"),
        (lambda state: state.update({"g_a.0.bias": torch.ones(8, dtype=torch.int64)}), "is not made of finite"),
    ],
)  # fmt: skip
def test_what_is_no_mean_scale_network_is_refused_in_one_sentence(
    original: MeanScaleHyperprior, tmp_path: Path, change: Callable[[State], object], fragment: str
) -> None:
    state = dict(original.state_dict())
    change(state)
    with pytest.raises(WeightsError, match=fragment) as caught:
        import_source(source(state), "mean-scale", None, tmp_path / "base.safetensors", force=True)
    assert str(caught.value).startswith("tiny.pth.tar does not import as mean-scale: ")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_another_family_is_refused(tmp_path: Path) -> None:
    state = JointAutoregressiveHierarchicalPriors(8, 12).state_dict()
    with pytest.raises(WeightsError, match="which MeanScaleHyperprior lacks"):
        import_source(source(state), "mean-scale", None, tmp_path / "base.safetensors", force=True)


def test_weights_of_zero_in_the_hyper_synthesis_import(tmp_path: Path) -> None:
    """No division by their largest."""
    network = make_original()
    with torch.no_grad():
        network.h_s[2].weight.zero_()
        network.h_s[2].bias.zero_()
    imported = import_source(
        source(network.state_dict()), "mean-scale", None, tmp_path / "base.safetensors", force=True
    )
    assert imported.comparison.ours.psnr == pytest.approx(imported.comparison.theirs.psnr, abs=0.05)
