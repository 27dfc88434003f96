"""Write a new set of golden files: ``python -m tests.golden.make 4 cheng2020``. Existing sets are never rewritten."""

from __future__ import annotations

import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from tests.tiny import write_checkpoint, write_fusion

HERE = Path(__file__).parent
CASES = [(1, 1, 0.0), (64, 64, 1.0), (100, 70, 1.5), (129, 33, 2.0)]


def main(number: str, family: str) -> None:
    folder = HERE / number
    folder.mkdir(exist_ok=False)
    write_checkpoint(folder / "weights", family=family)
    write_fusion(folder / "weights", family=family)
    os.environ["DLCODEC_WEIGHTS"] = str(folder / "weights")
    from dlcodec.checkpoint import find
    from dlcodec.container import unpack
    from dlcodec.image import load
    from dlcodec.info import describe
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.pipeline import decode_image, decode_latent, encode_image, load_codec

    photo = load(HERE.parents[1] / "dlcodec" / "samples" / "coffee.png", DEFAULT_LIMITS)
    codec = load_codec(find(family), torch.device("cpu"))
    expected = {}
    for width, height, level in CASES:
        data = encode_image(photo[150 : 150 + height, 200 : 200 + width], level, "cpu", family=family)
        name = f"{width}x{height}-q{level:g}.dlc"
        (folder / name).write_bytes(data)
        np.save((folder / name).with_suffix(".npy"), decode_image(data, 1.0, "cpu"))
        np.save((folder / name).with_suffix(".tau0.npy"), decode_image(data, 0.0, "cpu", precision="fp32"))
        latent = decode_latent(unpack(data, DEFAULT_LIMITS), codec)
        expected[name] = {
            "latent": describe(data).latent_digest,
            "fixed_point": f"{zlib.crc32(latent.astype('<i4').tobytes()):08x}",
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
