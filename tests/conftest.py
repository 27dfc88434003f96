from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dlcodec.image import load
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.samples import COFFEE
from tests.tiny import CHANNELS, write_checkpoint, write_fusion

ROOT = Path(__file__).resolve().parent.parent
RGB = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _a_run_can_be_terminated() -> Iterator[None]:
    """The command line, called in this process, takes SIGTERM and SIGHUP for itself."""
    hang_up = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, hang_up)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder that holds a tiny codec of each family and its fusion network."""
    folder = tmp_path_factory.mktemp("weights")
    for family in CHANNELS:
        write_checkpoint(folder, family=family)
        write_fusion(folder, family=family)
    return folder


@pytest.fixture
def tiny(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Encode and decode with the tiny codec; the path of its checkpoint."""
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tiny_folder))
    return tiny_folder / "mean-scale" / "base.safetensors"


@pytest.fixture(params=CHANNELS)
def family(request: pytest.FixtureRequest, tiny: Path) -> str:
    """Each family in turn, with its tiny codec."""
    return request.param


@pytest.fixture
def family_file(family: str, photo: RGB) -> bytes:
    """A 70 x 50 crop of the photograph, encoded by the tiny codec of each family in turn."""
    from dlcodec.installed import find
    from dlcodec.pipeline import encode_image

    return encode_image(photo[100:150, 200:270], base=find(family))


@pytest.fixture
def without_fusion(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As ``tiny``, but no fusion network lies beside it."""
    path = tmp_path / "bare" / "mean-scale" / "base.safetensors"
    path.parent.mkdir(parents=True)
    shutil.copy(tiny, path)
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "bare"))
    return path


@pytest.fixture(scope="session")
def photo() -> RGB:
    """The bundled photograph, (400, 600, 3) uint8."""
    return load(COFFEE, DEFAULT_LIMITS)


@pytest.fixture
def tiny_file(tiny: Path, photo: RGB) -> bytes:
    """A 70 x 50 crop of the photograph, encoded by the tiny codec."""
    from dlcodec.pipeline import encode_image

    return encode_image(photo[100:150, 200:270])
