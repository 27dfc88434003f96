"""What a decoded picture is judged by while fusion is trained; it follows the base codec's orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

_SHIFT = 4
_WINDOW = 8
_VISIBLE = 1 / 255


def load_lpips(weights: Path) -> nn.Module:
    """LPIPS-alex v0.1 (Zhang et al. 2018) from a local safetensors file of the ``lpips`` package's state dict.

    Raises FileNotFoundError, and RuntimeError when the file is of another backbone.
    """
    import lpips

    metric: Any = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    metric.load_state_dict(load_file(weights))
    network: nn.Module = metric.eval().requires_grad_(False)
    return network


def grain(picture: Tensor) -> Tensor:
    """ln of the mean square around each place, of what a 3 x 3 mean takes away; (B, 3, H, W) to (B, H/4 - 1, W/4 - 1).

    A square below one step of 8 bits counts as one: nobody sees it.
    """
    fine = picture - F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (F.avg_pool2d(fine.square().mean(1, keepdim=True), _WINDOW, _WINDOW // 2) + _VISIBLE**2).log()[:, 0]


class PictureLoss(nn.Module):
    """``perception * LPIPS(x, x_hat) + distortion * ln MSE(x, x_hat) + smoothness * excess``, a mean over the batch.

    ``excess`` is how far the grain of ``x_hat`` exceeds that of ``x``: detail may be invented where there was some, but
    no pattern on what was smooth, which AlexNet, with its stride of 4, hardly minds.

    The logarithm makes a decibel cost the same at every rate. A base codec oriented towards distortion is pulled
    towards perception, so LPIPS leads; for a base oriented towards perception ``perception`` is 0. Pictures are
    shifted together by up to 3 pixels before LPIPS sees them, else the decoder could hide a pattern from its stride
    of 4.
    """

    def __init__(self, metric: nn.Module | None, perception: float, distortion: float, smoothness: float = 0) -> None:
        super().__init__()
        self.metric = metric
        self.perception, self.distortion, self.smoothness = perception, distortion, smoothness

    def forward(self, x: Tensor, x_hat: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` and ``x_hat`` (B, 3, H, W) in [0, 1], ``weight`` (B,); the loss, and the mean LPIPS and ln MSE."""
        log_mse = (x - x_hat).square().mean((1, 2, 3)).log()
        lpips = torch.zeros_like(log_mse)
        if self.metric is not None and self.perception:
            top, left = (int(torch.randint(_SHIFT, ())) for _ in range(2))
            bottom, right = (side - _SHIFT + start for side, start in zip(x.shape[2:], (top, left), strict=True))
            a, b = (picture[:, :, top:bottom, left:right] * 2 - 1 for picture in (x, x_hat))
            lpips = self.metric(b, a).flatten()
        loss = self.perception * lpips + self.distortion * log_mse
        if self.smoothness:
            loss = loss + self.smoothness * (grain(x_hat) - grain(x)).relu().mean((1, 2))
        return (loss if weight is None else weight * loss).mean(), lpips.mean(), log_mse.mean()
