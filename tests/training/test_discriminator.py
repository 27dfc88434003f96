"""The discriminator learns to tell pictures apart, and its loss pulls a picture towards the original."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dlcodec.training.discriminator import PatchDiscriminator, relativistic_loss
from tests.conftest import RGB


def blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)


def test_a_trained_discriminator_prefers_the_original_and_says_so_in_the_gradient(photo: RGB) -> None:
    torch.manual_seed(0)
    x = torch.from_numpy(photo[:256, :384].copy()).permute(2, 0, 1).float() / 255
    crops = x.unfold(1, 64, 64).unfold(2, 64, 64).permute(1, 2, 0, 3, 4).reshape(-1, 3, 64, 64)
    seen, unseen = crops[::2], crops[1::2]
    y_hat = torch.zeros(len(seen), 8, 4, 4)
    discriminator = PatchDiscriminator(8)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    assert discriminator(seen, y_hat).shape == (len(seen), 1, 4, 4)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(relativistic_loss(discriminator, seen, blurred(seen), y_hat).mean())
        optimizer.step()
    picture = blurred(unseen).requires_grad_()
    assert relativistic_loss(discriminator, unseen, picture, y_hat).mean() < 0.6  # ln 2 is chance
    (gradient,) = torch.autograd.grad(relativistic_loss(discriminator, picture, unseen, y_hat).mean(), picture)
    better = picture - 0.02 * gradient / gradient.abs().max()
    assert (relativistic_loss(discriminator, better, unseen, y_hat)).mean() < relativistic_loss(
        discriminator, picture, unseen, y_hat
    ).mean()
