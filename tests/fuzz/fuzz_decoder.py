"""The whole decoder with tiny weights: any file, with its model, its latent digest and its checksum made right.

Thereby payloads that no encoder wrote get as far as fusion, synthesis and the picture.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import dlcodec
from dlcodec import container
from dlcodec.checkpoint import read_metadata
from dlcodec.codecs.base import CodingStep, Integers
from dlcodec.coding import run_steps
from dlcodec.entropy.coder import Decoder
from dlcodec.errors import DlcodecError
from dlcodec.limits import DEFAULT_LIMITS, Limits
from dlcodec.loading import load_codec
from tests.forged import seal

WEIGHTS = Path(__file__).resolve().parents[1] / "golden" / "v1" / "tiny-3" / "weights"
LIMITS = Limits(side=192, pixels=2**14, file_bytes=2**16, weights_bytes=DEFAULT_LIMITS.weights_bytes)
_MODEL = slice(14, 22)
_DIGEST = slice(22, 26)


def check(data: bytes) -> bool:
    """A file is refused by an error of ours, or gives a picture of its header's size, the same twice.

    Returns whether there is a picture.
    """
    found = read_metadata(WEIGHTS / "mean-scale" / "base.safetensors")
    body = bytearray(data)
    if len(body) < _DIGEST.stop + 4:
        return False
    del body[-4:]
    body[_MODEL] = found.short_digest
    try:
        file = container.unpack(seal(bytes(body)), LIMITS)
        body[_DIGEST] = _decoded_digest(file).to_bytes(4, "little")
        with mock.patch.dict(os.environ, {"DLCODEC_WEIGHTS": str(WEIGHTS)}):
            picture = dlcodec.decode(seal(bytes(body)), device="cpu", precision="fp32", steps=2)
            base = dlcodec.decode(seal(bytes(body)), tau=1, device="cpu")
            again = dlcodec.decode(seal(bytes(body)), tau=1, device="cpu")
    except DlcodecError:
        return False
    assert picture.size == base.size == (file.header.width, file.header.height)
    assert np.array_equal(base, again)
    return True


def _decoded_digest(file: container.Container) -> int:
    """The digest of all integers that the payload decodes to, zero where it decodes to none."""
    codec = load_codec(read_metadata(WEIGHTS / "mean-scale" / "base.safetensors"), torch.device("cpu"))
    header = file.header
    if header.level > (codec.levels - 1) * container.LEVEL_STEPS:
        return 0
    height, width = (side + -side % codec.stride for side in (header.height, header.width))
    decoder = Decoder(codec.models, file.payload)

    def code(step: CodingStep) -> Integers:
        return decoder.decode(step.index.ravel()).reshape(step.index.shape)

    return run_steps(codec.coding_steps(height, width, header.level, None), code)[1]
