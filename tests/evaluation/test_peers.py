from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcodec.errors import DlcodecError, UsageError
from dlcodec.evaluation.peers import PILLOW_PEERS, PillowPeer, load_peer
from dlcodec.image import psnr
from tests.conftest import RGB


@pytest.mark.parametrize("name", PILLOW_PEERS)
def test_a_peer_gives_files_that_decode_and_grow_in_size_and_quality(name: str, photo: RGB) -> None:
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    peer = load_peer(name)
    assert isinstance(peer, PillowPeer)
    picture = photo[:64, :80]
    files = [peer.encode(picture, quality) for quality in (peer.qualities[0], peer.qualities[-1])]
    decoded = [peer.decode(data) for data in files]
    assert len(files[0]) < len(files[1])
    assert psnr(picture, decoded[0]) < psnr(picture, decoded[1])
    with Image.open(io.BytesIO(files[0])) as image:
        assert (image.format, image.size, image.mode) == (peer.format, (80, 64), "RGB")
    assert list(peer.qualities) == sorted(set(peer.qualities))
    size, picture_again = peer.code(picture, peer.qualities[0])
    assert size == len(files[0])
    assert np.array_equal(picture_again, decoded[0])


@pytest.mark.parametrize("name", ["jpeg", "avif", "jxl"])
def test_colour_is_kept_at_full_resolution(name: str) -> None:
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    columns = np.zeros((64, 64, 3), np.uint8)
    columns[:, ::2] = (200, 60, 60)
    columns[:, 1::2] = (60, 126, 60)  # close in luma, far in colour: 4:2:0 would blend them
    _, decoded = load_peer(name).code(columns, 95)
    assert psnr(columns, decoded) > 30


def test_an_unknown_or_absent_peer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="jpeg, webp, avif, jxl, bpg, vtm"):
        load_peer("gif")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="bpgenc"):
        load_peer("bpg")
    monkeypatch.delenv("DLCODEC_VTM", raising=False)
    with pytest.raises(UsageError, match="DLCODEC_VTM"):
        load_peer("vtm")
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(UsageError, match="pillow-jxl-plugin"):
        load_peer("jxl")
    monkeypatch.setattr("dlcodec.evaluation.peers.features.check", lambda name: False)
    with pytest.raises(UsageError, match="AVIF"):
        load_peer("avif")


@pytest.mark.parametrize("name", ["bpg", "vtm"])
def test_a_classical_peer_without_compressai_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: program)
    monkeypatch.setenv("DLCODEC_VTM", str(tmp_path))
    for part in ("bin/EncoderAppStatic", "bin/DecoderAppStatic", "cfg/encoder_intra_vtm.cfg"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).touch()
    monkeypatch.setitem(sys.modules, "compressai.utils.bench", None)
    with pytest.raises(UsageError, match=rf"peer {name} needs the package compressai .*pip install 'dlcodec\[train\]'"):
        load_peer(name)


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom PIL import Image\n{body}")
    path.chmod(0o755)


def test_bpg_runs_through_its_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: RGB) -> None:
    """Stand-ins for libbpg's programs, with its arguments, that code by JPEG."""
    pytest.importorskip("compressai.utils.bench.codecs", exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="bpgenc"):
        load_peer("bpg")
    code = "quality = 2 * (51 - int(sys.argv[sys.argv.index('-q') + 1]))\n"
    code += "Image.open(sys.argv[-1]).save(sys.argv[sys.argv.index('-o') + 1], 'JPEG', quality=quality)\n"
    write_program(tmp_path / "bpgenc", code)
    with pytest.raises(UsageError, match="bpgdec"):
        load_peer("bpg")
    write_program(tmp_path / "bpgdec", "Image.open(sys.argv[-1]).save(sys.argv[sys.argv.index('-o') + 1], 'PNG')\n")
    peer = load_peer("bpg")
    small, coarse = peer.code(photo[:64, :80], 47)
    large, fine = peer.code(photo[:64, :80], 27)
    assert small < large
    assert psnr(photo[:64, :80], coarse) < psnr(photo[:64, :80], fine)
    stream = io.BytesIO()
    Image.fromarray(photo[:64, :80]).save(stream, "JPEG", quality=48)
    assert large == len(stream.getvalue())
    write_program(tmp_path / "bpgdec", "sys.exit(3)\n")
    with pytest.raises(DlcodecError, match="bpg failed at quality 27"):
        peer.code(photo[:64, :80], 27)


def test_a_program_that_fails_leaves_no_file_open_or_behind_and_nothing_on_stdout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: RGB, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("compressai.utils.bench.codecs", exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("PATH", str(tmp_path))
    write_program(tmp_path / "bpgenc", "print('no such preset')\nsys.exit(3)\n")
    write_program(tmp_path / "bpgdec", "")
    peer = load_peer("bpg")
    before = sorted(os.listdir("/dev/fd"))
    with pytest.raises(DlcodecError, match="bpg failed at quality 27"):
        peer.code(photo[:64, :80], 27)
    assert sorted(os.listdir("/dev/fd")) == before
    assert not list((tmp_path / "temporary").iterdir())
    assert capfd.readouterr() == ("", "no such preset\n\n")
