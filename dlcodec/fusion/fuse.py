"""The fusion network with its standardisation and schedule, ready to run on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec.fusion.denoiser import Denoiser, DenoiserParams
from dlcodec.fusion.sampler import sample
from dlcodec.fusion.schedule import schedule_from

Precision = Literal["auto", "fp32", "bf16"]


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that D runs in; ``auto`` is bfloat16 where the device multiplies it natively, else float32."""
    if precision == "auto" and device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        native = any(check() for check in checks if check)
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native) else torch.float32


class Fusion:
    """Transforms decoded latents for one base codec.

    Sampling runs in float32 on standardised latents; only D runs in ``dtype``.
    """

    def __init__(
        self, config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Build from a checkpoint's config and tensors.

        Raises KeyError, TypeError, ValueError or RuntimeError when they do not fit each other.
        """
        rest = dict(tensors)
        self._mean, self._deviation = (rest.pop(n).float().to(device)[:, None, None] for n in ("mean", "deviation"))
        self._schedule = schedule_from(config["schedule"])
        self.default_steps = int(config["steps"])
        downs = [name for name in rest if name.startswith("adapters.down.")]
        self._changes = {
            name.removeprefix("adapters.down.").replace("/", "."): rest.pop(name).float().to(device)
            @ rest.pop(name.replace("down", "up", 1)).float().to(device)
            for name in downs
        }
        with torch.device("meta"):
            denoiser = Denoiser(DenoiserParams(**config["denoiser"]))
        state = {n.removeprefix("denoiser."): t.to(device, dtype) for n, t in rest.items()}
        denoiser.load_state_dict(state, strict=True, assign=True)
        self._denoiser = denoiser.requires_grad_(False).eval()
        convert_conv2d_weight_memory_format(self._denoiser, torch.channels_last)
        self._dtype = dtype

    def changes(self, tau: float) -> dict[str, Tensor]:
        """What is added to the weights of the synthesis transform at this tau, by name; nothing at tau = 1."""
        share = 1 - tau * tau
        return {name: share * change for name, change in self._changes.items()} if share else {}

    @torch.inference_mode()
    def fuse(
        self,
        y_hat: Tensor,
        level: float,
        noise: Tensor,
        taus: Sequence[float],
        steps: int,
        after_step: Callable[[], None] | None = None,
    ) -> Iterator[Tensor]:
        """One latent a tau, between ``y_hat`` (tau = 1, returned as it is) and the most realistic (tau = 0).

        ``y_hat`` (1, M, h, w) float32, ``noise`` of the same shape, ``level`` in [0, 1], ``steps`` at least 1.
        The condition branch runs once for all taus.
        """
        denoiser, dtype = self._denoiser, self._dtype
        standard = ((y_hat - self._mean) / self._deviation).contiguous(memory_format=torch.channels_last)
        condition = standard.to(dtype)
        at = torch.tensor([level], device=y_hat.device)
        features = denoiser.condition(condition, at)

        def denoise(y_t: Tensor, s: float) -> Tensor:
            time = torch.tensor([s], device=y_hat.device)
            return denoiser(y_t.to(dtype), condition, features, time, at).float()

        noise = noise.to(y_hat.device).contiguous(memory_format=torch.channels_last)
        alphas = self._schedule.alphas(steps)
        for tau in taus:
            if tau == 1:
                yield y_hat
            else:
                y = sample(denoise, standard, noise, alphas, tau, after_step)
                yield y * self._deviation + self._mean
