"""A base codec held still while fusion is trained beside it: batched, differentiable, in floating point."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from compressai.ops import quantize_ste
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.hooks import RemovableHandle

from dlcodec import checkpoint
from dlcodec.codecs.correction import ERROR_WEIGHT, OVERSHOOT
from dlcodec.codecs.hyperprior_network import HyperpriorParams
from dlcodec.codecs.refinement import lambdas_known
from dlcodec.errors import UsageError
from dlcodec.fusion.blocks import MOST_HIDDEN, BlockPlace, ResidualBlock
from dlcodec.training.base_stage import initialise
from dlcodec.training.rate_distortion import TrainableCodec

Changes = Mapping[str, tuple[Tensor, Tensor]]


def _rows(gains: Tensor, level: Tensor) -> Tensor:
    """The gain vectors of real-valued levels (B,), interpolated geometrically; (B, C, 1, 1)."""
    last = gains.shape[0] - 1
    low = level.floor().long().clamp(0, max(0, last - 1))
    logs = gains.abs().log()
    return torch.lerp(logs[low], logs[(low + 1).clamp_max(last)], (level - low)[:, None]).exp()[:, :, None, None]


class FrozenBase:
    """An exported codec with its transforms under autocast and its prediction of the latent in float32."""

    def __init__(self, path: Path, device: torch.device, *, bf16: bool, compile_: bool) -> None:
        found = checkpoint.read_metadata(path)
        self.digest, self.family, self.levels = found.digest, found.family, found.levels
        self.orientation: str = found.config["orientation"]
        self.channels: int = found.config["M"]
        self.device = device
        model = TrainableCodec(self.family, HyperpriorParams(found.config["N"], self.channels, self.levels))
        initialise(model, path)
        model = model.to(device).eval().requires_grad_(False)
        self.memory_format = model.network.training_format
        convert_conv2d_weight_memory_format(model, self.memory_format)
        self._network, self.g_a = model.network, model.network.g_a
        self._gaussian = model.gaussian_conditional
        self._corrects = not self._network.autoregressive and lambdas_known(found.config["lambdas"])
        self._medians = model.entropy_bottleneck._get_medians()[None].detach()
        self._autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
        self.synthesis_shapes = {n: p.shape for n, p in self._network.g_s.named_parameters() if p.ndim == 4}
        self._unchanged = copy.deepcopy(self._network.g_s)  # beside the changed one, which compiles for other arguments
        if compile_:
            self._unchanged.compile()
        self._changes: Changes = {}
        self._amounts: Sequence[Tensor] = ()
        self._attached: list[RemovableHandle] = []
        for name, layer in self._network.g_s.named_modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(partial(self._change, f"{name}.weight"))
        self._synthesis = torch.compile(self._adapted) if compile_ else self._adapted

    @torch.no_grad()
    def decode(self, y: Tensor, level: Tensor) -> Tensor:
        """What the decoder receives of the latent ``y`` (B, M, h, w) when coded at ``level`` (B,), real-valued.

        Corrected (codecs/correction.py) where encoders do that.
        """
        net, inverse = self._network, _rows(self._network.inv_gain, level)
        gain = _rows(net.gain, level)
        scaled = y.float() * gain
        with self._autocast:
            z = net.h_a(scaled)
        z_hat = quantize_ste(z.float() * _rows(net.hgain, level) - self._medians) + self._medians
        features = net.h_s(z_hat * _rows(net.hinv, level))
        received = net.receive(features, scaled)
        if self._corrects:
            with self._autocast:
                picture = self._unchanged((received * inverse).contiguous(memory_format=self.memory_format)).float()
            lost = scaled - self.analyse((picture.clamp(0, 1) * 255).round() / 255) * gain
            sigma, mu = net.predict(features, received)
            received = received + self._moves(received, scaled, lost, sigma, mu)
        return received * inverse

    def _moves(self, received: Tensor, scaled: Tensor, lost: Tensor, sigma: Tensor, mu: Tensor) -> Tensor:
        """Those of ``codecs.correction``, with the bits of a Gaussian and trust in crops of photographs."""
        least, moves = torch.full_like(received, math.inf), torch.zeros_like(received)
        for move in (0, -1, 1):
            _, likelihood = self._gaussian(received + move, sigma, mu)
            total = ERROR_WEIGHT * (abs(move) - 2 * OVERSHOOT * move * lost) - likelihood.log2()
            moves = torch.where(total < least, move, moves)
            least = torch.minimum(total, least)
        return moves * (moves * (scaled - received) > 0)

    def analyse(self, x: Tensor) -> Tensor:
        """``g_a(x)``, (B, M, H/16, W/16) float32."""
        with torch.no_grad(), self._autocast:
            return self.g_a(x).float()

    def unquantised(self, x: Tensor) -> Tensor:
        """``g_a(x)`` as ``g_s`` would get it at the last level if nothing were rounded: with both of its gains."""
        net, last = self._network, torch.full((len(x),), self.levels - 1.0, device=x.device)
        with torch.no_grad():
            return self.analyse(x) * _rows(net.gain, last) * _rows(net.inv_gain, last)

    def _change(self, name: str, layer: nn.Module, inputs: tuple[Tensor], out: Tensor) -> Tensor:
        """What a convolution of the synthesis gives with the change of its weight, if there is one.

        Each crop has a level of its own, so the change is applied as two thin layers beside the frozen one.
        """
        if (factors := self._changes.get(name)) is None:
            return out
        (x,), (down, up) = inputs, factors
        if isinstance(layer, nn.ConvTranspose2d):
            thin = torch.einsum("bchw,bcr->brhw", x, down)
            kernel, pads = up.view(-1, *layer.weight.shape[1:]), (layer.padding, layer.output_padding)
            return out + functional.conv_transpose2d(thin, kernel, None, layer.stride, *pads)  # type: ignore[arg-type]
        assert isinstance(layer, nn.Conv2d)
        thin = functional.conv2d(x, up.view(-1, *layer.weight.shape[1:]), None, layer.stride, layer.padding)
        return out + torch.einsum("brhw,bcr->bchw", thin, down)

    @torch.no_grad()
    def stages(self, y: Tensor) -> list[Tensor]:
        """What each layer of ``g_s`` gives for ``y`` (B, M, h, w), without changes and without blocks."""
        self._changes, self._amounts = {}, ()
        found, x = [], y
        for layer in self._network.g_s:
            x = layer(x)
            found.append(x)
        return found

    def place(self, after: int, hidden: int) -> BlockPlace:
        """The place of a block of ``hidden`` channels after this layer of ``g_s``; raises UsageError."""
        layers = len(self._network.g_s)
        if not 0 <= after < layers - 1:
            raise UsageError(f"a block after layer {after}: it can follow layers 0 to {layers - 2}")
        if not 1 <= hidden <= MOST_HIDDEN:
            raise UsageError(f"a block of {hidden} channels: it can have 1 to {MOST_HIDDEN}")
        stage = self.stages(torch.zeros(1, self.channels, 2, 2, device=self.device))[after]
        return BlockPlace(after, stage.shape[2] // 2, hidden)

    def attach(self, blocks: Iterable[tuple[BlockPlace, ResidualBlock]]) -> None:
        """Let blocks act at these places, instead of those that did so far."""
        for handle in self._attached:
            handle.remove()
        self._attached = [
            self._network.g_s[place.after].register_forward_hook(partial(self._extend, number, block))
            for number, (place, block) in enumerate(blocks)
        ]

    def _extend(self, number: int, block: ResidualBlock, layer: nn.Module, inputs: object, out: Tensor) -> Tensor:
        return block(out, self._amounts[number]) if self._amounts else out  # type: ignore[no-any-return]

    def _adapted(self, y: Tensor, changes: Changes, amounts: Sequence[Tensor]) -> Tensor:
        self._changes, self._amounts = changes, amounts
        out: Tensor = self._network.g_s(y)
        return out

    def synthesise(self, y: Tensor, changes: Changes | None = None, amounts: Sequence[Tensor] = ()) -> Tensor:
        """``g_s(y)``, (B, 3, H, W) float32, its weights changed as ``SynthesisAdapters.forward`` says.

        ``amounts`` are those of the attached blocks (``ResidualBlock.amount``); without them none acts. Gradients pass
        through to ``y``, to the factors of the changes, and to the blocks.
        """
        with self._autocast:
            return self._synthesis(y.contiguous(memory_format=self.memory_format), changes or {}, amounts).float()
