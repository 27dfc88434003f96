from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from dlcodec.fusion.denoiser import Denoiser, DenoiserParams, WindowAttention
from dlcodec.fusion.fuse import Fusion, choose_dtype, choose_synthesis_dtype
from dlcodec.fusion.noise import latent_noise
from tests.tiny import PARAMS, SCHEDULE, make_denoiser


def latents(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return tuple(torch.randn(batch, 12, height, width, generator=generator) for _ in range(2))  # type: ignore[return-value]


def run(net: Denoiser, y_t: Tensor, y_hat: Tensor, time: float = 0.5, level: float = 0.3) -> Tensor:
    ones = torch.ones(len(y_t))
    return net(y_t, y_hat, net.condition(y_hat, ones * level), ones * time, ones * level)


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (4, 12), (9, 17), (16, 1)])
def test_any_size_keeps_its_shape(size: tuple[int, int]) -> None:
    y_t, y_hat = latents(*size)
    assert run(make_denoiser(), y_t, y_hat).shape == y_hat.shape


def test_a_fresh_network_returns_the_decoded_latent() -> None:
    y_t, y_hat = latents(8, 8)
    assert torch.equal(run(Denoiser(PARAMS).eval(), y_t, y_hat), y_hat)


def test_everything_it_is_told_matters() -> None:
    net = make_denoiser()
    y_t, y_hat = latents(8, 8)
    with torch.no_grad():
        base = run(net, y_t, y_hat)
        for other in (run(net, y_t + 1, y_hat), run(net, y_t, y_hat, time=0.9), run(net, y_t, y_hat, level=0.9)):
            assert not torch.allclose(base, other, atol=1e-4)
        changed = net(
            y_t, y_hat, net.condition(y_hat + 1, torch.ones(1) * 0.3), torch.ones(1) * 0.5, torch.ones(1) * 0.3
        )
        assert not torch.allclose(base, changed, atol=1e-4)


def test_the_pictures_of_a_batch_do_not_see_each_other() -> None:
    net = make_denoiser()
    y_t, y_hat = latents(12, 9, batch=3)
    whole = run(net, y_t, y_hat)
    for number in range(3):
        alone = run(net, y_t[number : number + 1], y_hat[number : number + 1])
        assert torch.allclose(whole[number : number + 1], alone, atol=1e-5)


def test_attention_does_not_see_beyond_its_window_or_the_edge() -> None:
    torch.manual_seed(0)
    attention = WindowAttention(16, 2, 8).eval()
    x = torch.randn(1, 16, 12, 20)
    changed = x.clone()
    changed[:, :, :8, :8] += torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        a, b = attention(x), attention(changed)
        cut = attention(x[:, :, 8:, 16:].contiguous())
    assert torch.equal(a[:, :, 8:], b[:, :, 8:])
    assert torch.equal(a[:, :, :, 8:], b[:, :, :, 8:])
    assert not torch.allclose(a[:, :, :8, :8], b[:, :, :8, :8])
    assert torch.allclose(a[:, :, 8:, 16:], cut, atol=1e-5)  # a window at the corner: padding is masked


def test_what_is_far_away_does_not_matter() -> None:
    """Normalisation and attention are local, so that a change reaches only the windows its halo touches."""
    net = make_denoiser()
    y_t, y_hat = latents(8, 64)
    far = y_hat.clone()
    far[..., :4] += 1
    with torch.no_grad():
        a, b = run(net, y_t, y_hat), run(net, y_t, far)
    assert not torch.allclose(a[..., :8], b[..., :8])
    assert torch.allclose(a[..., 48:], b[..., 48:], atol=1e-6)


def test_the_shipped_size_has_at_most_8_million_parameters() -> None:
    with torch.device("meta"):
        net = Denoiser(DenoiserParams(M=192, C=160, units=3, heads=5, window=8))
    assert sum(p.numel() for p in net.parameters()) <= 8_000_000


def make_fusion(dtype: torch.dtype = torch.float32) -> Fusion:
    tensors = {f"denoiser.{name}": tensor for name, tensor in make_denoiser().state_dict().items()}
    tensors |= {"mean": torch.linspace(-0.1, 0.1, 12), "deviation": torch.linspace(0.05, 0.2, 12)}
    config = {"base": "", "denoiser": asdict(PARAMS), "schedule": SCHEDULE, "steps": 10}
    return Fusion(config, tensors, torch.device("cpu"), dtype)


def test_several_taus_are_what_each_is_alone() -> None:
    fusion = make_fusion()
    y_hat = 0.1 * latents(8, 12)[0]
    noise = torch.from_numpy(latent_noise((1, 12, 8, 12), 1, 0))
    together = list(fusion.fuse(y_hat, 0.5, noise, (0.0, 0.4, 1.0), 3))
    for tau, fused in zip((0.0, 0.4, 1.0), together, strict=True):
        assert torch.equal(next(fusion.fuse(y_hat, 0.5, noise, (tau,), 3)), fused)
    assert torch.equal(together[2], y_hat)
    assert not torch.equal(together[0], together[1])


def test_bf16_stays_near_fp32() -> None:
    y_hat = 0.1 * latents(8, 12)[0]
    noise = torch.from_numpy(latent_noise((1, 12, 8, 12), 1, 0))
    exact, rough = (next(make_fusion(t).fuse(y_hat, 0.5, noise, (0.0,), 10)) for t in (torch.float32, torch.bfloat16))
    change = (exact - y_hat).norm()
    assert 0 < (rough - exact).norm() < 0.05 * change


def test_precision_is_what_was_asked_for() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("fp32", cpu) == torch.float32
    assert choose_dtype("bf16", cpu) == torch.bfloat16
    assert choose_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    assert choose_synthesis_dtype("auto", cpu, 0.5) == choose_dtype("auto", cpu)
    assert choose_synthesis_dtype("auto", cpu, 1) == torch.float32
    assert choose_synthesis_dtype("bf16", cpu, 1) == torch.bfloat16


@pytest.mark.parametrize("change", [{"heads": 0}, {"heads": 3}, {"C": 2048}, {"window": True}])
def test_sizes_that_make_no_sense_are_refused_whoever_states_them(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"of the denoiser is|do not divide"):
        replace(PARAMS, **change)
