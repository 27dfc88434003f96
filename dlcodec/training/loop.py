"""What every stage shares: schedule, moving average, and one line of progress."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_optimizer import SOAP
from torch import Tensor, nn

from dlcodec.console import Volume, complain, on_terminal, volume
from dlcodec.errors import UsageError
from dlcodec.training.runs import TrainingRun, load_into, load_prefixed, restore_optimizer, save_run


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: ``steps``, or ``minutes`` of wall-clock time when steps is None."""

    steps: int | None
    minutes: float | None

    def progress(self, step: int, seconds: float) -> float:
        """The fraction done, in [0, 1]; 1 means stop."""
        if self.steps is not None:
            return 1.0 if step >= self.steps else step / self.steps
        assert self.minutes is not None
        return min(1.0, seconds / (60 * self.minutes))


def learning_rate(peak: float, final: float, warmup: int, step: int, progress: float) -> float:
    """Linear warm-up over ``warmup`` steps, then a cosine from ``peak`` to ``final`` over the whole run."""
    cosine = final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress))
    return cosine * min(1.0, (step + 1) / max(1, warmup))


class MovingAverage:
    """An exponential moving average of a module's parameters; its horizon grows with the step up to ``decay``."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards ``module``."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, current in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(current, 1 - decay)


@contextmanager
def _short_products() -> Iterator[None]:
    """Within, products of float32 matrices take bfloat16 factors (TF32 on CUDA): SOAP's rotations need no more."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class ProgressLine:
    """Says where a run stands on stderr, unless quiet: a rewritten line on a terminal, a plain one now and then."""

    def __init__(self) -> None:
        self._quiet = sys.stderr is None or volume.get() == Volume.quiet
        self._terminal = on_terminal()
        self._every = 1.0 if self._terminal else 30.0
        self._last = -math.inf

    def show(self, text: str) -> None:
        """Show ``text`` unless the last line is too recent."""
        now = time.monotonic()
        if now - self._last >= self._every and not self._quiet:
            self._last = now
            print(("\r\x1b[K" if self._terminal else "") + text, file=sys.stderr, end="" if self._terminal else "\n")
            sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Optimisation:
    """How a stage is optimised: SOAP (arXiv:2409.11321) with a warm-up, a cosine and a moving average."""

    learning_rate: float
    final_learning_rate: float
    warmup: int
    clip: float
    ema: float
    budget: Budget


@dataclass(frozen=True, slots=True)
class SideLoss:
    """One more loss, with parameters and an Adam of its own, computed after the main loss, which does not train them.

    ``module`` has them where the main module has not; it is then saved beside it.
    """

    parameters: Sequence[nn.Parameter]
    compute: Callable[[], Tensor]
    learning_rate: float
    module: nn.Module | None = None


def optimise(
    module: nn.Module,
    compute_loss: Callable[[], tuple[Tensor, Mapping[str, Tensor]]],
    how: Optimisation,
    output: Path,
    recipe: Mapping[str, Any],
    device: torch.device,
    save_every: float,
    side: SideLoss | None = None,
) -> None:
    """Train ``module``; save it (``model.``), its moving average (``ema.``) and the optimizers to ``output``, float32.

    A module of ``side`` is saved too (``side.``).
    Continues from ``output`` if that exists, and leaves it alone where its budget was spent. ``compute_loss`` draws a
    batch and returns the loss and what to show.
    Raises UsageError when ``output`` was begun beside another base codec than the recipe names, or with other
    optimizers, and WeightsError when it is of another network.
    """
    aside = {id(p) for p in side.parameters} if side else set()
    weights = [p for p in module.parameters() if p.requires_grad and id(p) not in aside]
    optimizer = SOAP(
        weights, lr=how.learning_rate, betas=(0.95, 0.95), precondition_frequency=10, max_precondition_dim=520
    )
    optimizers: dict[str, torch.optim.Optimizer] = {"soap": optimizer}
    if side:
        optimizers["adam"] = torch.optim.Adam(side.parameters, lr=side.learning_rate)
    average = MovingAverage(module, how.ema)
    saved = {"model.": module, "ema.": average.module}
    if side and side.module is not None:
        saved["side."] = side.module
    step, before = 0, 0.0
    if output.exists():
        earlier = TrainingRun.read(output)
        earlier.check_base(recipe.get("base"))
        recipe = {**recipe, **{key: earlier.recipe[key] for key in ("start",) if key in earlier.recipe}}
        if absent := optimizers.keys() - earlier.optimizers.keys():
            raise UsageError(f"{output} was begun without {', '.join(sorted(absent))}; give it to --start instead")
        for prefix, part in saved.items():
            load_into(part, load_prefixed(output, prefix), output)
        for name, one in optimizers.items():
            restore_optimizer(one, load_prefixed(output, ""), earlier.optimizers[name])
        step, before = earlier.steps, earlier.seconds
        if how.budget.progress(step, before) >= 1:
            complain(f"{output} has had {step} steps in {before / 60:.0f} minutes, all that it was to have")
            return
    line, smooth = ProgressLine(), dict[str, float]()
    begun = last_save = time.monotonic()

    def save() -> None:
        state = {"step": step, "seconds": before + time.monotonic() - begun, "device": str(device)}
        save_run(output, recipe, state, saved, optimizers)

    while (progress := how.budget.progress(step, before + time.monotonic() - begun)) < 1:
        rate = learning_rate(how.learning_rate, how.final_learning_rate, how.warmup, step, progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, shown = compute_loss()
        for one in optimizers.values():
            one.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(weights, how.clip)
        if torch.isfinite(norm):
            with _short_products():
                optimizer.step()
        if side:
            optimizers["adam"].zero_grad(set_to_none=True)
            torch.autograd.backward(side.compute())
            optimizers["adam"].step()
        average.update(module, step)
        step += 1
        for key, value in {"loss": loss, **shown, "norm": norm}.items():
            number = float(value.detach())
            smooth[key] = 0.98 * smooth.get(key, number) + 0.02 * number
        spent = before + time.monotonic() - begun
        left = spent * (1 - progress) / progress if progress else math.nan
        text = " ".join(f"{key} {value:.4f}" for key, value in smooth.items())
        line.show(f"step {step}  {text}  lr {rate:.1e}  {spent / step:.2f} s a step  {left / 60:.0f} min left")
        if time.monotonic() - last_save > 60 * save_every:
            save()
            last_save = time.monotonic()
    save()
