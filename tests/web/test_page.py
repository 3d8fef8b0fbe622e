"""The page in a browser: open an image, say words, look at the view, move sliders, keep the link."""

from __future__ import annotations

import io
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.web.running import Shown, expect
from tests.web.serving import until

WORDS = "building,roof; road; water"


def scores(shown: Shown, view: dict[str, Any]) -> np.ndarray:
    """`(row, col, 3)`: top class + 1, its score, the runner-up's."""
    return np.asarray(Image.open(io.BytesIO(shown.server.ask(view["scores_url"]))))


def decided(picture: np.ndarray, thresholds: dict[str, float], titles: list[str]) -> float:
    """Share of the pixels that a class is shown at, from the score picture alone."""
    out = np.zeros(picture.shape[:2], bool)
    for i, title in enumerate(titles):
        out |= (picture[..., 0] == i + 1) & (picture[..., 1] >= 250 * thresholds[title] - 1e-6)
    return float(out.mean())


def painted(shown: Shown, bare: np.ndarray, view: dict[str, Any]) -> float:
    """Share of the pixels of the view that differ from the bare image."""
    corners = [view["corners"][0], view["corners"][2]]
    (left, top), (right, bottom) = (on_screen(shown, *corner) for corner in corners)
    rows, cols = slice(round(top) + 3, round(bottom) - 3), slice(round(left) + 3, round(right) - 3)
    changed = np.abs(shown.picture().astype(int) - bare.astype(int)).max(axis=-1) > 12
    return float(changed[rows, cols].mean())


def inner(picture: np.ndarray) -> tuple[int, int]:
    """The place next to the middle whose neighbours within 3 pixels are of its class, so that no rounding matters."""
    top = picture[..., 0]
    alike = (ndimage.minimum_filter(top, 7) == ndimage.maximum_filter(top, 7)) & (top > 0)
    places = np.argwhere(alike)
    row, col = places[np.abs(places - np.array(top.shape) / 2).max(axis=1).argmin()]
    return int(row), int(col)


def near(shown: Shown, bare: np.ndarray, view: dict[str, Any], share: float) -> bool:
    return abs(painted(shown, bare, view) - share) < 0.06


def on_screen(shown: Shown, lng: float, lat: float) -> tuple[float, float]:
    """Pixels of the map from its link: 512 px times 2^zoom around the world, as in every web map."""
    found = re.search(r"at=([-\d.]+)%2C([-\d.]+)%2C([\d.]+)", shown.page.url)
    assert found is not None
    here_lng, here_lat, zoom = map(float, found.groups())
    box = shown.page.locator(".gl").bounding_box()
    assert box is not None
    world = 512 * 2**zoom
    mercator = [np.log(np.tan(np.pi / 4 + np.radians(each) / 2)) / (2 * np.pi) for each in (lat, here_lat)]
    return box["width"] / 2 + (lng - here_lng) / 360 * world, box["height"] / 2 - (mercator[0] - mercator[1]) * world


def test_images_of_the_folder_are_listed_and_shown(shown: Shown) -> None:
    shown.go()
    expect(shown.page.locator(".card .name")).to_have_text(["harbour.tif", "plain.tif", "town.tif"])
    assert "token" not in shown.page.url
    shown.open("harbour.tif")
    picture = shown.picture()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2000, "the map shows no image"
    centre = picture[picture.shape[0] // 2 - 40 :][:80, picture.shape[1] // 2 - 40 :][:, :80]
    assert centre.std() > 5


def test_an_image_without_a_place_says_so(shown: Shown) -> None:
    shown.go().open("plain.tif")
    expect(shown.page.locator(".notes .caution").first).to_contain_text("neither where it is")
    expect(shown.page.get_by_text("no georeference")).to_be_visible()


def test_words_become_classes_with_suggestions_and_warnings(shown: Shown) -> None:
    shown.go().open("town.tif")
    box = shown.page.locator("#words-input")
    box.press_sequentially("roa")
    expect(shown.page.get_by_role("option", name="road", exact=True)).to_be_visible()
    box.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", "offer-0")
    box.press("Escape")
    expect(shown.page.get_by_role("option")).to_have_count(0)
    box.fill("road, street")
    box.press("Enter")
    shown.say("qwertyuiop")
    expect(shown.page.locator(".chip")).to_have_count(2)
    expect(shown.page.locator(".chip").first).to_contain_text("road street")
    expect(shown.page.locator(".words .notes")).to_contain_text("qwertyuiop")
    box.press("Backspace")
    expect(shown.page.locator(".chip")).to_have_count(1)


def test_a_view_is_painted_as_its_scores_say_and_sliders_ask_nobody(shown: Shown) -> None:
    shown.go().open("harbour.tif")
    bare = shown.picture()
    shown.say(WORDS)
    view = shown.look()
    titles = [each["title"] for each in view["classes"] if not each["background"]]
    assert titles == ["building", "road", "water"]
    shown.page.get_by_label("Hatch unsure pixels").uncheck()
    picture = scores(shown, view)
    before = len(shown.requests)
    tops = {title: picture[..., 1][picture[..., 0] == i + 1] for i, title in enumerate(titles)}
    middle = {title: float(np.median(top)) / 250 if top.size else 0.5 for title, top in tops.items()}
    shares = []
    for asked in (dict.fromkeys(titles, 0.0), {**middle, "water": 1.0}, dict.fromkeys(titles, 1.0)):
        thresholds = {title: round(value, 3) for title, value in asked.items()}
        for title, value in thresholds.items():
            shown.threshold(title, value)
        expected = decided(picture, thresholds, titles)
        close = partial(near, shown, bare, view, expected)
        until(close, f"{expected} of the view is painted", page=shown.page)
        shares.append(expected)
    assert shares[0] > shares[1] > shares[2]
    assert len(shown.requests) == before


def test_areas_follow_the_slider(shown: Shown) -> None:
    shown.go().open("harbour.tif").say("water; road")
    view = shown.look()
    areas = view["histogram"]["classes"][0]["areas"]
    for least in (0.0, 0.5, 0.75):
        shown.threshold("water", least)
        text = shown.row("water").locator(".area").inner_text()
        value, unit = text.split()
        factor = {"ha": 10_000, "m²": 1, "km²": 1e6}[unit]
        expected = sum(areas[g] for g in range(251) if g >= 250 * least)
        assert float(value.replace(",", "")) * factor == pytest.approx(expected, rel=0.02, abs=60)


def test_a_class_can_be_hidden_and_the_place_under_the_pointer_is_read(shown: Shown) -> None:
    shown.go().open("harbour.tif").say("water; road")
    view = shown.look()
    picture = scores(shown, view)
    row, col = inner(picture)
    (w, n), (e, s) = view["corners"][0], view["corners"][2]
    x, y = on_screen(shown, w + (e - w) * (col + 0.5) / picture.shape[1], n + (s - n) * (row + 0.5) / picture.shape[0])
    shown.map.hover(position={"x": x, "y": y})
    title = view["classes"][picture[row, col, 0] - 1]["title"]
    expect(shown.page.locator(".readout strong").first).to_have_text(title)
    full = shown.picture()
    before = len(shown.requests)
    for each in ("water", "road"):
        shown.page.get_by_role("button", name=f"Hide {each}").click()
    until(lambda: not np.array_equal(full, shown.picture()), "the classes are hidden", page=shown.page)
    expect(shown.page.get_by_role("button", name="Show water")).to_have_attribute("aria-pressed", "true")
    assert len(shown.requests) == before


def test_a_link_brings_back_what_was_shown(shown: Shown) -> None:
    shown.go().open("harbour.tif").say("water; road")
    shown.map.focus()
    shown.page.keyboard.press("+")
    shown.settle()
    shown.look()
    shown.threshold("water", 0.61)
    until(lambda: "at_least=water%3A0.61" in shown.page.url, "the link has the threshold", page=shown.page)
    shown.settle()
    link, picture = shown.page.url, shown.picture()
    shown.page.goto("about:blank")
    shown.go(link)
    expect(shown.page.get_by_role("heading", name="In this view", exact=True)).to_be_visible()
    shown.settle()
    expect(shown.page.locator(".chip")).to_have_count(2)
    expect(shown.page.get_by_label("Least score of water")).to_have_value("0.61")
    changed = float((np.abs(shown.picture().astype(int) - picture.astype(int)).max(axis=-1) > 12).mean())
    assert changed < 0.02


def test_the_page_speaks_chinese_and_so_do_the_words(shown: Shown) -> None:
    shown.go().open("harbour.tif")
    shown.page.get_by_role("button", name="中文 (Chinese)").click()
    expect(shown.page.locator("html")).to_have_attribute("lang", "zh-CN")
    shown.page.get_by_label("您要找什么？").fill("建筑，房屋；道路")
    shown.page.keyboard.press("Enter")
    shown.page.get_by_role("button", name="查看当前视图").click()
    expect(shown.page.get_by_role("heading", name="当前视图", exact=True)).to_be_visible()
    expect(shown.page.locator(".class label.name")).to_have_text(["建筑", "道路"])
    shown.page.reload()
    expect(shown.page.get_by_label("您要找什么？")).to_be_visible()
