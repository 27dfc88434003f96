"""Stage 1: train a mean-scale base codec for all its rate levels; resumable, on CPU or CUDA."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_optimizer import SOAP
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dlcodec.codecs.mean_scale import HYPER_LAYERS
from dlcodec.codecs.mean_scale_network import MeanScaleParams
from dlcodec.entropy.exact import ACTIVATION_BITS, GAIN_BITS
from dlcodec.training.data import CropSampler, load_tiles
from dlcodec.training.loop import (
    Budget,
    MovingAverage,
    ProgressLine,
    flatten_optimizer,
    learning_rate,
    load_prefixed,
    restore_optimizer,
    save_atomically,
)
from dlcodec.training.rate_distortion import TrainableMeanScale, rate_distortion_loss


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """Everything that decides the outcome of the base stage; it is written into the checkpoint."""

    data: tuple[str, ...]
    lambdas: tuple[float, ...]
    N: int
    M: int
    batch: int
    crop: int
    learning_rate: float
    final_learning_rate: float
    warmup: int
    clip: float
    ema: float
    seed: int
    bf16: bool
    compile: bool
    budget: Budget


def dequantise(arrays: dict[str, Tensor], shifts: list[int]) -> dict[str, Tensor]:
    """The tensors of an exported checkpoint as a floating-point network has them."""
    tensors = {
        n.removeprefix("train."): t.float() for n, t in arrays.items() if not n.startswith(("exact.", "tables."))
    }
    tensors["hinv"] = arrays["exact.hinv"].float() / (1 << GAIN_BITS)
    for (number, _, _), shift in zip(HYPER_LAYERS, shifts, strict=True):
        tensors[f"h_s.{number}.weight"] = arrays[f"exact.h_s.{number}.weight"].float() / 2**shift
        tensors[f"h_s.{number}.bias"] = arrays[f"exact.h_s.{number}.bias"].float() / 2 ** (shift + ACTIVATION_BITS)
    return tensors


def initialise(model: TrainableMeanScale, start: Path) -> None:
    """Load a training checkpoint or a bare network file whose level ladder may be shorter: new low levels extrapolate.

    An exported checkpoint serves too: its integers go back to floating point.
    Raises RuntimeError when a network tensor is missing or has another shape.
    """
    with safe_open(start, "pt") as handle:
        names, metadata = set(handle.keys()), handle.metadata()
    prefix = "ema." if any(name.startswith("ema.") for name in names) else ""
    tensors = {name: t for name, t in load_prefixed(start, prefix).items() if "reparam" not in name}
    if "exact.hinv" in names:
        tensors = dequantise(tensors, json.loads(metadata["config"])["h_s_shifts"])
    if not prefix:
        tensors = {n if n.startswith("entropy_bottleneck") else f"network.{n}": t for n, t in tensors.items()}
    levels = model.network.params.levels
    for name in ("gain", "inv_gain", "hgain", "hinv"):
        rows = tensors[f"network.{name}"].abs()
        while len(rows) < levels:
            rows = torch.cat([rows[:1] ** 2 / rows[1:2], rows])
        tensors[f"network.{name}"] = rows
    missing, _ = model.load_state_dict(tensors, strict=False)
    if any(name.startswith("network.") for name in missing):
        raise RuntimeError(f"{start} lacks {', '.join(missing[:3])}")


def train_base(recipe: BaseRecipe, output: Path, start: Path | None, device: torch.device, save_every: float) -> None:
    """Train, saving to ``output`` every ``save_every`` minutes; continue from ``output`` if it exists.

    ``output`` holds the weights (``model.``), their moving average (``ema.``) and the optimizers, float32.
    """
    torch.manual_seed(recipe.seed)
    params = MeanScaleParams(recipe.N, recipe.M, len(recipe.lambdas))
    model = TrainableMeanScale(params)
    if start is not None and not output.exists():
        initialise(model, start)
    model = model.to(device).train()
    quantiles = [model.entropy_bottleneck.quantiles]
    weights = [p for p in model.parameters() if p is not quantiles[0]]
    optimizer = SOAP(
        weights, lr=recipe.learning_rate, betas=(0.95, 0.95), precondition_frequency=10, max_precondition_dim=520
    )
    quantile_optimizer = torch.optim.Adam(quantiles, lr=1e-3)
    average = MovingAverage(model, recipe.ema)
    step, before = 0, 0.0
    if output.exists():
        model.load_state_dict(load_prefixed(output, "model."))
        average.module.load_state_dict(load_prefixed(output, "ema."))
        with safe_open(output, "pt") as handle:
            metadata = handle.metadata()
        restore_optimizer(optimizer, load_file(output), metadata["soap"])
        restore_optimizer(quantile_optimizer, load_file(output), metadata["adam"])
        state = json.loads(metadata["state"])
        step, before = state["step"], state["seconds"]
    net = model.network
    for name in ("g_a", "g_s", "h_a", "h_s"):
        if recipe.compile:
            getattr(net, name).compile()
        getattr(net, name).to(memory_format=torch.channels_last)
    sampler = CropSampler(
        load_tiles([Path(p) for p in recipe.data], recipe.crop), recipe.batch, recipe.crop, device, recipe.seed + step
    )
    lambdas = torch.tensor(recipe.lambdas, device=device)
    line = ProgressLine()
    smooth: dict[str, float] = {}
    begun = last_save = time.monotonic()

    def save() -> None:
        state = {"step": step, "seconds": before + time.monotonic() - begun, "device": str(device)}
        parts: list[tuple[str, dict[str, Tensor]]] = [
            ("model.", model.state_dict()),
            ("ema.", average.module.state_dict()),
        ]
        tensors = {prefix + name: tensor for prefix, part in parts for name, tensor in part.items()}
        soap, soap_outline = flatten_optimizer(optimizer, "soap")
        adam, adam_outline = flatten_optimizer(quantile_optimizer, "adam")
        fields = {field: getattr(recipe, field) for field in recipe.__slots__ if field != "budget"}
        fields["data"] = [Path(p).name for p in recipe.data]
        fields["start"] = start.name if start else None
        metadata = {
            "state": json.dumps(state),
            "recipe": json.dumps(fields),
            "soap": soap_outline,
            "adam": adam_outline,
        }
        save_atomically({**tensors, **soap, **adam}, output, metadata)

    while (progress := recipe.budget.progress(step, before + time.monotonic() - begun)) < 1:
        rate = learning_rate(recipe.learning_rate, recipe.final_learning_rate, recipe.warmup, step, progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = sampler.batch().to(device).contiguous(memory_format=torch.channels_last)
        level = torch.randint(len(lambdas), (recipe.batch,), device=device)
        outcome = model(x, level, torch.bfloat16 if recipe.bf16 else None)
        loss = rate_distortion_loss(outcome, lambdas[level])
        optimizer.zero_grad(set_to_none=True)
        quantile_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(weights, recipe.clip)
        if torch.isfinite(norm):
            optimizer.step()
        model.entropy_bottleneck.loss().backward()
        quantile_optimizer.step()
        average.update(model, step)
        step += 1
        now = time.monotonic()
        with torch.no_grad():
            for key, value in (
                ("loss", loss),
                ("bpp", outcome.bpp.mean()),
                ("z", outcome.bpp_z.mean()),
                ("dB", (-10 * outcome.mse.log10()).mean()),
                ("norm", norm),
            ):
                smooth[key] = 0.98 * smooth.get(key, value.item()) + 0.02 * value.item()
        spent = before + now - begun
        left = spent * (1 - progress) / progress if progress else float("nan")
        line.show(
            f"step {step}  {' '.join(f'{k} {v:.4f}' for k, v in smooth.items())}  lr {rate:.1e}  "
            f"{recipe.batch * (now - begun and step) / max(spent, 1e-9):.1f} crops/s  {left / 60:.0f} min left"
        )
        if now - last_save > 60 * save_every:
            save()
            last_save = time.monotonic()
    save()
