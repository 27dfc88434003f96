"""The commands ``models list``, ``show``, ``verify``, ``record`` and ``import``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dlcodec.cli.options import Force
from dlcodec.console import aligned, complain, printable, say, show
from dlcodec.errors import LimitError, UsageError, WeightsError

models = typer.Typer(
    help="The weights that are installed: list, show, verify, record; import those of CompressAI.", no_args_is_help=True
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="Beginnings of digests, or paths of files.", show_default="all"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON array with one object a model.")]


def _each(names: list[str] | None, describe: Callable[[Path], dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """What each model gives, and the exit code; a damaged model is told of and hides no other."""
    from dlcodec.models import choose

    given: list[dict[str, Any]] = []
    code = 0
    for path in list(choose(names or [])):
        try:
            given.append(describe(path))
        except (LimitError, WeightsError) as error:
            complain(str(error))
            code = error.exit_code
    return given, code


def _finish(entries: list[dict[str, Any]], code: int, *, as_json: bool, text: Callable[[dict[str, Any]], str]) -> None:
    import json

    if as_json:
        show(json.dumps(entries, indent=2))
    elif entries:
        show("\n".join(map(text, entries)))
    if code:
        raise typer.Exit(code)


def _described(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from dlcodec.files import readable
    from dlcodec.models import describe

    return {**asdict(describe(path)), "path": readable(str(path))}


def _listed(model: dict[str, Any]) -> str:
    if model["role"] == "base":
        what = f"{model['levels']} level{'s' if model['levels'] > 1 else ''}"
        for name, measured in (model["results"] or {}).items():
            ends = dict.fromkeys(f"{measured['rows'][end]['bpp']:.3f}" for end in (0, -1))
            what += f", {' to '.join(ends)} bpp on {name}"
        what += f", {model['orientation']}" if model["orientation"] else ""
    else:
        what = f"for base {model['base'][:16]}"
    size = f"{model['parameters']:,} parameters, {model['file_bytes']:,} bytes"
    return printable(f"{model['role']} {model['family']} {model['digest'][:16]}: {what}, {size}, {model['path']}")


def _shown(model: dict[str, Any]) -> str:
    import json

    lines = []
    for key, value in model.items():
        if key == "results":
            for name, measured in (value or {}).items():
                lines += [f"results on {name}, {measured['images']} images, means:", *_table(measured["rows"])]
        elif isinstance(value, dict):
            lines += [f"{key}:", *(f"  {name:<24} {json.dumps(value[name])}" for name in sorted(value))]
        elif value is not None:
            text = f"{value:,}" if key in ("file_bytes", "parameters") else value
            text = " ".join(map(str, value)) if isinstance(value, tuple) else text
            lines.append(f"{key.replace('_', ' '):<26} {text}")
    return "\n".join(map(_plain, lines)) + "\n"


def _table(rows: list[dict[str, float]]) -> list[str]:
    digits = {name: "g" if name in ("level", "tau") else ".4f" for name in rows[0]}
    cells = [[format(row[name], digits[name]) for name in digits] for row in rows]
    return [f"  {line}" for line in aligned([list(digits), *cells])]


def _plain(line: str) -> str:
    """As ``printable``, with the columns kept."""
    indent = len(line) - len(line.lstrip())
    return " " * indent + "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line[indent:])


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the base and fusion weights of all weight folders, in the order they are looked for."""
    entries, code = _each(None, _described)
    _finish(entries, code, as_json=as_json, text=_listed)


@models.command("show")
def show_models(names: Names = None, as_json: AsJson = False) -> None:
    """Show all that weights say of themselves: rates, sizes, digests, training record, results."""
    entries, code = _each(names, _described)
    _finish(entries, code, as_json=as_json, text=_shown)


@models.command("verify")
def verify_models(names: Names = None, as_json: AsJson = False) -> None:
    """Check every byte of the tensors and the config against the digest; exit code 7 if one is damaged."""
    from dlcodec.files import readable
    from dlcodec.models import verify

    def verified(path: Path) -> dict[str, Any]:
        verify(path)
        return {"path": readable(str(path)), "sound": True}

    entries, code = _each(names, verified)
    _finish(entries, code, as_json=as_json, text=lambda entry: printable(f"{entry['path']}: sound"))


@models.command("record")
def record_results(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="A folder of results, by dlcodec eval.")],
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Beginnings of digests, or paths of files.")],
    called: Annotated[
        str | None,
        typer.Option("--set", metavar="NAME", help="What the images are.", show_default="the name of their folder"),
    ] = None,
) -> None:
    """Write the means of a run into the weights that it measured; tensors and digest stay as they are."""
    from dlcodec.checkpoint import read_metadata
    from dlcodec.evaluation.record import results_of
    from dlcodec.evaluation.results import read_run
    from dlcodec.files import readable
    from dlcodec.models import choose, record

    run = read_run(results)
    called = readable(called or Path(run.settings.source).name)
    if not called:
        raise UsageError("the folder of the images has no name of its own; give --set")
    measured = [(path, results_of(run, read_metadata(path))) for path in choose(names)]
    for path, means in measured:
        record(path, called, means)
        say(f"{path}: {len(means['rows'])} rows on {called}, {means['images']} images")


@models.command("import")
def import_model(
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of weights to write into.")],
    source: Annotated[
        Path | None, typer.Argument(metavar="[CHECKPOINT]", help="A .pth.tar, .pt or safetensors file of CompressAI.")
    ] = None,
    zoo: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="In place of a file: a model of CompressAI's zoo, mbt2018-mean or cheng2020-attn."
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(metavar="N", help="Of the zoo's model, 1 (smallest files) to 8 (best pictures).")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="What the file holds.", show_default="mean-scale, or the zoo's")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write base-NAME.safetensors: one folder can hold several."),
    ] = None,
    force: Force = False,
) -> None:
    """Convert a checkpoint of CompressAI into weights of ours: one rate level, tau 1, until a fusion is trained."""
    import warnings

    from dlcodec.checkpoint import DEFAULT_FAMILY

    if (source is None) == (zoo is None) or (quality is None) != (zoo is None) or (zoo and family):
        raise UsageError("give a CHECKPOINT and perhaps its --family, or --zoo and --quality")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries deprecate what they use themselves
            from dlcodec.importing import zoo as pretrained
            from dlcodec.importing.command import choose_output, import_source
            from dlcodec.importing.source import read_source
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch raises the latter
        raise UsageError(f"an import needs CompressAI ({error}); pip install 'dlcodec[train]'") from error
    family = pretrained.family(zoo) if zoo else family or DEFAULT_FAMILY
    output = choose_output(folder, family, name, force=force)
    if source is not None:
        read = read_source(source)
    else:
        assert zoo is not None
        assert quality is not None
        read = pretrained.fetch(zoo, quality)
    imported = import_source(read, family, name, output, force=force)
    ours, theirs = imported.comparison.ours, imported.comparison.theirs
    say(f"{output}: digest {imported.digest[:16]}, {ours} on a photograph, {theirs} in CompressAI")
