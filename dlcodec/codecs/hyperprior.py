"""What all hyperprior codecs share: transforms in floating point, gains, padding, and the coding of z in integers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dlcodec.arguments import LEVEL_STEPS
from dlcodec.changes import UNCHANGED, SynthesisChanges
from dlcodec.codecs.base import CodingStep, CodingSteps, Integers, Synthesis
from dlcodec.codecs.correction import correct
from dlcodec.codecs.halved import HalvedTransform
from dlcodec.codecs.hyperprior_network import HyperpriorNetwork, HyperpriorParams, level_gain
from dlcodec.codecs.refinement import ErrorGradient, bits_per_error, lambdas_known, refine
from dlcodec.entropy.coder import Models
from dlcodec.entropy.exact import (
    ACTIVATION_BITS,
    GAIN_BITS,
    LATENT_BITS,
    HyperSynthesis,
    ScaleLadder,
    load_layers,
)
from dlcodec.entropy.length import CodeLength
from dlcodec.entropy.tables import TableSet
from dlcodec.errors import WeightsError
from dlcodec.tiles import run_by_tiles

_UNIT = 1 << ACTIVATION_BITS
_LARGEST = 2**20
_KINDS = ("weight", "bias")
_BLOCK = 8
"""In latents: with such blocks the PSNR of ``rounded`` is nearest to that of a coded latent."""


@dataclass(frozen=True, slots=True)
class HyperpriorLatents:
    """What the encoder knows before coding: symbols of z (N, h, w) int32, and y times its gain (M, 4h, 4w) float32.

    ``features`` is what the exact h_s says of these symbols, where that is known already.
    """

    z_symbols: Integers
    y: npt.NDArray[np.float32]
    features: Integers | None = None


def round_to_symbols(y: npt.NDArray[np.float32], mu: Integers) -> Integers:
    """The symbols of ``y`` around its means ``mu`` with ACTIVATION_BITS, int32 of one shape."""
    symbols: Integers = np.rint(y - mu / _UNIT).clip(-_LARGEST, _LARGEST).astype(np.int32)
    return symbols


def round_by_channels(y: npt.NDArray[np.float32], mu: Integers) -> Integers:
    """The same of a whole latent, one channel at a time, since float64 is large."""
    symbols = np.empty_like(mu)
    for channel, values, means in zip(symbols, y, mu, strict=True):
        channel[...] = round_to_symbols(values, means)
    return symbols


def latent_of(symbols: Integers, mu: Integers) -> Integers:
    """The latent with ACTIVATION_BITS, int32, of symbols and means."""
    latent = symbols.clip(-_LARGEST, _LARGEST)
    latent *= _UNIT
    latent += mu
    return latent


def _integers(network: HyperpriorNetwork, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """The integer arrays of a checkpoint in float64; ``network`` says which there are, and their shapes.

    Raises WeightsError when one is missing, left over, not of integers or of another shape.
    """
    exact = {name: array for name, array in arrays.items() if name.startswith("exact.")}
    names = [plan.name for plans in network.exact_groups.values() for plan in plans]
    wanted = {f"exact.{n}.{kind}": network.get_parameter(f"{n}.{kind}").shape for n in names for kind in _KINDS}
    wanted |= {"exact.medians": network.hinv.shape[1:], "exact.hinv": network.hinv.shape}
    if {name: array.shape for name, array in exact.items() if name != "exact.thresholds"} != wanted:
        raise WeightsError("the integer arrays do not have the names and shapes that the config demands")
    if not all(np.issubdtype(array.dtype, np.integer) for array in exact.values()):
        raise WeightsError("the integer arrays are not of integers")
    return {name: torch.from_numpy(array).double() for name, array in exact.items()}


class HyperpriorCodec(ABC):
    """A hyperprior codec with gain units; with the class attributes and ``code_latent`` it implements ``base.Codec``.

    ``hyper_synthesis`` is the exact h_s; ``exact_layers`` has the layers of all other groups of the network, on the
    CPU; ``scales`` tells scale indices from sigma. z has the first ``hyper_tables`` tables, one a channel.

    ::

        x -> g_a -> y*gain -> h_a -> z*hgain -> round -> symbols            coded first, a table per channel
                                                  └> exact h_s -> features
        y*gain, features -> code_latent -> symbols                          coded next, a table per scale index
                                  └> + mu -> latent (fixed point) -> *inv_gain -> g_s -> x_hat
    """

    network: ClassVar[type[HyperpriorNetwork]]
    """Its networks in floating point."""
    analysis_halo: ClassVar[int]
    """In pixels: at least as far as g_a reaches, and a multiple of 16."""
    hyper_analysis_halo: ClassVar[int]
    """In latents: at least as far as h_a reaches, and a multiple of 4."""
    hyper_synthesis_reach: ClassVar[int]
    """In hyper-latents: how far h_s reaches."""
    synthesis_halo: int
    synthesis_cut = 0
    """How many layers of g_s the first part of the synthesis has: those that reach far and cost little."""
    cut_ratio = 1
    """Positions a side for each latent after them."""
    late_halo: int
    """In latents: how far the other layers reach."""
    usual_bytes_per_latent: ClassVar[int]
    """``bytes_per_latent`` with as many channels as it is trained with, and with fewer."""

    stride = 64
    latent_stride = 16

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], device: torch.device):
        """Build from a checkpoint's config and arrays.

        Raises WeightsError when arrays are missing, left over, or do not fit the config.
        """
        params = HyperpriorParams(N=config["N"], M=config["M"], levels=len(config["lambdas"]))
        if any(type(channels) is not int or channels < 1 for channels in (params.N, params.M)):
            raise WeightsError("the weights do not say how many channels they have")
        self.levels = params.levels
        self.hyper_tables = params.N
        self.latent_channels = params.M
        usual, _ = self.network.channels
        self.bytes_per_latent = self.usual_bytes_per_latent * max(params.N, usual) // usual
        self._lambdas = config["lambdas"]
        self.device = device
        others = ("exact.", "tables.", "train.")
        try:
            self.models = Models(TableSet(*(tensors[f"tables.{name}"] for name in ("cdf", "start", "minimum"))))
            with torch.device("meta"):  # takes no memory for what the config claims
                whole, transforms = self.network(params), self.network(params, coding=False)
            exact = _integers(whole, tensors)
            self.exact_layers = {
                group: load_layers(plans, config[f"{group}_shifts"], exact)
                for group, plans in self.network.exact_groups.items()
            }
            self.hyper_synthesis = HyperSynthesis(
                tuple(layer.to(device) for layer in self.exact_layers.pop("h_s")),
                exact["exact.medians"].to(device),
                exact["exact.hinv"].to(device),
                self.hyper_synthesis_reach,
            )
            thresholds = exact["exact.thresholds"]
            if (thresholds.abs() >= 2**31).any():  # processors differ in what int32 they make of these
                raise WeightsError("the thresholds between scales are out of range")
            self.scales = ScaleLadder(thresholds.to(torch.int32).numpy())
            state = {n: torch.from_numpy(a).float() for n, a in tensors.items() if not n.startswith(others)}
            transforms.load_state_dict(state, strict=True, assign=True)
        except torch.OutOfMemoryError:
            raise
        except (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise WeightsError(f"the weights do not fit a {self.family} codec: {error}") from error
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise WeightsError("the weights are not all finite")
        if len(self.models.tables) != params.N + len(self.scales):
            raise WeightsError("the weights have the wrong number of entropy tables")
        transforms = transforms.requires_grad_(False).eval().to(device)
        for parameter in transforms.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._transforms = transforms

    @property
    def family(self) -> str:
        """Its name in the registry."""
        return self.network.family

    @abstractmethod
    def code_latent(self, features: Integers, y: npt.NDArray[np.float32] | None) -> CodingSteps:
        """The steps that code the latent, given what the exact h_s says (C, h, w), and ``y`` (M, h, w) to encode.

        Tables follow those of z. Returns the latent, (M, h, w) int32 with ACTIVATION_BITS.
        """

    @torch.inference_mode()
    def transform(self, x: Tensor, tile: int | None = None, *, halved: bool = False) -> Tensor:
        """``g_a(x)``, (1, M, H/16, W/16) float32; the rest as in ``codecs.base``."""
        g_a = self._transforms.g_a
        network = HalvedTransform(copy.deepcopy(g_a)) if halved else g_a

        def analyse(part: Tensor) -> Tensor:
            part = part.to(self.device, memory_format=torch.channels_last)
            y: Tensor = network(part if part.is_floating_point() else part.float() / 255)
            return y

        pixels = None if tile is None else tile * self.latent_stride
        return run_by_tiles(
            analyse, (x,), tile=pixels, halo=self.analysis_halo, align=self.latent_stride, ratio=1 / self.latent_stride
        )

    @torch.inference_mode()
    def latents(self, transformed: Tensor, level: int, tile: int | None = None) -> HyperpriorLatents:
        """Latents of ``g_a(x)`` (1, M, h, w) float32; ``level`` in steps of 1/256.

        Raises WeightsError where they are not finite.
        """
        net, q = self._transforms, level / LEVEL_STEPS
        exact = self.hyper_synthesis
        y = transformed * level_gain(net.gain, q)
        # Decoders interpolate hinv linearly; the encoder's gain makes up for it, so that the product stays geometric.
        product = level_gain(net.hgain.abs() * (exact.inverse_gains.float() / (1 << GAIN_BITS)), q)
        inverse = exact.level_gain(level).float() / (LEVEL_STEPS << GAIN_BITS)
        z = run_by_tiles(net.h_a, (y,), tile=tile, halo=self.hyper_analysis_halo, align=4, ratio=1 / 4)
        z = z * (product / inverse[None, :, None, None])
        medians = exact.medians / (1 << LATENT_BITS)
        symbols = (z[0].double() - medians[:, None, None]).round()
        if not (torch.isfinite(symbols).all() and torch.isfinite(y).all()):
            raise WeightsError("the weights give a latent that is not finite")
        return HyperpriorLatents(symbols.to(torch.int32).cpu().numpy(), y[0].cpu().numpy())

    def predict(self, features: Integers) -> tuple[Integers, Integers]:
        """The table and the mean of each symbol of y, given what the exact h_s says, all (M, h, w) int32.

        A codec whose network is not ``autoregressive`` has its own; of others ``unsearchable`` says why nobody asks.
        """
        raise NotImplementedError

    @property
    def unsearchable(self) -> str | None:
        """As in ``codecs.base``: rounding a symbol otherwise may not change the tables of later ones."""
        if self.network.autoregressive:
            return f"{self.family} predicts symbols from earlier ones; there is no search for better latents"
        if not lambdas_known(self._lambdas):
            return "the weights do not say what they were trained for (lambda); there is no search for better latents"
        return None

    @torch.inference_mode()
    def correct(self, latents: HyperpriorLatents, level: int, echo: Callable[[Tensor], Tensor]) -> HyperpriorLatents:
        """As in ``codecs.base``: symbols move around the means that z gives them, and z stays."""
        features = self.hyper_synthesis(latents.z_symbols, level)
        index, mu = self.predict(features)
        symbols = round_by_channels(latents.y, mu)
        gain = level_gain(self._transforms.gain, level / LEVEL_STEPS)
        seen = echo(self.to_float(latent_of(symbols, mu), level)).mul(gain)[0].cpu().numpy()
        y = np.divide(mu, _UNIT, dtype=np.float32)
        lost = np.subtract(latents.y, seen, out=seen).clip(-_LARGEST, _LARGEST, out=seen)
        correct(symbols, index, latents.y - y, lost, CodeLength(self.models.tables))
        y += symbols
        return HyperpriorLatents(latents.z_symbols, y, features)

    @torch.inference_mode(False)
    @torch.no_grad()
    def refine(
        self,
        latents: HyperpriorLatents,
        x: Tensor,
        level: int,
        tile: int | None = None,
        *,
        halved: bool = False,
        after_step: Callable[[], None] = lambda: None,
    ) -> HyperpriorLatents:
        """As in ``codecs.base``: y moves around the means that z gives it, and z stays."""
        index, mu = self.predict(self.hyper_synthesis(latents.z_symbols, level))
        q = level / LEVEL_STEPS
        gain = level_gain(self._transforms.inv_gain, q)
        g_s = copy.deepcopy(self._transforms.g_s)  # what inference mode made has no gradients, a copy of it has
        synthesis = HalvedTransform(g_s) if halved else g_s
        weight = bits_per_error(self._lambdas, q)
        error = ErrorGradient(synthesis, gain, x, weight, self.latent_stride, tile, self.synthesis_halo)
        y, means = torch.from_numpy(latents.y).to(self.device), torch.from_numpy(mu).to(self.device) / _UNIT
        refined = refine(y, means, index, CodeLength(self.models.tables), error, after_step)
        return replace(latents, y=refined.cpu().numpy())

    def analyse(self, x: Tensor, level: int) -> HyperpriorLatents:
        """Latents of ``x`` (1, 3, H, W) float32 in [0, 1]; ``level`` in steps of 1/256."""
        return self.latents(self.transform(x), level)

    def coding_steps(self, height: int, width: int, level: int, latents: HyperpriorLatents | None) -> CodingSteps:
        """First z, then y as ``code_latent`` says. Returns the latent (M, H/16, W/16) int32 with ACTIVATION_BITS."""
        shape = (self.hyper_tables, height // self.stride, width // self.stride)
        channels = np.broadcast_to(np.arange(self.hyper_tables, dtype=np.int32)[:, None, None], shape)
        z_symbols = yield CodingStep(channels, latents.z_symbols if latents else None)
        known = latents.features if latents else None
        features = self.hyper_synthesis(z_symbols, level) if known is None else known
        return (yield from self.code_latent(features, latents.y if latents else None))

    @torch.inference_mode()
    def to_float(self, latent: Integers, level: int) -> Tensor:
        """``y_hat`` (1, M, h, w) float32 of a fixed-point latent; ``level`` in steps of 1/256."""
        y_hat = torch.from_numpy(latent)[None].to(self.device).float()  # one rounding; a power of two adds none
        return y_hat.div_(_UNIT).mul_(level_gain(self._transforms.inv_gain, level / LEVEL_STEPS))

    @torch.inference_mode()
    def rounded(self, transformed: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """As in ``codecs.base``: means of blocks predict about as well as h_s, which takes most of a coding's time."""
        y = transformed * level_gain(self._transforms.gain, level / LEVEL_STEPS)
        blocks = functional.avg_pool2d(y, _BLOCK, ceil_mode=True)
        means = functional.interpolate(blocks, scale_factor=_BLOCK)[..., : y.shape[2], : y.shape[3]]
        y_hat = (y - means).round_().add_(means)
        if not y_hat.isfinite().all():
            raise WeightsError("the weights give a latent that is not finite")
        gain = level_gain(self._transforms.inv_gain, level / LEVEL_STEPS)
        return y_hat * gain, (y - y_hat).mul_(gain)

    @torch.inference_mode()
    def synthesis(self, changes: SynthesisChanges = UNCHANGED, *, halved: bool = False) -> Synthesis:
        """From ``y_hat`` (1, M, h, w) float32 to the image (1, 3, H, W) float32; the rest as in ``codecs.base``."""
        g_s = self._transforms.g_s
        if changes:
            try:
                g_s = changes.apply(g_s, self.latent_channels)
            except torch.OutOfMemoryError:
                raise
            except (AttributeError, IndexError, RuntimeError) as error:
                raise WeightsError(f"the fusion weights do not fit the synthesis of {self.family}: {error}") from error
        elif halved:
            g_s = copy.deepcopy(g_s)  # other threads may be using the codec that is kept
        cut = self.synthesis_cut + sum(placed.after < self.synthesis_cut for placed in changes.blocks)
        early = g_s[:cut].bfloat16() if halved else g_s[:cut]
        late = HalvedTransform(g_s[cut:]) if halved else g_s[cut:]

        @torch.inference_mode()
        def first(y_hat: Tensor) -> Tensor:
            y_hat = y_hat.contiguous(memory_format=torch.channels_last)
            found: Tensor = early(y_hat.bfloat16() if halved else y_hat)
            return found

        @torch.inference_mode()
        def last(x: Tensor) -> Tensor:
            image: Tensor = late(x.contiguous(memory_format=torch.channels_last))
            return image

        return Synthesis(first, last, self.cut_ratio, self.late_halo + changes.reach)
