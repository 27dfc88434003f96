"""The command ``train``."""

from __future__ import annotations

import typer

from dlcodec.errors import UsageError, WeightsError


def train(context: typer.Context) -> None:
    """Train, validate and export codecs and their fusion networks. See train --help."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries deprecate what they use themselves
            from dlcodec.training.__main__ import app
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch raises the latter
        raise UsageError(f"training needs the extra train ({error}); pip install 'dlcodec[train]'") from error
    from safetensors import SafetensorError

    try:
        raise typer.Exit(app(context.args, prog_name="dlcodec train", standalone_mode=False) or 0)
    except SafetensorError as error:
        raise WeightsError(f"a checkpoint or a metric's weights are damaged: {error}") from error
