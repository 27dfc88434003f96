"""Stage 1: train a base codec for all its rate levels; resumable, on CPU or CUDA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from dlcodec import checkpoint
from dlcodec.codecs.hyperprior_network import ExactGroups, HyperpriorParams
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS
from dlcodec.errors import WeightsError
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.loop import Optimisation, SideLoss, optimise
from dlcodec.training.rate_distortion import TrainableCodec, rate_distortion_loss
from dlcodec.training.runs import load_prefixed, refuse_start, steps_done


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """Everything that decides the outcome of the base stage; it is written into the checkpoint."""

    family: str
    data: tuple[str, ...]
    lambdas: tuple[float, ...]
    N: int
    M: int
    batch: int
    crop: int
    reduce: float
    seed: int
    bf16: bool
    compile: bool
    optimisation: Optimisation


def dequantise(arrays: dict[str, Tensor], config: Mapping[str, Any], groups: ExactGroups) -> dict[str, Tensor]:
    """The tensors of an exported checkpoint as a floating-point network with these ``exact_groups`` has them."""
    tensors = {
        n.removeprefix("train."): t.float() for n, t in arrays.items() if not n.startswith(("exact.", "tables."))
    }
    tensors["hinv"] = arrays["exact.hinv"].float() / (1 << GAIN_BITS)
    for group, plans in groups.items():
        for plan, shift in zip(plans, config[f"{group}_shifts"], strict=True):
            weight, bias = f"{plan.name}.weight", f"{plan.name}.bias"
            tensors[weight] = arrays[f"exact.{weight}"].float() / 2**shift
            tensors[bias] = arrays[f"exact.{bias}"].float() / 2 ** (shift + ACTIVATION_BITS)
    return tensors


def initialise(model: TrainableCodec, start: Path) -> None:
    """Load a training checkpoint or a bare network file whose level ladder may be shorter: new low levels extrapolate.

    An exported checkpoint serves too: its integers go back to floating point.
    Raises WeightsError when a network tensor is missing or of another shape, or one level is all there is.
    """
    tensors = load_prefixed(start, "")
    prefix = "ema." if any(name.startswith("ema.") for name in tensors) else ""
    tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix) and "reparam" not in n}
    if "exact.hinv" in tensors:
        tensors = dequantise(tensors, checkpoint.read_metadata(start).config, model.network.exact_groups)
    if not prefix:
        tensors = {n if n.startswith("entropy_bottleneck") else f"network.{n}": t for n, t in tensors.items()}
    levels = model.network.params.levels
    for name in ("gain", "inv_gain", "hgain", "hinv"):
        rows = tensors[f"network.{name}"].abs()
        if len(rows) < min(2, levels):
            raise WeightsError(f"{start} has one rate level; a ladder of {levels} cannot begin from it")
        while len(rows) < levels:
            rows = torch.cat([rows[:1] ** 2 / rows[1:2], rows])
        tensors[f"network.{name}"] = rows
    try:
        missing, _ = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{start} is of a network of other sizes") from error
    if any(name.startswith("network.") for name in missing):
        raise WeightsError(f"{start} lacks {', '.join(missing[:3])}")


def train_base(recipe: BaseRecipe, output: Path, start: Path | None, device: torch.device, save_every: float) -> None:
    """Train, saving to ``output`` every ``save_every`` minutes; continue from ``output`` if it exists.

    ``output`` holds the weights (``model.``), their moving average (``ema.``) and the optimizers, float32.
    """
    refuse_start(start, output)
    torch.manual_seed(recipe.seed + steps_done(output))
    model = TrainableCodec(recipe.family, HyperpriorParams(recipe.N, recipe.M, len(recipe.lambdas)))
    if start is not None:
        initialise(model, start)
    model = model.to(device).train()
    memory_format = model.network.training_format
    convert_conv2d_weight_memory_format(model, memory_format)
    if recipe.compile:
        for name in ("g_a", "g_s", "h_a", "h_s"):
            getattr(model.network, name).compile()
    seed = recipe.seed + steps_done(output)
    tiles = load_tiles([Path(p) for p in recipe.data], recipe.crop)
    sampler = CropSampler(tiles, recipe.batch, recipe.crop, device, seed, recipe.reduce)
    lambdas = torch.tensor(recipe.lambdas, device=device)

    def compute_loss() -> tuple[Tensor, Mapping[str, Tensor]]:
        x = sampler.batch().to(device).contiguous(memory_format=memory_format)
        level = torch.randint(len(lambdas), (recipe.batch,), device=device)
        outcome = model(x, level, torch.bfloat16 if recipe.bf16 else None)
        shown = {
            "bpp": outcome.bpp.mean(),
            "z": outcome.bpp_z.mean(),
            "dB": (-10 * outcome.mse.log10()).mean(),
        }
        return rate_distortion_loss(outcome, lambdas[level]), shown

    bottleneck = model.entropy_bottleneck
    side = SideLoss([bottleneck.quantiles], bottleneck.loss, 1e-3)
    record = {
        **{field: getattr(recipe, field) for field in recipe.__slots__ if field != "optimisation"},
        **asdict(recipe.optimisation),
        "data": [Path(p).name for p in recipe.data],
        "start": start.name if start else None,
    }
    del record["budget"]
    optimise(model, compute_loss, recipe.optimisation, output, record, device, save_every, side)
