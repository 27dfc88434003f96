"""A base codec held still while fusion is trained beside it: batched, differentiable, in floating point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from compressai.ops import quantize_ste
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec import checkpoint
from dlcodec.codecs.mean_scale_network import MeanScaleParams
from dlcodec.training.base_stage import initialise
from dlcodec.training.rate_distortion import TrainableMeanScale

Changes = Mapping[str, tuple[Tensor, Tensor]]


def _rows(gains: Tensor, level: Tensor) -> Tensor:
    """The gain vectors of real-valued levels (B,), interpolated geometrically; (B, C, 1, 1)."""
    last = gains.shape[0] - 1
    low = level.floor().long().clamp(0, max(0, last - 1))
    logs = gains.abs().log()
    return torch.lerp(logs[low], logs[(low + 1).clamp_max(last)], (level - low)[:, None]).exp()[:, :, None, None]


class FrozenBase:
    """The shipped mean-scale codec with its transforms under autocast and its hyper-synthesis in float32."""

    def __init__(self, path: Path, device: torch.device, *, bf16: bool, compile_: bool) -> None:
        found = checkpoint.read_metadata(path)
        self.digest, self.family, self.levels = found.digest, found.family, found.levels
        self.orientation: str = found.config["orientation"]
        self.channels: int = found.config["M"]
        model = TrainableMeanScale(MeanScaleParams(found.config["N"], self.channels, self.levels))
        initialise(model, path)
        model = model.to(device).eval().requires_grad_(False)
        convert_conv2d_weight_memory_format(model, torch.channels_last)
        self._network, self.g_a = model.network, model.network.g_a
        self._medians = model.entropy_bottleneck._get_medians()[None].detach()
        self._autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
        self.synthesis_shapes = {n: p.shape for n, p in self._network.g_s.named_parameters() if p.ndim == 4}
        self._synthesis = torch.compile(self._adapted) if compile_ else self._adapted

    def decode(self, y: Tensor, level: Tensor) -> Tensor:
        """What the decoder receives of the latent ``y`` (B, M, h, w) when coded at ``level`` (B,), real-valued."""
        net = self._network
        with torch.no_grad():
            scaled = y.float() * _rows(net.gain, level)
            with self._autocast:
                z = net.h_a(scaled)
            z_hat = quantize_ste(z.float() * _rows(net.hgain, level) - self._medians) + self._medians
            _, mu = net.h_s(z_hat * _rows(net.hinv, level)).chunk(2, 1)
            return (quantize_ste(scaled - mu) + mu) * _rows(net.inv_gain, level)

    def analyse(self, x: Tensor) -> Tensor:
        """``g_a(x)``, (B, M, H/16, W/16) float32."""
        with torch.no_grad(), self._autocast:
            return self.g_a(x).float()

    def _adapted(self, y: Tensor, changes: Changes) -> Tensor:
        for name, layer in self._network.g_s.named_children():
            out = layer(y)
            if factors := changes.get(f"{name}.weight"):
                # Each crop has a level of its own, so the change is applied as two thin layers beside the frozen one.
                down, up = factors
                assert isinstance(layer, nn.ConvTranspose2d)
                thin = torch.einsum("bchw,bcr->brhw", y, down)
                kernel = up.view(-1, *layer.weight.shape[1:])
                pads = layer.padding, layer.output_padding
                out = out + functional.conv_transpose2d(thin, kernel, None, layer.stride, *pads)  # type: ignore[arg-type]
            y = out
        return y

    def synthesise(self, y: Tensor, changes: Changes | None = None) -> Tensor:
        """``g_s(y)``, (B, 3, H, W) float32, its weights changed as ``SynthesisAdapters.forward`` says.

        Gradients pass through to ``y`` and to the factors of the changes.
        """
        with self._autocast:
            return self._synthesis(y, changes or {}).float()
