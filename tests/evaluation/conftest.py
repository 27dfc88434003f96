from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dlcodec.evaluation.plan import Plan, Request, prepare
from dlcodec.evaluation.results import Failure, Row, Run, Settings, read_run
from dlcodec.evaluation.run import evaluate, resume
from tests.conftest import RGB

Start = Callable[..., Request]


@pytest.fixture
def pictures(tmp_path: Path, photo: RGB) -> Path:
    """A folder of two pictures of different sizes, and of a text that is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(photo[100:148, 200:270]).save(folder / "a.png")
    Image.fromarray(photo[:64, :64]).save(folder / "b.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def request_of(pictures: Path, tmp_path: Path, tiny: Path) -> Start:
    """A request for the tiny codec on ``pictures``; keywords replace its parts."""

    def make(**changes: object) -> Request:
        parts: dict[str, object] = {
            "source": pictures,
            "output": tmp_path / "results",
            "levels": (0.0, 2.0),
            "taus": (1.0,),
            "steps": (1,),
            "seeds": (0,),
            "metrics": ("psnr",),
            "metric_weights": None,
            "peers": (),
            "device": "cpu",
        }
        return Request(**{**parts, **changes})  # type: ignore[arg-type]

    return make


def begin(request: Request) -> tuple[Plan, Settings, list[Row], list[Failure]]:
    """What a command does before the first image."""
    plan, settings, failures = prepare(request)
    rows, settings = resume(plan, settings)
    return plan, settings, rows, failures


def finish(request: Request) -> tuple[Run, list[Row | Failure]]:
    """Run to the end; the results as they are on disk, and what this sitting itself did."""
    events = list(evaluate(*begin(request)))
    return read_run(request.output), events
