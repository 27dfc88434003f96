"""The files that a command line names: files, folders, patterns and lists, in an order that never changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from dlcodec.errors import InputError, UsageError
from dlcodec.files import readable
from dlcodec.streams import STREAM, read_input

_MAGIC = frozenset("*?[")
_MOST_LIST_BYTES = 2**26


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
    """What all parts of one search share: ``suffixes`` choose the files of folders, ``note`` tells a person."""

    suffixes: frozenset[str]
    recursive: bool
    note: Callable[[str], None]

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
        found = _matches(root, ("**", "*"), hidden=False).items()
        wanted = {path: fault for path, fault in found if fault or self._is_wanted(path)}
        yield from self._inside(root, wanted)

    def _is_wanted(self, path: Path) -> bool:
        return path.suffix.lower() in self.suffixes or _is_folder(path)  # a link, to be told of where it leads out

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
            raise InputError(f"no file matches {text}")
        yield from files

    def _inside(self, root: Path, found: dict[Path, InputError | None]) -> Iterator[Source]:
        """The faults, and what is a plain file and, followed to its end, lies below ``root``; sorted by their bytes."""
        top = Path(os.path.realpath(root))
        for path in sorted(found, key=lambda path: [os.fsencode(part) for part in path.parts]):
            if fault := found[path]:
                yield Source(path, path.relative_to(root), fault)
            elif not Path(os.path.realpath(path)).is_relative_to(top):
                self.note(f"{path} is left out: it is a link that leads out of {root}")
            elif os.path.isfile(path):
                yield Source(path, path.relative_to(root))


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


def gather(
    inputs: Sequence[str], suffixes: frozenset[str], *, recursive: bool, note: Callable[[str], None]
) -> list[Source]:
    """All files that the inputs name, in the order of the inputs and sorted within each.

    An input is ``-``, ``@list``, a pattern that is no file's name, or the path of a file or folder. Of folders, files
    with one of the ``suffixes`` (in lower case, with their dot) are taken, and links are followed only to files inside.
    A folder that cannot be read is a Source with its fault.
    Raises InputError and UsageError.
    """
    gathering = _Gathering(suffixes, recursive, note)
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
        raise InputError(f"{readable(', '.join(inputs))}: no input files there (of a folder, {wanted} are taken)")
    return sources
