"""The page in a headless Chromium: slider, comparisons, heat map, keys, policy."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.explore.screen import box_of, colour_at, left_colour, right_colour
from tests.explore.synthetic import GREYS, ORIGINAL_GREEN, TAUS, synthetic_page

Open = Callable[..., Any]
GREEN = (0, ORIGINAL_GREEN, 0)
GREY = (GREYS[-1],) * 3


def test_the_slider_changes_the_picture_and_the_figures(open_page: Open) -> None:
    page = open_page()
    slider = page.get_by_role("slider", name="Tau")
    figures = set()
    for step, (tau, grey) in enumerate(zip(TAUS, GREYS, strict=True)):
        slider.fill(str(step))
        assert left_colour(page) == (grey,) * 3
        assert page.locator("#left-label").text_content() == f"τ = {tau:g}"
        figures.add(page.locator("#figures").text_content())
    assert len(figures) == len(TAUS)
    assert "identical" in (page.locator("#to-base").text_content() or "")


def test_dragging_the_slider_changes_the_picture(open_page: Open) -> None:
    page = open_page()
    box = box_of(page, "#tau")
    page.mouse.move(box["x"] + 12, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert left_colour(page) == (GREYS[1],) * 3


def test_the_split_follows_its_divider(open_page: Open) -> None:
    page = open_page()
    assert (left_colour(page), right_colour(page)) == ((GREYS[0],) * 3, GREEN)
    stage, divider = box_of(page, "#stage"), box_of(page, "#divider")
    middle = divider["x"] + divider["width"] / 2, divider["y"] + divider["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.95 * stage["width"], middle[1], steps=5)
    page.mouse.up()
    assert (left_colour(page), right_colour(page)) == ((GREYS[0],) * 3, GREY)
    assert page.locator("#divider").get_attribute("aria-valuenow") == "95"
    page.locator("#divider").press("Home")
    assert (colour_at(page, "#left", 0.2, 0.3), right_colour(page)) == (GREEN, GREEN)
    page.locator("#divider").press("ArrowRight")
    assert page.locator("#divider").get_attribute("aria-valuenow") == "2"
    assert page.locator("#left-label").text_content() == "τ = 0"  # the arrow moved the divider alone


def test_the_reference_can_be_tau_1(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("radio", name="τ = 1").check(force=True)
    assert right_colour(page) == GREY
    assert page.locator("#right-label").text_content() == "τ = 1"


def test_without_an_original_the_reference_is_tau_1(open_page: Open) -> None:
    page = open_page(with_original=False)
    assert right_colour(page) == GREY
    assert page.locator("#right-label").text_content() == "τ = 1"
    assert not page.locator("#references").is_visible()
    assert not page.locator("#to-original").is_visible()
    page.keyboard.press("r")
    assert right_colour(page) == GREY


def test_flicker_alternates_pauses_and_swaps(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("radio", name="Flicker").check(force=True)
    stage = page.locator("#stage")
    for shown, colour in (("right", GREEN), ("left", (GREYS[0],) * 3)):
        page.locator(f"#stage[data-shown={shown}]").wait_for(timeout=3000)
        assert left_colour(page) == colour
    page.get_by_role("button", name="Pause").click()
    shown = stage.get_attribute("data-shown")
    page.wait_for_timeout(900)
    assert stage.get_attribute("data-shown") == shown
    page.get_by_role("button", name="Swap").click()
    assert stage.get_attribute("data-shown") != shown


def test_flicker_does_not_start_by_itself_under_reduced_motion(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    page.keyboard.press("f")
    page.wait_for_timeout(900)
    assert page.locator("#stage").get_attribute("data-shown") == "left"
    page.keyboard.press("x")
    assert left_colour(page) == GREEN


def test_the_heat_map_is_bright_where_the_chosen_tau_changed_something(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    page.get_by_role("checkbox", name="Heat map").check(force=True)
    page.locator("#stage").press("f")
    assert page.locator("#legend").is_visible()
    page.locator("#heat[width='60']").wait_for(timeout=3000)
    hottest, cold = left_colour(page), colour_at(page, "#left", 0.8, 0.8)
    assert min(hottest[:2]) > 240
    assert len(set(cold)) == 1  # no colour: nothing changed there
    assert cold[0] < GREY[0]
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    warm = left_colour(page)
    assert sum(warm) < sum(hottest)
    assert warm[0] > warm[2] + 50
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert len(set(left_colour(page))) == 1
    page.keyboard.press("h")
    assert left_colour(page) == GREY


def test_the_keyboard_does_it_all(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    state = "() => ({...document.getElementById('stage').dataset, tau: document.getElementById('tau').value})"
    start = page.evaluate(state)
    assert start == {"view": "split", "shown": "left", "heat": "false", "tau": "0"}
    for key, field, value in (
        ("ArrowRight", "tau", "1"),
        ("ArrowRight", "tau", "2"),
        ("ArrowRight", "tau", "2"),
        ("ArrowLeft", "tau", "1"),
        ("d", "view", "pair"),
        ("f", "view", "flicker"),
        ("x", "shown", "right"),
        ("s", "view", "split"),
        ("h", "heat", "true"),
    ):
        page.keyboard.press(key)
        assert page.evaluate(state)[field] == value
    page.keyboard.press("r")
    assert page.locator("#right-label").text_content() == "τ = 1"
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys and gestures").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    fitted = box_of(page, "#left .sheet")
    page.keyboard.press("+")
    assert box_of(page, "#left .sheet")["width"] == pytest.approx(1.5 * fitted["width"], rel=0.01)
    page.keyboard.press("Shift+ArrowDown")
    moved = box_of(page, "#left .sheet")
    page.keyboard.press("0")
    assert box_of(page, "#left .sheet") == fitted
    page.keyboard.press("1")
    assert box_of(page, "#left .sheet")["width"] == pytest.approx(60, abs=0.5)
    assert moved["y"] < fitted["y"]


def test_letters_act_only_while_the_pictures_have_the_focus(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    stage = page.locator("#stage")
    for control in ("#tau", "#help", "#heat-on"):
        page.locator(control).press("d")
        assert stage.get_attribute("data-view") == "split"
    page.locator("#divider").press("d")
    assert stage.get_attribute("data-view") == "pair"
    page.keyboard.press("s")  # the divider, which had the focus, is hidden
    assert stage.get_attribute("data-view") == "split"
    page.locator("#tau").focus()
    stage.click()
    page.keyboard.press("d")
    assert stage.get_attribute("data-view") == "pair"


def test_a_tau_that_is_chosen_away_from_the_slider_is_announced(open_page: Open) -> None:
    page = open_page()
    said = page.locator("#said")
    page.get_by_role("slider", name="Tau").press("ArrowRight")
    assert said.text_content() == ""  # the slider speaks for itself
    page.locator("#help").press("ArrowRight")
    assert said.text_content() == "tau 1, PSNR to tau 1: identical"


def test_the_slider_s_own_keys_move_one_step(open_page: Open) -> None:
    page = open_page()
    slider = page.get_by_role("slider", name="Tau")
    slider.press("ArrowRight")
    assert slider.input_value() == "1"
    slider.press("End")
    assert slider.input_value() == "2"
    assert "tau 1" in (slider.get_attribute("aria-valuetext") or "")


def test_every_control_has_a_name(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("f")
    for role in ("button", "slider", "radio", "checkbox"):
        controls = page.get_by_role(role).all()
        assert controls
        named = page.get_by_role(role, name=re.compile(r"\w|[−+?]")).all()
        assert len(named) == len(controls)


def test_the_policy_stops_every_request(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(synthetic_page())
    reached: list[object] = []
    with socketserver.TCPServer(("127.0.0.1", 0), lambda *request: reached.append(request)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = browser.new_page()
        page.goto((tmp_path / "a.html").as_uri())
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        page.evaluate(f"new Image().src = '{url}a.png'")
        assert page.evaluate(f"fetch('{url}').then(() => 'sent', () => 'stopped')") == "stopped"
        page.wait_for_timeout(200)
        page.close()
        server.shutdown()
        thread.join()
    assert not reached
