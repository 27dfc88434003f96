"""A codec with more latent channels: the same pictures at first, and all of it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import RGB
from tests.tiny import CHANNELS, make_network

try:
    from dlcodec.training.rate_distortion import TrainableCodec, rate_distortion_loss
    from dlcodec.training.widening import widen_latent
except (ImportError, RuntimeError) as error:
    # CompressAI needs torchvision, which does not import beside a CPU-only build of torch.
    pytest.skip(f"CompressAI does not import here: {error}", allow_module_level=True)

from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.errors import UsageError, WeightsError
from dlcodec.training.base_stage import initialise, read_widths

MORE = 5


def codec(family: str = "mean-scale") -> TrainableCodec:
    made = TrainableCodec(family, HyperpriorParams(*CHANNELS[family], 3))
    made.network.load_state_dict(make_network(family=family).state_dict())
    return made.eval()


@pytest.fixture
def crops(photo: RGB) -> torch.Tensor:
    parts = np.stack([photo[top : top + 64, left : left + 64] for top in (0, 100, 200) for left in (0, 100, 200)])
    return torch.from_numpy(parts).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def test_pictures_and_the_old_channels_stay_as_they_were(crops: torch.Tensor) -> None:
    narrow = codec()
    wide, M = widen_latent(narrow, CHANNELS["mean-scale"][1] + MORE, crops).eval(), CHANNELS["mean-scale"][1]
    level = torch.full((len(crops),), 1)
    before, after = narrow(crops, level, None), wide(crops, level, None)
    torch.testing.assert_close(after.mse, before.mse)
    torch.testing.assert_close(after.bpp_z, before.bpp_z)
    assert (after.bpp > before.bpp).all()  # the new channels are coded, and not used yet
    features = torch.rand(1, CHANNELS["mean-scale"][0], 2, 2)
    for old, new in zip(narrow.network.h_s(features).chunk(2, 1), wide.network.h_s(features).chunk(2, 1), strict=True):
        torch.testing.assert_close(new[:, :M], old)


@torch.no_grad()
def test_new_channels_tell_what_the_old_ones_do_not(crops: torch.Tensor) -> None:
    M = CHANNELS["mean-scale"][1]
    y = widen_latent(codec(), M + MORE, crops).network.g_a(crops).permute(1, 0, 2, 3).flatten(1)
    related = torch.corrcoef(y)[M:]
    assert related[:, :M].abs().max() < 0.05
    assert (related[:, M:] - torch.eye(MORE)).abs().max() < 0.05
    assert y[M:].mean(1).abs().max() < 0.01 * y[M:].std()


def test_all_that_was_widened_learns(crops: torch.Tensor) -> None:
    wide = widen_latent(codec(), CHANNELS["mean-scale"][1] + MORE, crops).train()
    optimizer = torch.optim.Adam(wide.network.parameters(), 1e-3)
    level = torch.full((len(crops),), 1)
    for _ in range(4):
        optimizer.zero_grad()
        rate_distortion_loss(wide(crops, level, None), torch.full((len(crops),), 0.0067)).backward()
        optimizer.step()
    before = {name: one.shape for name, one in codec().network.named_parameters()}
    for name, parameter in wide.network.named_parameters():
        for axis, (old, new) in enumerate(zip(before[name], parameter.shape, strict=True)):
            if new > old:
                assert parameter.grad is not None
                learns = parameter.grad.transpose(0, axis).flatten(1).any(1) if parameter.ndim > 1 else parameter.grad
                assert learns.bool().all(), name


def test_what_cannot_be_widened_is_refused(crops: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cheng2020"):
        widen_latent(codec("cheng2020"), 12, crops)
    for M in (CHANNELS["mean-scale"][1], 1000):
        with pytest.raises(UsageError, match=f"cannot become {M}"):
            widen_latent(codec(), M, crops)


def test_training_takes_the_widths_of_its_start(crops: torch.Tensor, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    N, M = CHANNELS["mean-scale"]
    start = tmp_path / "wide.safetensors"
    wide = widen_latent(codec(), M + MORE, crops)
    save_file({f"ema.{name}": tensor for name, tensor in wide.state_dict().items()}, start)
    assert read_widths(start) == (N, M + MORE)
    again = TrainableCodec("mean-scale", HyperpriorParams(*read_widths(start), 3))
    initialise(again, start)
    torch.testing.assert_close(again.network.gain, wide.network.gain.abs())
    save_file({"weight": torch.zeros(1)}, start)
    with pytest.raises(WeightsError, match="no gains"):
        read_widths(start)
