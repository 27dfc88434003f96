"""The mean-scale hyperprior codec: transforms in floating point, everything that is coded in integers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcodec.codecs.base import CodingStep, CodingSteps, Integers
from dlcodec.codecs.layers import add_change
from dlcodec.codecs.mean_scale_network import MeanScaleParams, MeanScaleTransforms, level_gain
from dlcodec.entropy.coder import Models
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS, LATENT_BITS, LEVEL_STEPS, ExactLayer, HyperSynthesis
from dlcodec.entropy.tables import TableSet
from dlcodec.errors import WeightsError
from dlcodec.tiles import run_by_tiles

_UNIT = 1 << ACTIVATION_BITS
_LARGEST = 2**20
_ANALYSIS_HALO = 32
"""Pixels: g_a reaches 30 to the left and 15 to the right."""
_HYPER_ANALYSIS_HALO = 8
"""Latents: h_a reaches 7."""
HYPER_LAYERS = ((0, True, True), (2, True, True), (4, False, False))
"""Of ``h_s``: CompressAI's layer number, whether it upsamples, whether LeakyReLU follows."""


@dataclass(frozen=True, slots=True)
class MeanScaleLatents:
    """What the encoder knows before coding: symbols of z (N, h, w) int32, and y times its gain (M, 4h, 4w) float32."""

    z_symbols: Integers
    y: npt.NDArray[np.float32]


class MeanScaleCodec:
    """Minnen et al. 2018 with gain units; implements ``codecs.base.Codec``.

    ::

        x -> g_a -> y*gain -> h_a -> z*hgain -> round -> symbols            coded first, a table per channel
                                                  └> exact h_s -> mu, scale index
        y*gain - mu -> round -> symbols                                     coded second, a table per scale index
                          └> + mu -> latent (fixed point) -> *inv_gain -> g_s -> x_hat
    """

    family = "mean-scale"
    stride = 64
    latent_stride = 16
    synthesis_halo = 2
    bytes_per_latent = 560 * latent_stride**2

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], device: torch.device):
        """Build from a checkpoint's config and arrays.

        Raises WeightsError when arrays are missing, left over, or do not fit the config.
        """
        params = MeanScaleParams(N=config["N"], M=config["M"], levels=len(config["lambdas"]))
        if any(type(channels) is not int or channels < 1 for channels in (params.N, params.M)):
            raise WeightsError("the weights do not say how many channels they have")
        self.levels = params.levels
        self.hyper_tables = params.N
        self._params = params
        self._device = device
        rest = {name: torch.from_numpy(array) for name, array in tensors.items()}
        try:
            self.models = Models(TableSet(*(tensors[f"tables.{name}"] for name in ("cdf", "start", "minimum"))))
            exact = {name: t.double().to(device) for name, t in rest.items() if name.startswith("exact.")}
            layers = tuple(
                ExactLayer(exact[f"exact.h_s.{n}.weight"], exact[f"exact.h_s.{n}.bias"], shift, up, act)
                for (n, up, act), shift in zip(HYPER_LAYERS, config["h_s_shifts"], strict=True)
            )
            self.hyper_synthesis = HyperSynthesis(
                layers, exact["exact.medians"], exact["exact.hinv"], exact["exact.thresholds"]
            )
            with torch.device("meta"):  # sizes that a file claims take no memory before they are held against its tensors
                transforms = MeanScaleTransforms(params)
            state = {n: t.float() for n, t in rest.items() if not n.startswith(("exact.", "tables.", "train."))}
            transforms.load_state_dict(state, strict=True, assign=True)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise WeightsError(f"the weights do not fit a {self.family} codec: {error}") from error
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise WeightsError("the weights are not all finite")
        self._check_hyper_synthesis()
        if len(self.models.tables) != params.N + len(self.hyper_synthesis.thresholds) + 1:
            raise WeightsError("the weights have the wrong number of entropy tables")
        transforms = transforms.requires_grad_(False).eval().to(device)
        for parameter in transforms.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._transforms = transforms

    def _check_hyper_synthesis(self) -> None:
        """Raise WeightsError unless the integer networks have the channels of the config."""
        N, M, exact = self._params.N, self._params.M, self.hyper_synthesis
        shapes = [tuple(layer.weight.shape[:2]) for layer in exact.layers]
        if shapes != [(N, M), (M, M * 3 // 2), (M * 2, M * 3 // 2)] or exact.inverse_gains.shape != (self.levels, N):
            raise WeightsError("the integer hyper-synthesis has other channels or levels than the config")
        if any(layer.weight.shape[2] != layer.weight.shape[3] for layer in exact.layers):
            raise WeightsError("the integer hyper-synthesis has kernels that are not square")

    @torch.inference_mode()
    def transform(self, x: Tensor, tile: int | None = None) -> Tensor:
        """``g_a(x)``, (1, M, H/16, W/16) float32; ``x`` and ``tile`` as in ``codecs.base``."""

        def analyse(part: Tensor) -> Tensor:
            part = part.to(self._device, memory_format=torch.channels_last)
            y: Tensor = self._transforms.g_a(part if part.is_floating_point() else part.float() / 255)
            return y

        pixels = None if tile is None else tile * self.latent_stride
        return run_by_tiles(
            analyse, (x,), tile=pixels, halo=_ANALYSIS_HALO, align=self.latent_stride, ratio=1 / self.latent_stride
        )

    @torch.inference_mode()
    def latents(self, transformed: Tensor, level: int, tile: int | None = None) -> MeanScaleLatents:
        """Latents of ``g_a(x)`` (1, M, h, w) float32; ``level`` in steps of 1/256."""
        net, q = self._transforms, level / LEVEL_STEPS
        exact = self.hyper_synthesis
        y = transformed * level_gain(net.gain, q)
        # Decoders interpolate hinv linearly; the encoder's gain makes up for it, so that the product stays geometric.
        product = level_gain(net.hgain.abs() * (exact.inverse_gains.float() / (1 << GAIN_BITS)), q)
        inverse = exact.level_gain(level).float() / (LEVEL_STEPS << GAIN_BITS)
        z = run_by_tiles(net.h_a, (y,), tile=tile, halo=_HYPER_ANALYSIS_HALO, align=4, ratio=1 / 4)
        z = z * (product / inverse[None, :, None, None])
        medians = exact.medians / (1 << LATENT_BITS)
        symbols = (z[0].double() - medians[:, None, None]).round()
        if not (torch.isfinite(symbols).all() and torch.isfinite(y).all()):
            raise WeightsError("the weights give a latent that is not finite")
        return MeanScaleLatents(symbols.to(torch.int32).cpu().numpy(), y[0].cpu().numpy())

    def analyse(self, x: Tensor, level: int) -> MeanScaleLatents:
        """Latents of ``x`` (1, 3, H, W) float32 in [0, 1]; ``level`` in steps of 1/256."""
        return self.latents(self.transform(x), level)

    def coding_steps(self, height: int, width: int, level: int, latents: MeanScaleLatents | None) -> CodingSteps:
        """Two steps: z, then y. Returns the latent (M, H/16, W/16) int32 with ACTIVATION_BITS fractional bits."""
        N = self._params.N
        shape = (N, height // self.stride, width // self.stride)
        channels = np.broadcast_to(np.arange(N, dtype=np.int32)[:, None, None], shape)
        z_symbols = yield CodingStep(channels, latents.z_symbols if latents else None)
        mu, scale = self.hyper_synthesis(z_symbols, level)
        y_symbols = None
        if latents:
            y_symbols = np.empty_like(mu)
            for symbols, y, mean in zip(y_symbols, latents.y, mu, strict=True):  # a channel at a time: float64 is large
                symbols[...] = np.rint(y - mean / _UNIT).clip(-_LARGEST, _LARGEST)
        y_symbols = yield CodingStep(scale + N, y_symbols)
        latent = y_symbols.clip(-_LARGEST, _LARGEST)
        latent *= _UNIT
        latent += mu
        return latent

    @torch.inference_mode()
    def to_float(self, latent: Integers, level: int) -> Tensor:
        """``y_hat`` (1, M, h, w) float32 of a fixed-point latent; ``level`` in steps of 1/256."""
        y_hat = torch.from_numpy(latent)[None].to(self._device).float()  # one rounding; a power of two adds none
        return y_hat.div_(_UNIT).mul_(level_gain(self._transforms.inv_gain, level / LEVEL_STEPS))

    @torch.inference_mode()
    def synthesise(self, y_hat: Tensor, changes: Mapping[str, Tensor] | None = None) -> Tensor:
        """The image (1, 3, H, W) float32 of ``y_hat`` (1, M, h, w) float32; ``changes`` as in ``codecs.base``."""
        g_s, y_hat = self._transforms.g_s, y_hat.contiguous(memory_format=torch.channels_last)
        if changes:
            g_s = copy.deepcopy(g_s)  # other threads may be using the codec that is kept
            try:
                for name, change in changes.items():
                    parameter = g_s.get_parameter(name)
                    parameter.data = add_change(parameter, change)
            except (AttributeError, RuntimeError) as error:
                raise WeightsError(f"the fusion weights do not fit the synthesis of {self.family}: {error}") from error
        return g_s(y_hat)
