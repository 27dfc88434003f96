from __future__ import annotations

import pytest
import torch

from dlcodec.codecs.mean_scale_network import MeanScaleNetwork, MeanScaleParams, level_gain
from tests.tiny import make_network


def test_the_network_equals_compressai_on_the_same_state_dict() -> None:
    try:
        from compressai.models import MeanScaleHyperprior
    except (ImportError, RuntimeError) as error:
        # CompressAI needs torchvision, which does not import beside a CPU-only build of torch.
        pytest.skip(f"CompressAI does not import here: {error}")
    torch.manual_seed(0)
    theirs = MeanScaleHyperprior(N=16, M=24).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.startswith(("g_", "h_")):
                parameter.add_(0.02 * torch.rand_like(parameter))
    ours = MeanScaleNetwork(MeanScaleParams(N=16, M=24, levels=1)).eval()
    gains = {
        name: tensor for name, tensor in ours.state_dict().items() if name.startswith(("gain", "inv", "hgain", "hinv"))
    }
    shared = {n: t for n, t in theirs.state_dict().items() if n.startswith(("g_", "h_")) and "reparam" not in n}
    ours.load_state_dict({**gains, **shared}, strict=True)
    x, y, z = torch.rand(2, 3, 64, 128), torch.randn(2, 24, 4, 8), torch.randn(2, 16, 1, 2)
    with torch.inference_mode():
        for name, value in (("g_a", x), ("g_s", y), ("h_a", y), ("h_s", z)):
            torch.testing.assert_close(getattr(ours, name)(value), getattr(theirs, name)(value), rtol=1e-5, atol=1e-6)


def test_fractional_levels_interpolate_geometrically() -> None:
    gains = torch.tensor([[1.0, -4.0], [4.0, 16.0]])
    assert level_gain(gains, 0).flatten().tolist() == [1, 4]
    assert level_gain(gains, 0.5).flatten().tolist() == pytest.approx([2, 8])
    assert level_gain(gains, 1).flatten().tolist() == [4, 16]


def test_the_integer_hyper_synthesis_follows_the_floating_point_one() -> None:
    import numpy as np

    from dlcodec.codecs.mean_scale_exact import HYPER_LAYERS
    from dlcodec.entropy.exact import ExactLayer, HyperSynthesis
    from dlcodec.training.export import quantise_network

    network = make_network()
    medians = torch.linspace(-0.4, 0.4, 8)
    config, arrays = quantise_network(network, medians, 32)
    exact = {n: torch.from_numpy(a.astype(np.float64)) for n, a in arrays.items() if n.startswith("exact.")}
    layers = tuple(
        ExactLayer(exact[f"exact.h_s.{n}.weight"], exact[f"exact.h_s.{n}.bias"], shift, up, act)
        for (n, up, act), shift in zip(HYPER_LAYERS, config["h_s_shifts"], strict=True)
    )
    integer = HyperSynthesis(layers, exact["exact.medians"], exact["exact.hinv"], exact["exact.thresholds"])
    symbols = np.random.default_rng(0).integers(-5, 6, (8, 3, 4)).astype(np.int32)
    mu, _ = integer(symbols, 256)
    with torch.inference_mode():
        z_hat = (torch.from_numpy(symbols).float() + medians[:, None, None]) * network.hinv[1][:, None, None]
        expected = network.h_s(z_hat[None])[0].chunk(2)[1]
    assert np.abs(mu / 1024 - expected.numpy()).max() < 0.02 * expected.abs().max().item() + 0.01


def test_a_dead_hyper_channel_keeps_a_gain_that_can_be_divided_by() -> None:
    from dlcodec.training.export import quantise_network

    network = make_network()
    with torch.no_grad():
        network.hinv[:, 3] = 0
    _, arrays = quantise_network(network, torch.zeros(8), 32)
    assert arrays["exact.hinv"].min() == 1
