"""The command ``info``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from dlcodec.cli.options import MaxPixels
from dlcodec.console import complain, printable, show
from dlcodec.errors import DlcodecError


def _line(key: str, value: Any) -> str:
    shown = "none" if value is None else f"{value:.6g}" if isinstance(value, float) else value
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    elif isinstance(value, dict):
        shown = ", ".join(f"{kind} {size} bytes" for kind, size in value.items())
    return f"{key.replace('_', ' '):<15} {printable(str(shown))}"


def _weights(entry: dict[str, Any], model: str) -> dict[str, Any]:
    """The paths of the weights, among those that ``model`` names, that decode a file and that serve it below tau 1."""
    from dlcodec.errors import WeightsError
    from dlcodec.files import readable
    from dlcodec.installed import find_fusion
    from dlcodec.selection import base_to_decode

    found: dict[str, Any] = {"weights": None, "fusion": None}
    with suppress(WeightsError):
        base = base_to_decode(model, entry["family"], bytes.fromhex(entry["model_digest"]))
        found["weights"] = readable(str(base.path))
        found["fusion"] = readable(str(find_fusion(base).path))
    return found


def info(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The .dlc files to describe.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array with one object a file.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Weights as for decode: also say which of them would decode the file.",
            show_default="none",
        ),
    ] = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Describe .dlc files without decoding them; with --model, also which of its weights would decode them."""
    import json
    from dataclasses import asdict

    from dlcodec.files import read_bounded, readable
    from dlcodec.info import describe
    from dlcodec.limits import DEFAULT_LIMITS

    limits = DEFAULT_LIMITS.allow(max_pixels, None)
    described: list[dict[str, Any]] = []
    worst: DlcodecError | None = None
    for path in files:
        try:
            data = read_bounded(path, limits.file_bytes)
            entry = {"file": readable(str(path)), **asdict(describe(data, limits))}
            described.append(entry if model is None else {**entry, **_weights(entry, model)})
        except DlcodecError as error:
            complain(f"{path}: {error}")
            worst = worst or error
    if as_json:
        show(json.dumps(described, indent=2))
    elif described:
        show("\n\n".join("\n".join(_line(*pair) for pair in entry.items()) for entry in described))
    if worst:
        raise typer.Exit(worst.exit_code)
