"""docs/api.md: its examples run, from the first to the last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import dlcodec
from tests.tiny import write_checkpoint, write_fusion

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


@pytest.mark.parametrize("name", [name for name in dlcodec.__all__ if name != "__version__"])
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert name in re.findall(r"\w+", PAGE.read_text())


def test_the_examples_run_in_their_order(
    tmp_path: Path, photo: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "weights", levels=8)  # the levels of the shipped weights, of which the page speaks
    write_fusion(tmp_path / "weights")
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo[100:150, 200:270]).save("photo.png")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "mean-scale, levels 0 to 7"
    assert names["again"].tobytes() == names["picture"].tobytes()
    assert printed[1].startswith("70 x 50, level 3.5, ")
    assert printed[2].startswith("(70, 50) RGB {")
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"photo.png", "back.png", "photo-0.png", "photo-0.5.png", "photo-1.png", "tau.png"}
    with Image.open("tau.png") as picture:
        assert np.array_equal(picture, dlcodec.decode(names["data"], tau=0.3))
