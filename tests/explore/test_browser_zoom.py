"""The page in a headless Chromium: zoom, movement, touch, and screens of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.explore.screen import box_of

Open = Callable[..., Any]


@pytest.mark.parametrize("view", ["s", "d"])
def test_zoom_and_movement_are_the_same_on_both_sides(open_page: Open, view: str) -> None:
    page = open_page()
    page.keyboard.press(view)
    stage = box_of(page, "#stage")

    def relative() -> dict[str, float]:
        left, right = box_of(page, "#left .sheet"), box_of(page, "#right .sheet")
        assert right["x"] - left["x"] == pytest.approx(stage["width"] / 2 if view == "d" else 0, abs=0.1)
        assert (right["y"], right["width"], right["height"]) == pytest.approx(
            (left["y"], left["width"], left["height"]), abs=0.1
        )
        return right

    for _ in range(2):
        page.keyboard.press("+")  # beyond the stage's edges, where nothing keeps the picture centred
    before = relative()
    at = stage["x"] + 0.7 * stage["width"], stage["y"] + 0.4 * stage["height"]
    page.mouse.move(*at)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(100)
    zoomed = relative()
    assert zoomed["width"] > 1.3 * before["width"]
    # What was under the pointer is still there.
    for axis, side, place in (("x", "width", at[0]), ("y", "height", at[1])):
        assert (place - zoomed[axis]) / zoomed[side] == pytest.approx((place - before[axis]) / before[side], abs=0.01)
    page.mouse.down()
    page.mouse.move(at[0] - 40, at[1] - 30, steps=3)
    page.mouse.up()
    moved = relative()
    assert moved["x"] == pytest.approx(zoomed["x"] - 40, abs=0.1)
    assert moved["y"] == pytest.approx(zoomed["y"] - 30, abs=0.1)
    page.mouse.dblclick(*at)
    assert relative()["width"] < before["width"] / 2
    assert page.locator("#zoom-fit").get_attribute("aria-pressed") == "true"


def test_large_zoom_shows_pixels_as_squares(open_page: Open) -> None:
    page = open_page()
    rendering = "getComputedStyle(document.querySelector('#left img')).imageRendering"
    page.keyboard.press("1")
    assert page.evaluate(rendering) == "auto"
    for _ in range(4):
        page.keyboard.press("+")
    assert page.evaluate(rendering) == "pixelated"


def test_two_fingers_zoom_and_one_moves(open_page: Open) -> None:
    page = open_page(has_touch=True, viewport={"width": 390, "height": 844}, is_mobile=True)
    stage = box_of(page, "#stage")
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 4
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    before = box_of(page, "#left .sheet")
    touch("touchStart", (x - 50, y))
    touch("touchStart", (x - 50, y), (x + 50, y))
    for reach in (70, 100, 150):
        touch("touchMove", (x - reach, y), (x + reach, y))
    touch("touchEnd")
    page.wait_for_timeout(100)
    zoomed = box_of(page, "#left .sheet")
    assert zoomed["width"] == pytest.approx(3 * before["width"], rel=0.05)
    assert zoomed == pytest.approx(box_of(page, "#right .sheet"))
    touch("touchStart", (x, y))
    touch("touchMove", (x - 20, y))
    touch("touchMove", (x - 50, y))
    touch("touchEnd")
    page.wait_for_timeout(100)
    assert box_of(page, "#left .sheet")["x"] == pytest.approx(zoomed["x"] - 50, abs=1)
    divider = box_of(page, "#divider")
    middle = divider["x"] + divider["width"] / 2, divider["y"] + divider["height"] / 2
    touch("touchStart", middle)
    touch("touchMove", (middle[0] + 50, middle[1]))
    touch("touchMove", (middle[0] + 100, middle[1]))
    touch("touchEnd")
    page.wait_for_timeout(100)
    assert int(page.locator("#divider").get_attribute("aria-valuenow") or 0) == pytest.approx(50 + 100 / 3.9, abs=1)


@pytest.mark.parametrize("size", [(1200, 800), (390, 844), (360, 640), (844, 390)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_on_the_screen_at_every_size(open_page: Open, size: tuple[int, int], scheme: str) -> None:
    page = open_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    for selector in ("#tau", "#views", "#references", "#heat-on + span", "#figures", "#zoom-fit", "#help", "#facts"):
        box = box_of(page, selector)
        assert 0 <= box["x"] <= box["x"] + box["width"] <= size[0]
        assert 0 <= box["y"] <= box["y"] + box["height"] <= size[1]
    assert box_of(page, "#stage")["height"] >= 120


@pytest.mark.parametrize("size", [(360, 400), (320, 256), (700, 200)])
def test_in_a_small_window_the_page_scrolls_and_the_slider_keeps_its_width(
    open_page: Open, size: tuple[int, int]
) -> None:
    page = open_page(viewport={"width": size[0], "height": size[1]})
    assert box_of(page, "#stage")["height"] >= 120
    for selector in ("#tau", "#views", "#heat-on + span", "#figures", "#help", "#facts"):
        page.locator(selector).scroll_into_view_if_needed()
        box = box_of(page, selector)
        assert 0 <= box["x"] <= box["x"] + box["width"] <= size[0]
        assert 0 <= box["y"] <= box["y"] + box["height"] <= size[1]
    assert box_of(page, "#tau")["width"] >= 120
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_a_stage_that_had_no_size_keeps_its_zoom(open_page: Open) -> None:
    page = open_page()
    for _ in range(4):
        page.keyboard.press("+")
    before = box_of(page, "#left .sheet")
    for display in ("none", "block"):
        page.locator("main").evaluate("(main, display) => { main.style.display = display; }", display)
        page.wait_for_timeout(100)
    assert box_of(page, "#left .sheet") == before
