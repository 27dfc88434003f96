from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import RGB


@pytest.fixture
def tar(tmp_path: Path, photo: RGB) -> Path:
    path = tmp_path / "tiles.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(3):
            stream = io.BytesIO()
            Image.fromarray(photo[number * 100 : number * 100 + 128, 100:300]).save(stream, "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = stream.tell()
            stream.seek(0)
            archive.addfile(member, stream)
    return path
