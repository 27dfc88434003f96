"""Write a new set of golden files: ``python -m tests.golden.make NAME FAMILY``. Existing sets are never rewritten.

A NAME that begins with "shipped" takes the shipped weights, any other a tiny random codec of its own. Pictures are made
on the reference path: one thread, kernels that every x86-64 processor runs alike.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zlib
from pathlib import Path

REFERENCE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
TINY = [(1, 1, 0.0), (64, 64, 1.0), (100, 70, 1.5), (129, 33, 2.0)]
SHIPPED = [(128, 128, 0.0), (128, 128, 3.5), (128, 128, 7.0)]
TOP, LEFT = 192, 0
"""Where the crops of the bundled photograph begin."""


def describe(name: str, family: str, weights: str | None) -> None:
    """Append the set in ``v1/NAME`` to the manifest; ``weights`` as in ``GoldenSet``."""
    import torch

    from dlcodec.coding import decode_latent
    from dlcodec.container import unpack
    from dlcodec.errors import WeightsError
    from dlcodec.installed import find, find_fusion
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.loading import load_codec
    from tests.golden.manifest import FOLDER, GoldenFile, GoldenSet, read, seal, write

    base = find(family)
    try:
        fusion = find_fusion(base).digest
    except WeightsError:
        fusion = None
    codec, files = load_codec(base, torch.device("cpu")), []
    for path in sorted((FOLDER / name).glob("*.dlc")):
        file = unpack(path.read_bytes(), DEFAULT_LIMITS)
        latent = zlib.crc32(decode_latent(file, codec).astype("<i4").tobytes())
        pictures = {
            tau: str(picture.relative_to(FOLDER))
            for tau, ending in (("1", ""), ("0", ".tau0"))
            for picture in path.parent.glob(f"{path.stem}{ending}.[np]*")
        }
        place, header = str(path.relative_to(FOLDER)), file.header
        files.append(GoldenFile(place, header.rate_level, f"{header.latent_digest:08x}", f"{latent:08x}", pictures))
    paths = sorted(path for path in (FOLDER / name).rglob("*") if path.is_file())
    digests = {str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    sets = (*read(), GoldenSet(name, base.family, base.digest, fusion, weights, tuple(files), digests))
    write(sets)
    print(f"for SEALED in tests/test_golden.py: ({len(sets)}, {seal(sets)!r}),")


def main(name: str, family: str) -> None:
    """Make the files of a set, then describe it."""
    folder = Path(__file__).parent / "v1" / name
    folder.mkdir(exist_ok=False)
    shipped = name.startswith("shipped")
    os.environ |= REFERENCE | {"DLCODEC_WEIGHTS": "" if shipped else str(folder / "weights")}
    import torch
    from PIL import Image

    from dlcodec.image import load
    from dlcodec.installed import find
    from dlcodec.limits import DEFAULT_LIMITS
    from dlcodec.pipeline import decode_image, encode_image
    from dlcodec.samples import COFFEE
    from tests.tiny import write_checkpoint, write_fusion

    torch.backends.mkldnn.enabled = False
    if not shipped:
        write_checkpoint(folder / "weights", family=family)
        write_fusion(folder / "weights", family=family)
    photo = load(COFFEE, DEFAULT_LIMITS)
    for width, height, level in SHIPPED if shipped else TINY:
        crop = photo[TOP : TOP + height, LEFT : LEFT + width]
        data = encode_image(crop, level, "cpu", precision="fp32", base=find(family))
        path = folder / f"{width}x{height}-q{level:g}.dlc"
        path.write_bytes(data)
        Image.fromarray(decode_image(data, 1.0, "cpu")).save(folder / f"{path.stem}.png", optimize=True)
        fused = decode_image(data, 0.0, "cpu", precision="fp32")
        Image.fromarray(fused).save(folder / f"{path.stem}.tau0.png", optimize=True)
    describe(name, family, None if shipped else f"{name}/weights")


if __name__ == "__main__":
    main(*sys.argv[1:])
