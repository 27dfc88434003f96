from __future__ import annotations

import io
import sys

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dlcodec.errors import UsageError
from dlcodec.evaluation.peers import PEERS, load_peer
from dlcodec.image import psnr

RGB = npt.NDArray[np.uint8]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_gives_files_that_decode_and_grow_in_size_and_quality(name: str, photo: RGB) -> None:
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    peer = load_peer(name)
    picture = photo[:64, :80]
    files = [peer.encode(picture, quality) for quality in (peer.qualities[0], peer.qualities[-1])]
    decoded = [peer.decode(data) for data in files]
    assert len(files[0]) < len(files[1])
    assert psnr(picture, decoded[0]) < psnr(picture, decoded[1])
    with Image.open(io.BytesIO(files[0])) as image:
        assert (image.format, image.size, image.mode) == (peer.format, (80, 64), "RGB")
    assert list(peer.qualities) == sorted(set(peer.qualities))


@pytest.mark.parametrize("name", ["jpeg", "avif", "jxl"])
def test_colour_is_kept_at_full_resolution(name: str) -> None:
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    columns = np.zeros((64, 64, 3), np.uint8)
    columns[:, ::2] = (200, 60, 60)
    columns[:, 1::2] = (60, 126, 60)  # close in luma, far in colour: 4:2:0 would blend them
    decoded = load_peer(name).decode(load_peer(name).encode(columns, 95))
    assert psnr(columns, decoded) > 30


def test_an_unknown_or_absent_peer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="jpeg, webp, avif, jxl"):
        load_peer("bpg")
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(UsageError, match="pillow-jxl-plugin"):
        load_peer("jxl")
    monkeypatch.setattr("dlcodec.evaluation.peers.features.check", lambda name: False)
    with pytest.raises(UsageError, match="AVIF"):
        load_peer("avif")
