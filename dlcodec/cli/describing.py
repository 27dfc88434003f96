"""The command ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dlcodec.cli.options import MaxPixels
from dlcodec.console import complain, show
from dlcodec.errors import DlcodecError


def _line(key: str, value: Any) -> str:
    shown = "none" if value is None else f"{value:.6g}" if isinstance(value, float) else value
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    elif isinstance(value, dict):
        shown = ", ".join(f"{kind} {size} bytes" for kind, size in value.items())
    return f"{key.replace('_', ' '):<15} {shown}"


def info(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The .dlc files to describe.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array with one object a file.")] = False,
    max_pixels: MaxPixels = None,
) -> None:
    """Describe .dlc files without decoding them."""
    import json
    from dataclasses import asdict

    from dlcodec.files import read_bounded
    from dlcodec.info import describe
    from dlcodec.limits import DEFAULT_LIMITS

    limits = DEFAULT_LIMITS.allow(max_pixels, None)
    described: list[dict[str, Any]] = []
    worst: DlcodecError | None = None
    for path in files:
        try:
            described.append({"file": str(path), **asdict(describe(read_bounded(path, limits.file_bytes), limits))})
        except DlcodecError as error:
            complain(f"{path}: {error}")
            worst = worst or error
    if as_json:
        show(json.dumps(described, indent=2))
    elif described:
        show("\n\n".join("\n".join(_line(*pair) for pair in entry.items()) for entry in described))
    if worst:
        raise typer.Exit(worst.exit_code)
