"""BPG and VTM through CompressAI's wrappers, where their programs are installed."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dlcodec.errors import DlcodecError, UsageError
from dlcodec.image import RGB

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
                told, decoded = self.wrapper.run(str(source), int(quality), metrics=[], return_rec=True)
            except (SystemExit, OSError, ValueError) as error:  # CompressAI exits when a program fails
                raise DlcodecError(f"{self.name} failed at quality {quality:g} ({error})") from error
        return round(told["bpp"] * height * width / 8), np.array(decoded.convert("RGB"))


def _wrap(name: str, arguments: list[str]) -> Any:
    from compressai.utils.bench import codecs

    kind = {"bpg": codecs.BPG, "vtm": codecs.VTM}[name]
    parser = argparse.ArgumentParser()
    kind.setup_args(parser)
    return kind(parser.parse_args(arguments))


def load_bpg() -> ClassicalPeer:
    """BPG at 4:4:4, 8 bit, x265; raises UsageError when ``bpgenc`` or ``bpgdec`` is not on the path."""
    for program in ("bpgenc", "bpgdec"):
        if shutil.which(program) is None:
            raise UsageError(f"peer bpg needs the program {program} of libbpg on the path")
    return ClassicalPeer("bpg", (47, 43, 39, 35, 31, 27), _wrap("bpg", []))


def load_vtm() -> ClassicalPeer:
    """VTM, intra, 4:4:4; raises UsageError unless ``$DLCODEC_VTM`` is the folder of a built VTM."""
    root = Path(os.environ.get(_VTM_FOLDER, ""))
    config = root / "cfg" / "encoder_intra_vtm.cfg"
    needed = [root / "bin" / "EncoderAppStatic", root / "bin" / "DecoderAppStatic", config]
    if _VTM_FOLDER not in os.environ or not all(path.is_file() for path in needed):
        raise UsageError(f"peer vtm needs ${_VTM_FOLDER}, a VTM folder with bin/EncoderAppStatic and {config.name}")
    return ClassicalPeer("vtm", (47, 42, 37, 32, 27, 22), _wrap("vtm", ["-b", str(root / "bin"), "-c", str(config)]))
