"""The fusion network with its standardisation and schedule, ready to run on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec.arguments import MOST_STEPS, Precision
from dlcodec.changes import UNCHANGED, PlacedBlock, SynthesisChanges
from dlcodec.errors import UsageError
from dlcodec.fusion.adapters import scale_at
from dlcodec.fusion.blocks import BlockPlace, ResidualBlock, reach, read_places
from dlcodec.fusion.denoiser import BLOCKS_HALO, Denoiser, DenoiserParams
from dlcodec.fusion.sampler import sample
from dlcodec.fusion.schedule import schedule_from

_MOST_ADAPTED = 2**24
_MAPS = 18


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that D runs in; ``auto`` is bfloat16 where the device multiplies it natively, else float32.

    Raises UsageError for another precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r} is none of {', '.join(get_args(Precision))}")
    if precision == "auto" and device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        native = any(check() for check in checks if check)
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native) else torch.float32


def choose_synthesis_dtype(precision: Precision, device: torch.device, tau: float) -> torch.dtype:
    """The type that the synthesis runs in: D's, but float32 at tau = 1 unless bfloat16 is asked for by name.

    Raises UsageError for another precision.
    """
    dtype = choose_dtype(precision, device)
    return torch.float32 if tau == 1 and precision == "auto" else dtype


def _adapter(tensors: dict[str, Tensor], name: str, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Take one weight's factors out of ``tensors``; without ``scale`` its change is the same at every level."""
    down = tensors.pop(name).float()
    up = tensors.pop(name.replace("down", "up", 1)).float()
    scale = tensors.pop(name.replace("down", "scale", 1), torch.ones(1, up.shape[0])).float()
    rows, columns = down.shape[:-1].numel(), up.shape[1:].numel()
    matrices = down.ndim == up.ndim == scale.ndim == 2 and len(scale) > 0
    if not (matrices and down.shape[1] == up.shape[0] == scale.shape[1] and rows * columns <= _MOST_ADAPTED):
        raise ValueError("an adapter is no product of two matrices of a weight's size")
    return down.to(device), scale.to(device), up.to(device)


def _block(tensors: dict[str, Tensor], number: int, place: BlockPlace, device: torch.device) -> ResidualBlock:
    """Take one block's tensors out of ``tensors``."""
    prefix = f"blocks.{number}."
    own = {n.removeprefix(prefix): tensors.pop(n).float().to(device) for n in list(tensors) if n.startswith(prefix)}
    if own["rms"].min() <= 0 or len(own["scale"]) == 0:
        raise ValueError("a block has no scale of its input or no level")
    with torch.device("meta"):
        block = ResidualBlock(len(own["rms"]), place.hidden, len(own["scale"]))
    block.load_state_dict(own, strict=True, assign=True)
    return block.requires_grad_(False).eval()


class Fusion:
    """Transforms decoded latents for one base codec.

    Sampling runs in float32 on standardised latents; only D runs in ``dtype``.
    """

    def __init__(
        self, config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Build from a checkpoint's config and tensors.

        Raises AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError or RuntimeError when they
        do not fit each other or make no sense.
        """
        params = DenoiserParams(**config["denoiser"])
        self._schedule = schedule_from(config["schedule"])
        self.default_steps = config["steps"]
        if type(self.default_steps) is not int or not 1 <= self.default_steps <= MOST_STEPS:
            raise ValueError(f"{self.default_steps!r} is no number of steps")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("not all weights are finite")
        rest = dict(tensors)
        mean, deviation = (rest.pop(name).float().to(device) for name in ("mean", "deviation"))
        if not mean.shape == deviation.shape == (params.M,) or deviation.min() <= 0:
            raise ValueError("mean or deviation is not that of a latent")
        self._mean, self._deviation = mean[:, None, None], deviation[:, None, None]
        downs = [name for name in rest if name.startswith("adapters.down.")]
        weights = [name.removeprefix("adapters.down.").replace("/", ".") for name in downs]
        if len(set(weights)) < len(weights):
            raise ValueError("two adapters are for the same weight")
        self._adapters = {weight: _adapter(rest, name, device) for weight, name in zip(weights, downs, strict=True)}
        places = read_places(config)
        self._blocks = [(place, _block(rest, number, place, device)) for number, place in enumerate(places)]
        self.synthesis_reach = reach(places)
        """By how many latents farther a pixel depends on the latent below tau = 1."""
        if any(not name.startswith("denoiser.") for name in rest):
            raise ValueError("there are tensors that no part of it has")
        with torch.device("meta"):
            denoiser = Denoiser(params)
        state = {n.removeprefix("denoiser."): t.to(device, dtype) for n, t in rest.items()}
        denoiser.load_state_dict(state, strict=True, assign=True)
        self._denoiser = denoiser.requires_grad_(False).eval()
        convert_conv2d_weight_memory_format(self._denoiser, torch.channels_last)
        self.dtype = dtype
        self.window, self.halo, self.reach = params.window, BLOCKS_HALO, denoiser.reach()
        self.bytes_per_latent = _MAPS * 4 * params.C
        """About how much memory D takes for each position of a tile."""

    def changes(self, tau: float, level: float) -> SynthesisChanges:
        """What changes the synthesis transform, in float32; nothing does at tau = 1. Both are in [0, 1]."""
        if (part := 1 - tau * tau) == 0:
            return UNCHANGED
        at = torch.tensor([level])
        weights = {
            name: part * (down * scale_at(scale, at.to(scale.device)) @ up)
            for name, (down, scale, up) in self._adapters.items()
        }
        blocks = tuple(PlacedBlock(p.after, p.ratio, block.at(level, part)) for p, block in self._blocks)
        memory = max((p.ratio**2 * block.bytes_per_position for p, block in self._blocks), default=0)
        return SynthesisChanges(weights, blocks, self.synthesis_reach, memory)

    @torch.inference_mode()
    def fuse(
        self,
        y_hat: Tensor,
        level: float,
        noise: Tensor,
        taus: Sequence[float],
        steps: int,
        after_step: Callable[[], None] = lambda: None,
        tile: int | None = None,
    ) -> Iterator[Tensor]:
        """One latent a tau, between ``y_hat`` (tau = 1, returned as it is) and the most realistic (tau = 0).

        ``y_hat`` (1, M, h, w) float32, ``noise`` of the same shape, ``level`` in [0, 1], ``steps`` at least 1.
        The condition branch runs once for all taus. ``tile`` is the side of a tile of D in latents; None takes the
        whole at once.
        """
        denoiser, dtype = self._denoiser, self.dtype
        standard = ((y_hat - self._mean) / self._deviation).contiguous(memory_format=torch.channels_last)
        condition = standard.to(dtype)
        at = torch.tensor([level], device=y_hat.device)
        features = denoiser.condition(condition, at, tile)

        def denoise(y_t: Tensor, s: float) -> Tensor:
            time = torch.tensor([s], device=y_hat.device)
            return denoiser(y_t.to(dtype), condition, features, time, at, tile).float()

        noise = noise.to(y_hat.device).contiguous(memory_format=torch.channels_last)
        alphas = self._schedule.alphas(steps)
        for tau in taus:
            if tau == 1:
                yield y_hat
            else:
                yield sample(denoise, standard, noise, alphas, tau, after_step) * self._deviation + self._mean
