"""Training checkpoints: float32 safetensors with all that a run needs to go on, and how it was made. No pickle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dlcodec import checkpoint
from dlcodec.errors import UsageError, WeightsError
from dlcodec.files import make_folder, write_atomically


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a training checkpoint says of itself: recipe, state, and an outline of each optimizer by its name."""

    path: Path
    recipe: Mapping[str, Any]
    state: Mapping[str, Any]
    optimizers: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> TrainingRun:
        """Its tensors are not read. Raises WeightsError for what is no training checkpoint."""
        try:
            with safe_open(path, "pt") as handle:
                texts = handle.metadata() or {}
            return cls(path, json.loads(texts.pop("recipe")), json.loads(texts.pop("state")), texts)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} is no training checkpoint") from error

    @property
    def steps(self) -> int:
        """How many steps it has had."""
        return int(self.state["step"])

    @property
    def seconds(self) -> float:
        """How long they took."""
        return float(self.state["seconds"])

    @property
    def is_fusion(self) -> bool:
        """Whether it is of stage 3."""
        return "params" in self.recipe

    def check_base(self, digest: str | None) -> None:
        """Raise UsageError where it was not trained beside this base; None for what is a base itself."""
        if (its_base := self.recipe.get("base")) != digest:
            beside = f"another base, {its_base[:16]}" if its_base else "no base: it is one"
            raise UsageError(f"{self.path} was trained beside {beside}")


def steps_done(output: Path) -> int:
    """The step that a training checkpoint stands at, 0 where there is none: part of the seed of a resumed run."""
    return TrainingRun.read(output).steps if output.exists() else 0


def save_run(
    path: Path,
    recipe: Mapping[str, Any],
    state: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Write a training checkpoint, its modules under their prefixes, so that a crash leaves the old one whole."""
    tensors = {prefix + name: t for prefix, module in modules.items() for name, t in module.state_dict().items()}
    texts = {"state": json.dumps(state), "recipe": json.dumps(recipe)}
    for name, optimizer in optimizers.items():
        flat, texts[name] = flatten_optimizer(optimizer, name)
        tensors.update(flat)
    make_folder(path.parent)
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, texts), force=True)


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


def is_exported(path: Path) -> bool:
    """Whether a safetensors file is a checkpoint that ships, and no training checkpoint."""
    with safe_open(path, "pt") as handle:
        return "config" in (handle.metadata() or {})


def load_prefixed(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a training checkpoint, or of an exported one, whose names start with ``prefix``, without it."""
    if is_exported(path):
        arrays = checkpoint.load_arrays(checkpoint.read_metadata(path))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    else:
        tensors = load_file(path)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load all of a module; raises WeightsError where the tensors of ``path`` are of another network."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise WeightsError(f"{path} is of another network than these options describe: {lines[:200]}") from error


def refuse_start(start: Path | None, output: Path) -> None:
    """Raise UsageError where a run that exists is told to begin elsewhere."""
    if start is not None and output.exists():
        raise UsageError(f"{output} exists, and training continues from it; leave --start out, or name another output")


def current_commit() -> str:
    """The short name of the commit of this code, for training records; ``unknown`` outside of a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return "unknown"
    return answer.stdout.strip() or "unknown"
