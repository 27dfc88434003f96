"""The command line. Only typer, rich, the console and the error tree are imported before a command runs."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from typing import Annotated

import typer

from dlcodec import __version__
from dlcodec.cli.benching import bench
from dlcodec.cli.comparing import compare
from dlcodec.cli.decoding import decode
from dlcodec.cli.describing import info
from dlcodec.cli.encoding import encode
from dlcodec.cli.models import models
from dlcodec.cli.showing import demo, evaluate, explore
from dlcodec.cli.starting import reuse_memory, wait_briefly
from dlcodec.cli.training import train
from dlcodec.console import Volume, complain, show, volume
from dlcodec.errors import DlcodecError, OutputError, UsageError

app = typer.Typer(
    name="dlcodec",
    help="A neural image codec. Exit codes: 0 ok, 1 bug, 2 usage, 3 input, 4 corrupt, 5 unsupported, 6 over a limit, "
    "7 weights, 8 output, 9 latent mismatch, 129 hung up, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        show(f"dlcodec {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Errors and warnings only: no notes, no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also stages and their seconds, on stderr.")] = False,
) -> None:
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other")
    volume.set(Volume.quiet if quiet else Volume.verbose if verbose else Volume.normal)


for _command in (encode, decode, info, compare, demo, explore, bench):
    app.command()(_command)
for _name, _group in (("eval", evaluate), ("train", train)):  # they read their arguments themselves
    app.command(
        name=_name,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(_group)
app.add_typer(models, name="models")


def _terminate(number: int, _: object) -> None:
    """End as for an interrupt, so that no temporary file is left, with the exit code that shells give a signal."""
    signal.signal(number, signal.SIG_IGN)  # a second one would interrupt what the first one cleans up
    sys.exit(128 + number)


def _fault_of_arguments(error: Exception) -> str | None:
    """The sentence of what typer raises for arguments that it refuses; None of any other error."""
    if not hasattr(error, "format_message"):
        return None
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message[:1].lower()}{message[1:]}; see {context.command_path if context else 'dlcodec'} --help"


def main() -> None:
    """Run the command line; every DlcodecError becomes one sentence on stderr and its exit code."""
    debug = "--debug" in sys.argv[1:]
    wait_briefly()
    reuse_memory()
    try:
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # which Windows has not
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup starts a command
                signal.signal(number, _terminate)
        try:
            sys.exit(app(standalone_mode=False) or 0)
        except OSError as error:  # of help or a table; what concerns a file has its name
            if error.filename is None and error.errno in (errno.ENOSPC, errno.EPIPE, errno.EIO):
                raise OutputError(f"cannot write to standard output: {error.strerror}") from error
            raise
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        fault = _fault_of_arguments(error)
        if debug and sys.stderr:
            traceback.print_exc()
        elif fault:
            complain(fault)
        elif isinstance(error, DlcodecError):
            complain(str(error))
        else:
            complain(f"internal error ({type(error).__name__}: {error}); --debug shows where")
        sys.exit(error.exit_code if isinstance(error, DlcodecError) else 2 if fault else 1)
