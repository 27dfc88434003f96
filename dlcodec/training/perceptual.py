"""What a decoded picture is judged by while fusion is trained; it follows the base codec's orientation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SHIFT = 4
_WINDOW = 8
_STRIDE, _PERIODS = 16, 4
_BLOCK = _STRIDE * _PERIODS
_VISIBLE = 1 / 255


def _fine(picture: Tensor) -> Tensor:
    """What a 3 x 3 mean takes away."""
    return picture - F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)


def grain(picture: Tensor) -> Tensor:
    """ln of the mean square of fine detail around each place; (B, 3, H, W) to (B, H/4 - 1, W/4 - 1).

    A square below one step of 8 bits counts as one: nobody sees it.
    """
    energy = F.avg_pool2d(_fine(picture).square().mean(1), _WINDOW, _WINDOW // 2)
    return (energy + _VISIBLE**2).log()


def weave(picture: Tensor) -> Tensor:
    """ln of the mean square of the fine detail that repeats every 16 pixels, the stride of the latent, over 4 periods.

    (B, 3, H, W) to (B, H/64, W/64), whole blocks alone. Averaging 16 periods leaves a 16th of the square of detail that
    does not repeat, and all of a pattern that does.
    """
    rows, columns = (side // _BLOCK for side in picture.shape[2:])
    fine = _fine(picture)[:, :, : rows * _BLOCK, : columns * _BLOCK]
    cells = fine.reshape(-1, 3, rows, _PERIODS, _STRIDE, columns, _PERIODS, _STRIDE)
    energy = cells.mean((3, 6)).square().mean((1, 3, 5))
    return (energy + (_VISIBLE / _PERIODS) ** 2).log()


class PictureLoss(nn.Module):
    """``LPIPS(x, x_hat) + distortion * ln MSE(x, x_hat) + smoothness * excess``, a mean over the batch.

    ``excess`` is how far grain and weave of ``x_hat`` exceed those of ``x``: detail may be invented where there was
    some, but none on what was smooth, and no regular pattern, which AlexNet hardly minds.
    The logarithm makes a decibel cost the same at every rate. A base codec oriented towards distortion is pulled
    towards perception, so LPIPS leads; for a base oriented towards perception ``metric`` is None. Pictures are
    shifted together by up to 3 pixels before LPIPS sees them, else the decoder could hide a pattern from its stride
    of 4.
    """

    def __init__(self, metric: nn.Module | None, distortion: float, smoothness: float = 0) -> None:
        super().__init__()
        self.metric, self.distortion, self.smoothness = metric, distortion, smoothness

    def forward(self, x: Tensor, x_hat: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` and ``x_hat`` (B, 3, H, W) in [0, 1], ``weight`` (B,); the loss, and the mean LPIPS and ln MSE."""
        log_mse = (x - x_hat).square().mean((1, 2, 3)).log()
        lpips = torch.zeros_like(log_mse)
        if self.metric is not None:
            top, left = (int(torch.randint(_SHIFT, ())) for _ in range(2))
            bottom, right = (side - _SHIFT + start for side, start in zip(x.shape[2:], (top, left), strict=True))
            a, b = (picture[:, :, top:bottom, left:right] * 2 - 1 for picture in (x, x_hat))
            lpips = self.metric(b, a).flatten()
        loss = lpips + self.distortion * log_mse
        if self.smoothness:
            excess = [(f(x_hat) - f(x)).relu().mean((1, 2)) for f in (grain, weave)]
            loss = loss + self.smoothness * sum(excess)
        return (loss if weight is None else weight * loss).mean(), lpips.mean(), log_mse.mean()
