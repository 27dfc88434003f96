"""The page as bytes: whole, self-contained, within its size; read here with the standard library's parser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dlcodec.errors import LimitError
from dlcodec.explore.differences import change, choose_top, draw_map
from dlcodec.explore.page import build_page
from tests.conftest import RGB
from tests.explore.synthetic import FACTS, SHAPE, TAUS, noise, original, pictures, synthetic_page

Element = tuple[str, dict[str, str | None], str]


class _Reader(HTMLParser):
    """Every tag in order with its attributes and the text up to the next."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", {}, ""))

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = tag, attributes, text + data


def _elements(page: bytes, tag: str) -> list[Element]:
    return [element for element in _Reader(page).elements if element[0] == tag]


def _images(page: bytes, kind: str) -> list[RGB]:
    prefix = "data:image/webp;base64,"
    sources = [attributes["src"] or "" for _, attributes, _ in _elements(page, "img") if attributes["class"] == kind]
    assert all(source.startswith(prefix) for source in sources)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each.removeprefix(prefix))))) for each in sources]


def _record(page: bytes) -> dict[str, object]:
    texts = [text for _, attributes, text in _elements(page, "script") if attributes.get("id") == "record"]
    record: dict[str, object] = json.loads(texts[0])
    return record


def test_every_picture_is_there_pixel_for_pixel_when_there_is_room() -> None:
    page = build_page(FACTS, pictures(), original(), most_megabytes=1)
    assert page.quality == 100
    decoded = _images(page.data, "decoded")
    assert len(decoded) == len(TAUS)
    for found, (_, made) in zip(decoded, pictures(), strict=True):
        assert np.array_equal(found, made)
    assert np.array_equal(_images(page.data, "original")[0], original())


def test_nothing_refers_to_anything_outside() -> None:
    page = synthetic_page()
    text = page.decode()
    assert not any(word in text for word in ("http:", "https:", "//www", "@import", "url(", "fetch(", "XMLHttp"))
    for tag, attributes, _ in _Reader(page).elements:
        assert tag not in {"iframe", "object", "embed", "base", "form", "a"}
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_the_policy_names_the_very_style_and_script_of_the_page() -> None:
    page = synthetic_page()
    metas = [attributes for _, attributes, _ in _elements(page, "meta") if "http-equiv" in attributes]
    policy = metas[0]["content"] or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    texts = {"style-src": _elements(page, "style")[0][2]}
    texts["script-src"] = next(text for _, attributes, text in _elements(page, "script") if not attributes)
    for rule, text in texts.items():
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy


def test_a_name_is_shown_as_it_is_and_fills_no_slot() -> None:
    page = synthetic_page()
    assert next(text for _, _, text in _elements(page, "h1")) == "a <b> & {{script}}.dlc"
    assert all("script" not in text for _, _, text in _elements(page, "b"))


def test_the_figures_are_those_of_the_pictures() -> None:
    record = _record(synthetic_page())
    rows = record["rows"]
    assert isinstance(rows, list)
    assert [row["tau"] for row in rows] == list(TAUS)
    # A quarter of the pixels is off by 80, or by 40: MSE 1600 and 400.
    assert rows[0]["base"] == pytest.approx(10 * math.log10(255**2 / 1600), abs=1e-3)
    assert rows[1]["base"] == pytest.approx(10 * math.log10(255**2 / 400), abs=1e-3)
    assert rows[2]["base"] is None
    assert [row["changed"] for row in rows] == [0.25, 0.25, 0]
    # tau = 1 is grey 120 against (0, 100, 0).
    assert rows[2]["original"] == pytest.approx(10 * math.log10(255**2 / ((2 * 120**2 + 20**2) / 3)), abs=1e-3)


def test_the_file_s_figures_are_shown() -> None:
    text = synthetic_page().decode()
    assert "<b>1,234</b> bytes" in text
    assert f"<b>{8 * 1234 / 2400:.3f}</b> bpp" in text
    assert "<b>60 × 40</b> pixels" in text


def test_a_page_without_an_original_says_so() -> None:
    page = synthetic_page(with_original=False)
    record = _record(page)
    assert record["hasOriginal"] is False
    assert not _images(page, "original")
    assert len(_images(page, "decoded")) == len(TAUS)


def test_maps_are_bright_where_something_changed_and_share_one_scale() -> None:
    maps = _images(synthetic_page(), "map")
    assert len(maps) == len(TAUS) - 1
    for each, brightness in zip(maps, (255, 127.5), strict=True):
        grey = each[..., 0].astype(int)
        assert grey.shape == SHAPE
        assert abs(grey[4:16, 4:26] - brightness).max() <= 4
        assert grey[24:].max() <= 4


def test_the_change_of_a_pixel_is_that_of_its_most_changed_channel() -> None:
    a = np.array([[[10, 20, 30], [255, 0, 0]]], np.uint8)
    b = np.array([[[13, 20, 25], [0, 0, 0]]], np.uint8)
    assert change(a, b).tolist() == [[5, 255]]
    assert change(b, a).tolist() == [[5, 255]]


def test_a_map_of_a_large_picture_is_made_smaller() -> None:
    large = np.zeros((1500, 2000), np.uint8)
    large[:750] = 50
    drawn = np.asarray(draw_map(large, 100))
    assert drawn.size <= 2**20
    assert drawn[0, 0] == 128
    assert drawn[-1, -1] == 0


def test_the_scale_ignores_a_stray_pixel_and_never_magnifies_a_whisper() -> None:
    stray = np.zeros((100, 100), np.uint8)
    stray[0, 0] = 255
    assert choose_top([stray]) == 8
    stray[:50] = 90
    assert choose_top([stray, np.zeros_like(stray)]) == 90


def test_a_smaller_limit_gives_a_lower_quality_within_it() -> None:
    made = noise(3, (96, 96))
    sizes = {}
    for limit in (1.0, 0.1, 0.07):
        page = build_page(FACTS, made, None, most_megabytes=limit)
        assert len(page.data) <= limit * 1e6
        sizes[limit] = page.quality
    assert sizes[1.0] == 100
    assert 100 > sizes[0.1] > sizes[0.07]


def test_what_cannot_fit_is_refused_with_the_size_that_would_do() -> None:
    made = noise(3, (96, 96))
    with pytest.raises(LimitError, match="raise --max-mb or name fewer values of tau") as caught:
        build_page(FACTS, made, None, most_megabytes=0.05)
    enough = float(str(caught.value).split(" takes ")[1].split(" MB")[0])
    assert len(build_page(FACTS, made, None, most_megabytes=enough).data) <= enough * 1e6


def test_a_side_beyond_webp_is_refused() -> None:
    long = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(LimitError, match="16384 x 1 pixels; a page shows at most 16383 a side"):
        build_page(FACTS, [(0.0, long), (1.0, long)], None, most_megabytes=1)


def test_the_same_pictures_give_the_same_page() -> None:
    assert synthetic_page() == synthetic_page()
