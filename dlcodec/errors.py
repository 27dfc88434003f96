"""Every error that dlcodec raises on purpose, with the exit code of its command line.

::

    DlcodecError                 1
    ├── UsageError               2   an argument out of its range, a device that is not there
    ├── InputError               3   the input is missing or unreadable
    ├── CorruptFileError         4   not a dlcodec file, truncated, or damaged
    ├── UnsupportedFileError     5   a newer format, or an unknown family, flag or section
    ├── LimitError               6   larger than the limits allow
    ├── WeightsError             7   weights missing, damaged, or not the ones the file needs
    │   └── NoFusionError        7   a base codec without fusion weights: it decodes at tau 1 only
    ├── OutputError              8   the output exists or cannot be written
    └── LatentMismatchError      9   the decoded latents are not the ones that were encoded
"""

from __future__ import annotations


class DlcodecError(Exception):
    """The root of the tree; ``exit_code`` is what the command line exits with."""

    exit_code = 1


class UsageError(DlcodecError):
    """An argument is out of its range, or asks for something this machine lacks."""

    exit_code = 2


class InputError(DlcodecError):
    """An input file is missing, unreadable, or holds nothing that can be encoded."""

    exit_code = 3


class CorruptFileError(DlcodecError):
    """The bytes are not a whole, undamaged dlcodec file."""

    exit_code = 4


class UnsupportedFileError(DlcodecError):
    """The file is sound but needs a newer reader."""

    exit_code = 5


class LimitError(DlcodecError):
    """The input is larger than the limits allow."""

    exit_code = 6


class WeightsError(DlcodecError):
    """The weights are missing, damaged, or not the ones that are needed."""

    exit_code = 7


class NoFusionError(WeightsError):
    """No fusion weights for this base codec are installed; tau 1 needs none."""


class OutputError(DlcodecError):
    """The output exists already, or cannot be written."""

    exit_code = 8


class LatentMismatchError(DlcodecError):
    """Entropy decoding did not give the latents that were encoded; no picture is made of them."""

    exit_code = 9
