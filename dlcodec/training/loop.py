"""What every stage shares: schedule, moving average, checkpoints, and one line of progress."""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: ``steps``, or ``minutes`` of wall-clock time when steps is None."""

    steps: int | None
    minutes: float | None

    def progress(self, step: int, seconds: float) -> float:
        """The fraction done, in [0, 1]; 1 means stop."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
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


def save_atomically(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file so that a crash leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors (lists of tensors become numbered names), without pickle."""
    flat: dict[str, Tensor] = {}

    def put(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            flat[name] = value
        elif isinstance(value, int | float):
            flat[name] = torch.tensor(value, dtype=torch.float64)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                put(f"{name}.{index}", item)

    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            put(f"{index}/{key}", value)
    for number, group in enumerate(optimizer.param_groups):
        flat[f"group/{number}"] = torch.tensor(float(group.get("step", 0)), dtype=torch.float64)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """The inverse of ``flatten_optimizer``."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in flat.items():
        owner, _, key = name.partition("/")
        if owner == "group":
            optimizer.param_groups[int(key)]["step"] = int(tensor.item())
            continue
        slot = state.setdefault(int(owner), {})
        key, _, position = key.partition(".")
        if position:
            items = slot.setdefault(key, [])
            items.extend([[]] * (int(position) + 1 - len(items)))
            items[int(position)] = tensor.clone()
        else:
            slot[key] = tensor.item() if tensor.ndim == 0 and key == "step" else tensor.clone()
    whole = optimizer.state_dict()
    whole["state"] = state
    optimizer.load_state_dict(whole)


def load_prefixed(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a training checkpoint whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in load_file(path).items() if name.startswith(prefix)}


class ProgressLine:
    """Says where a run stands on stderr: a rewritten line on a terminal, a plain line now and then elsewhere."""

    def __init__(self, every: float = 30.0) -> None:
        self._terminal = sys.stderr.isatty()
        self._every = 1.0 if self._terminal else every
        self._last = -math.inf

    def show(self, text: str) -> None:
        """Show ``text`` unless the last line is too recent."""
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            print(("\r\x1b[K" if self._terminal else "") + text, file=sys.stderr, end="" if self._terminal else "\n")
            sys.stderr.flush()
