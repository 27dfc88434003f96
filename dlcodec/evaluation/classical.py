"""BPG and VTM through CompressAI's wrappers, where their programs are installed."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dlcodec.errors import DlcodecError, UsageError
from dlcodec.picture import RGB

_VTM_FOLDER = "DLCODEC_VTM"


@dataclass(frozen=True, slots=True)
class ClassicalPeer:
    """A codec of ``compressai.utils.bench``; its quality is the quantisation parameter, so that less is better."""

    name: str
    qualities: tuple[int, ...]
    wrapper: Any

    def code(self, rgb: RGB, quality: float) -> tuple[int, RGB]:
        """Encode and decode (H, W, 3) uint8; the size of the file in bytes and the decoded picture.

        Raises DlcodecError when a program of the codec fails.
        """
        height, width = rgb.shape[:2]
        with tempfile.TemporaryDirectory(prefix="dlcodec-") as folder:
            source = Path(folder) / "original.png"
            Image.fromarray(rgb).save(source)
            try:
                with _tidy(folder):
                    told, decoded = self.wrapper.run(str(source), int(quality), metrics=[], return_rec=True)
            except (SystemExit, OSError, ValueError) as error:  # CompressAI exits when a program fails
                raise DlcodecError(f"{self.name} failed at quality {quality:g} ({error})") from error
        return round(told["bpp"] * height * width / 8), np.array(decoded.convert("RGB"))


@contextmanager
def _tidy(folder: str) -> Iterator[None]:
    """What CompressAI leaves behind when a program fails: its files in ``folder``, none open; its words on stderr."""
    from compressai.utils.bench import codecs

    made: list[tuple[int, os.stat_result]] = []

    def mkstemp(suffix: str) -> tuple[int, str]:
        number, path = tempfile.mkstemp(suffix, dir=folder)
        made.append((number, os.fstat(number)))
        return number, path

    theirs, codecs.mkstemp = codecs.mkstemp, mkstemp
    try:
        with redirect_stdout(sys.stderr or io.StringIO()):
            yield
    finally:
        codecs.mkstemp = theirs
        for number, status in made:
            with suppress(OSError):  # it was closed, and its number may be another file's by now
                if os.path.samestat(os.fstat(number), status):
                    os.close(number)


def _wrap(name: str, arguments: list[str]) -> Any:
    try:
        from compressai.utils.bench import codecs
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch raises the latter
        reason = f"peer {name} needs the package compressai ({error}); pip install 'dlcodec[train]'"
        raise UsageError(reason) from error

    kind = {"bpg": codecs.BPG, "vtm": codecs.VTM}[name]
    parser = argparse.ArgumentParser()
    kind.setup_args(parser)
    return kind(parser.parse_args(arguments))


def load_bpg() -> ClassicalPeer:
    """BPG at 4:4:4, 8 bit, x265; raises UsageError without CompressAI, or ``bpgenc`` and ``bpgdec`` on the path."""
    for program in ("bpgenc", "bpgdec"):
        if shutil.which(program) is None:
            raise UsageError(f"peer bpg needs the program {program} of libbpg on the path")
    return ClassicalPeer("bpg", (47, 43, 39, 35, 31, 27), _wrap("bpg", []))


def load_vtm() -> ClassicalPeer:
    """VTM, intra, 4:4:4; raises UsageError without CompressAI, or a built VTM in the folder ``$DLCODEC_VTM``."""
    root = Path(os.environ.get(_VTM_FOLDER, ""))
    config = root / "cfg" / "encoder_intra_vtm.cfg"
    needed = [root / "bin" / "EncoderAppStatic", root / "bin" / "DecoderAppStatic", config]
    if _VTM_FOLDER not in os.environ or not all(path.is_file() for path in needed):
        raise UsageError(f"peer vtm needs ${_VTM_FOLDER}, a VTM folder with bin/EncoderAppStatic and {config.name}")
    return ClassicalPeer("vtm", (47, 42, 37, 32, 27, 22), _wrap("vtm", ["-b", str(root / "bin"), "-c", str(config)]))
