from __future__ import annotations

import numpy as np
import pytest
import torch

from dlcodec.codecs.cheng2020_network import Cheng2020Network
from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.training.export import quantise_layer
from tests.tiny import make_network

PARTS = ("g_a", "g_s", "h_a", "h_s", "context_prediction", "entropy_parameters")


def test_the_network_equals_compressai_on_the_same_state_dict() -> None:
    try:
        from compressai.models import Cheng2020Attention
    except (ImportError, RuntimeError) as error:
        # CompressAI needs torchvision, which does not import beside a CPU-only build of torch.
        pytest.skip(f"CompressAI does not import here: {error}")
    torch.manual_seed(0)
    theirs = Cheng2020Attention(N=12).double().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.rand_like(parameter))
    ours = Cheng2020Network(HyperpriorParams(N=12, M=12, levels=1)).double().eval()
    gains = {name: tensor for name, tensor in ours.state_dict().items() if name.endswith(("gain", "hinv"))}
    shared = {n: t for n, t in theirs.state_dict().items() if n.startswith(PARTS) and "reparam" not in n}
    del shared["context_prediction.mask"]
    ours.load_state_dict({**gains, **shared}, strict=True)
    x, y, z = (torch.randn(2, *shape).double() for shape in ((3, 64, 128), (12, 4, 8), (12, 1, 2)))
    with torch.inference_mode():
        for name, value in (("g_a", x), ("g_s", y), ("h_a", y), ("h_s", z), ("context_prediction", y)):
            expected = getattr(theirs, name)(value)
            torch.testing.assert_close(getattr(ours, name)(value), expected, rtol=1e-9, atol=1e-9)
        features = ours.h_s(z)
        both = theirs.entropy_parameters(torch.cat([features, theirs.context_prediction(y)], 1))
        torch.testing.assert_close(torch.cat(ours.predict(features, y), 1), both, rtol=1e-9, atol=1e-9)


def test_what_is_received_is_predicted_from_itself() -> None:
    """Wave by wave gives the one latent that is ``y`` rounded around the means predicted from that latent."""
    network = make_network(family="cheng2020")
    torch.manual_seed(1)
    features, y = torch.randn(2, 16, 8, 4), 3 * torch.randn(2, 8, 8, 4)
    with torch.inference_mode():
        received = network.receive(features, y)
        _, mu = network.predict(features, received)
    symbols = received - mu
    torch.testing.assert_close(symbols, symbols.round(), rtol=0, atol=1e-3)
    assert (received - y).abs().max() <= 0.501
    assert symbols.unique().numel() > 4


def test_more_channels_in_y_than_in_z_are_refused() -> None:
    with pytest.raises(ValueError, match="as many channels"):
        Cheng2020Network(HyperpriorParams(N=8, M=12, levels=1))


def test_a_masked_convolution_is_exported_without_what_its_mask_hides() -> None:
    network = make_network(family="cheng2020")
    layer = network.get_submodule("context_prediction")
    with torch.no_grad():
        layer.weight.fill_(1)
    _, arrays = quantise_layer(layer)
    assert np.count_nonzero(arrays["weight"]) == 12 * 16 * 8
    assert not arrays["weight"][:, :, 2, 2:].any()


def test_a_layer_of_small_weights_keeps_its_bias_within_32_bits() -> None:
    layer = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        layer.weight.fill_(1e-6)
        layer.bias.copy_(torch.tensor([900.0, -900.0]))  # type: ignore[union-attr]
    shift, arrays = quantise_layer(layer)
    assert np.allclose(arrays["bias"] / 2.0 ** (shift + 10), [900, -900], rtol=1e-6)
