"""The whole decoder with tiny weights: any file, with its model, its latent digest and its checksum made right.

Thereby payloads that no encoder wrote get as far as fusion, synthesis and the picture. The family is the file's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import dlcodec
from dlcodec import container
from dlcodec.checkpoint import DEFAULT_FAMILY, Checkpoint, read_metadata
from dlcodec.codecs.base import CodingStep, Integers
from dlcodec.coding import run_steps
from dlcodec.entropy.coder import Decoder
from dlcodec.errors import DlcodecError
from dlcodec.families import FAMILIES
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.loading import load_codec
from tests.forged import seal

_GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"
WEIGHTS = {"mean-scale": _GOLDEN / "tiny-3" / "weights", "cheng2020": _GOLDEN / "tiny-4" / "weights"}
"""Of each family, the folder of a tiny base and its fusion network."""
LIMITS = Limits(side=192, pixels=2**14, file_bytes=2**16, weights_bytes=DEFAULT_LIMITS.weights_bytes)
_FAMILY = 8
_MODEL = slice(14, 22)
_DIGEST = slice(22, 26)
_NAMES = {family.number: family.name for family in FAMILIES}


def base_of(family: str) -> Checkpoint:
    """The tiny base of a family."""
    return read_metadata(WEIGHTS[family] / family / "base.safetensors")


def check(data: bytes) -> bool:
    """A file is refused by an error of ours, or gives a picture of its header's size, the same twice.

    Returns whether there is a picture.
    """
    body = bytearray(data)
    if len(body) < _DIGEST.stop + 4:
        return False
    del body[-4:]
    family = _NAMES.get(body[_FAMILY], DEFAULT_FAMILY)
    found = base_of(family)
    body[_MODEL] = found.short_digest
    try:
        file = container.unpack(seal(bytes(body)), LIMITS)
        assert file.header.family == family
        body[_DIGEST] = _decoded_digest(file, found).to_bytes(4, "little")
        with mock.patch.dict(os.environ, {"DLCODEC_WEIGHTS": str(WEIGHTS[family])}):
            picture = dlcodec.decode(seal(bytes(body)), device="cpu", precision="fp32", steps=2)
            base = dlcodec.decode(seal(bytes(body)), tau=1, device="cpu")
            again = dlcodec.decode(seal(bytes(body)), tau=1, device="cpu")
    except DlcodecError:
        return False
    assert picture.size == base.size == (file.header.width, file.header.height)
    assert np.array_equal(base, again)
    return True


def _decoded_digest(file: container.Container, found: Checkpoint) -> int:
    """The digest of all integers that the payload decodes to, zero where it decodes to none."""
    codec = load_codec(found, torch.device("cpu"))
    header = file.header
    if header.level > (codec.levels - 1) * container.LEVEL_STEPS:
        return 0
    height, width = (side + -side % codec.stride for side in (header.height, header.width))
    decoder = Decoder(codec.models, file.payload)

    def code(step: CodingStep) -> Integers:
        return decoder.decode(step.index.ravel()).reshape(step.index.shape)

    return run_steps(codec.coding_steps(height, width, header.level, None), code)[1]
