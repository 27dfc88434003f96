"""The files that a command line names: files, folders, patterns and lists, in an order that never changes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from dlcodec.errors import InputError, UsageError
from dlcodec.files import readable
from dlcodec.streams import STREAM, read_input

_MAGIC = frozenset("*?[")
_MOST_LIST_BYTES = 2**26
_MOST_SUFFIXES = 8
Reason = Literal["suffix", "link", "kind"]
"""Why a file of a folder or pattern is left out: another suffix, a link that leads out, nothing that is a file."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input file, and where it lies below the folder or the fixed part of the pattern that brought it.

    With a ``fault`` it is a folder instead, whose files nobody knows.
    """

    path: Path
    relative: Path
    fault: InputError | None = None


@dataclass(frozen=True, slots=True)
class _Gathering:
    """What all parts of one search share: ``suffixes`` choose the files of folders, ``left_out`` has the others."""

    suffixes: frozenset[str]
    recursive: bool
    left_out: dict[Path, Reason]

    def path(self, text: str) -> Iterator[Source]:
        """A file as it is, whatever its suffix and whether it exists; the files of a folder."""
        path = Path(text) if Path(text) != STREAM else Path.cwd() / STREAM
        if not _is_folder(path):
            yield Source(path, Path(path.name))
        elif self.recursive:
            yield from self.folder(path)
        else:
            raise UsageError(f"{text} is a folder; -r takes the files in it")

    def folder(self, root: Path) -> Iterator[Source]:
        """The plain files below a folder that have one of the suffixes; nothing hidden, nothing outside of it."""
        found = _matches(root, ("**", "*"), hidden=False)
        for path, fault in list(found.items()):
            # A folder is a link here, which is told of where it leads out.
            if not fault and path.suffix.lower() not in self.suffixes and not _is_folder(path):
                self.left_out[path] = "suffix"
                del found[path]
        yield from self._inside(root, found)

    def pattern(self, text: str) -> Iterator[Source]:
        """The plain files that match a pattern of ``*``, ``?``, ``[...]`` and ``**``; as a shell, nothing hidden."""
        parts = Path(text).parts
        fixed = next(place for place, part in enumerate(parts) if _MAGIC & set(part))
        root = Path(*parts[:fixed])
        hidden = any(part.startswith(".") for part in parts[fixed:])
        if any("**" in part != "**" for part in parts):
            raise UsageError(f"{text} is no pattern: ** stands for folders, alone between slashes")
        if ".." in parts[fixed:]:
            raise UsageError(f"{text} is no pattern: .. has to stand before the first *, ? or [")
        files = list(self._inside(root, _matches(root, parts[fixed:], hidden=hidden)))
        if not files:
            raise InputError(f"no file matches {text}{self.but()}")
        yield from files

    def but(self) -> str:
        """What follows the sentence that there is no file."""
        return f"; {describe_left_out(self.left_out)}" if self.left_out else ""

    def _inside(self, root: Path, found: dict[Path, InputError | None]) -> Iterator[Source]:
        """The faults, and what is a plain file and, followed to its end, lies below ``root``; sorted by their bytes."""
        top = Path(os.path.realpath(root))
        for path in sorted(found, key=lambda path: [os.fsencode(part) for part in path.parts]):
            if fault := found[path]:
                yield Source(path, path.relative_to(root), fault)
            elif not Path(os.path.realpath(path)).is_relative_to(top):
                self.left_out[path] = "link"
            elif os.path.isfile(path):
                yield Source(path, path.relative_to(root))
            elif not _is_folder(path):  # whose files are met in their own place
                self.left_out[path] = "kind"


def _matches(root: Path, parts: tuple[str, ...], *, hidden: bool) -> dict[Path, InputError | None]:
    """What below ``root`` matches the parts of a pattern, folders aside, and with their fault folders that hide it.

    ``**`` stands for folders at any depth; links to folders are not walked but found themselves.
    """
    found: dict[Path, InputError | None] = {}
    folders = [(root, {parts})]
    while folders:
        folder, goals = folders.pop()  # what the entries of a folder are to match: every goal by itself
        goals |= {goal[depth:] for goal in goals for depth in range(len(goal)) if {*goal[:depth]} == {"**"}}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") and not hidden:
                        continue
                    deeper = {goal[1:] for goal in goals if fnmatch(entry.name, goal[0])}
                    if not entry.is_dir(follow_symlinks=False):
                        if () in deeper or (deeper and entry.is_symlink() and _is_folder(folder / entry.name)):
                            found[folder / entry.name] = None
                    elif deeper := {goal for goal in goals if goal[0] == "**"} | deeper - {()}:
                        folders.append((folder / entry.name, deeper))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found[folder] = InputError(f"cannot read {folder}: {error.strerror or error}")
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name longer than the system takes; reading it says so
        return False


def _lines(text: str) -> Iterator[str]:
    """The paths in ``@list.txt``, one a line, relative to the working folder; ``@-`` reads standard input."""
    for line in read_input(Path(text[1:]), _MOST_LIST_BYTES).split(b"\n"):
        if name := line.removesuffix(b"\r"):
            if b"\0" in name:
                raise InputError(f"{text[1:]} is not a list of paths: it has a zero byte")
            yield os.fsdecode(name)


def describe_left_out(left_out: Mapping[Path, Reason]) -> str:
    """How many files were left out, and why, in one line."""
    reasons = Counter(left_out.values())
    suffixes = Counter(path.suffix.lower() or "none" for path, reason in left_out.items() if reason == "suffix")
    named = [suffix for suffix, _ in suffixes.most_common(_MOST_SUFFIXES)]
    said: dict[Reason, str] = {
        "suffix": f"by suffix ({', '.join(named)}{', ...' if len(suffixes) > len(named) else ''})",
        "link": "as links out of their folder",
        "kind": "as no plain files",
    }
    parts = ", ".join(f"{reasons[reason]} {words}" for reason, words in said.items() if reason in reasons)
    return f"{len(left_out)} file{'s' * (len(left_out) > 1)} left out: {parts}"


def gather(
    inputs: Sequence[str], suffixes: frozenset[str], *, recursive: bool, leave: Callable[[Path, Reason], None]
) -> list[Source]:
    """All files that the inputs name, in the order of the inputs and sorted within each.

    An input is ``-``, ``@list``, a pattern that is no file's name, or the path of a file or folder. Of folders, files
    with one of the ``suffixes`` (in lower case, with their dot) are taken, and links are followed only to files inside.
    A folder that cannot be read is a Source with its fault. ``leave`` is called with every file of a folder or pattern
    that is left out, but for hidden ones, and with the reason. Raises InputError and UsageError.
    """
    gathering = _Gathering(suffixes, recursive, {})
    sources: list[Source] = []
    for text in inputs:
        if text == str(STREAM):
            sources.append(Source(STREAM, STREAM))
        elif text.startswith("@"):
            for line in _lines(text):
                sources += gathering.path(line)
        elif _MAGIC & set(text) and not os.path.lexists(text):
            sources += gathering.pattern(text)
        elif text:
            sources += gathering.path(text)
        else:
            raise UsageError("an input has an empty name")
    if not sources:
        wanted = ", ".join(sorted(suffixes))
        raise InputError(
            f"{readable(', '.join(inputs))}: no input files there (of a folder, {wanted} are taken){gathering.but()}"
        )
    taken = {os.path.abspath(source.path) for source in sources}  # one may be named besides
    for path, reason in gathering.left_out.items():
        if os.path.abspath(path) not in taken:
            leave(path, reason)
    return sources
