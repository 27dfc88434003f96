"""A headless Chromium that opens synthetic pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.explore.synthetic import synthetic_page

WINDOW = {"width": 1200, "height": 800}
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Skips where there is no playwright or no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra 'browser' (playwright) is not installed")
    chromium = os.environ.get("DLCODEC_CHROMIUM") or next((path for path in map(shutil.which, _NAMES) if path), None)
    if chromium is None:
        pytest.skip("no Chromium on the PATH; DLCODEC_CHROMIUM can name one")
    with playwright.sync_playwright() as play:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        launched = play.chromium.launch(executable_path=chromium, args=sandbox)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a synthetic page; afterwards nothing was said on the console and nothing but the page was asked for."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_one(*, with_original: bool = True, **options: object) -> Any:
        path = tmp_path / f"{len(contexts)}.html"
        path.write_bytes(synthetic_page(with_original=with_original))
        context = browser.new_context(**{"viewport": WINDOW, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [
        path.as_uri() for path in sorted(tmp_path.iterdir())
    ]
