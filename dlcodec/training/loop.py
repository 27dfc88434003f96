"""What every stage shares: schedule, moving average, checkpoints, and one line of progress."""

from __future__ import annotations

import copy
import json
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


def save_atomically(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file so that a crash leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def flatten_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> tuple[dict[str, Tensor], str]:
    """An optimizer's state as named tensors and a JSON text of all the rest, without pickle."""
    tensors: dict[str, Tensor] = {}

    def outline(name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value
            return {"tensor": name}
        if isinstance(value, dict):
            return {"items": [[key, outline(f"{name}/{key}", item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return [outline(f"{name}/{number}", item) for number, item in enumerate(value)]
        return value

    return tensors, json.dumps(outline(prefix, optimizer.state_dict()))


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], text: str) -> None:
    """The inverse of ``flatten_optimizer``."""

    def rebuild(node: Any) -> Any:
        if isinstance(node, dict) and "tensor" in node:
            return tensors[node["tensor"]].clone()
        if isinstance(node, dict):
            return {key: rebuild(item) for key, item in node["items"]}
        return [rebuild(item) for item in node] if isinstance(node, list) else node

    optimizer.load_state_dict(rebuild(json.loads(text)))


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
