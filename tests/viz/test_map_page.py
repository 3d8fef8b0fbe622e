"""The page with a map: what stands in it whatever words are in it, and what a browser shows of it."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image
from pyproj import CRS

from earthwords.mask_set import MaskSet
from earthwords.types import Grid
from earthwords.viz.map_page import NONE, MapPage, PageRow, PageText, draw_things

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<b>"
GRID = Grid(height=60, width=90, transform=Affine(2, 0, 326_400, 0, -2, 2_781_000), crs=CRS.from_epsg(32640))
RED, BLUE = (220, 40, 30), (20, 60, 210)


def page(grid: Grid = GRID, **how: Any) -> MapPage:
    """Two classes in the upper left and the lower right on a grey ramp; the last 10 columns were not observed."""
    made = MapPage(grid, **how)
    labels = np.full(grid.shape, NONE, np.uint16)
    labels[: grid.height // 3, : grid.width // 3], labels[-grid.height // 3 :, grid.width // 2 :] = 0, 1
    valid = np.ones(grid.shape, bool)
    valid[:, -10:] = False
    rgb = np.broadcast_to(np.linspace(0.2, 0.8, grid.width, dtype=np.float32), (3, *grid.shape))
    for row in range(0, grid.height, 16):
        rows = slice(row, row + 16)
        made.add(row, [rgb[:, rows]] * len(made.names), valid[rows], labels[rows])
    return made


def text(**how: Any) -> PageText:
    rows = (
        PageRow(title=HOSTILE, label=0, colour=RED, cells=("11.1 %", "2 ha")),
        PageRow(title="water", label=1, colour=BLUE, cells=("12.0 %", "3 ha")),
        PageRow(title="without a class", cells=("5 %", "")),
    )
    about = {"title": HOSTILE, "columns": ("class", "share", "area"), "rows": rows, "notes": (HOSTILE, "A note.")}
    return PageText(**{**about, "facts": (f"preset: {HOSTILE}",), **how})


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def parsed(html: str) -> _Tags:
    tags = _Tags()
    tags.feed(html)
    return tags


def test_words_are_no_markup() -> None:
    html = page().html(text())
    tags = parsed(html)
    assert [tag for tag, _ in tags.found].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in tags.found for name in attrs)
    assert all(
        (attrs.get("src") or "data:").startswith("data:image/png;base64,") for t, attrs in tags.found if t == "img"
    )
    assert not any(tag in ("b", "link", "iframe", "object") for tag, _ in tags.found)
    assert tags.said.count(HOSTILE) == 4  # head, heading, note, row: as text
    assert [attrs["data-title"] for tag, attrs in tags.found if "data-title" in attrs] == [HOSTILE, "water"]


def test_only_its_own_script_may_run() -> None:
    html = page().html(text())
    policy = next(attrs["content"] for _, attrs in parsed(html).found if attrs.get("http-equiv"))
    assert policy is not None and "unsafe" not in policy and "default-src 'none'" in policy
    for tag in ("script", "style"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_labels_come_back() -> None:
    html = page().html(text())
    uri = next(attrs["src"] for _, attrs in parsed(html).found if attrs.get("id") == "labels")
    assert uri is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(int)
    labels = pixels[..., 0] + 256 * pixels[..., 1]
    assert labels.shape == GRID.shape
    assert (labels[:20, :30] == 0).all() and (labels[40:, 45:80] == 1).all()
    assert (labels == 0).sum() == 600 and (labels[:, 80:] == NONE).all()


def test_large_scenes_are_averaged_down() -> None:
    large = Grid(height=300, width=500, transform=GRID.transform, crs=GRID.crs)
    made = page(large, max_side=100)
    assert (made.height, made.width) == (60, 100)
    assert made.size_note is not None and "300 x 500 pixels as 60 x 100" in made.size_note
    assert page().size_note is None


def test_things_and_dots() -> None:
    made = MapPage(GRID)
    big, small = np.ones((20, 30), bool), np.ones((2, 2), bool)
    big[:10, :15] = False
    masks = MaskSet.pack(GRID, [(5, 10), (50, 70)], [big, small], classes=[0, 1], titles=["a", "b"])
    draw_things(made, masks, np.array([[25.0, 15.0], [71.0, 51.0]]), points=False)
    assert (made.labels == 0).sum() == 20 * 30 - 150 and made.labels[6, 11] == NONE and made.labels[20, 12] == 0
    rows, cols = np.nonzero(made.labels == 1)
    assert 20 < len(rows) < 40 and abs(rows.mean() + 0.5 - 51) < 0.3 and abs(cols.mean() + 0.5 - 71) < 0.3


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = os.environ.get("EARTHWORDS_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium; install it, or name it by EARTHWORDS_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def shot(view: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.screenshot(type="png"))).convert("RGB")).astype(int)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Of pixels near a colour."""
    return float((np.abs(picture - colour).max(axis=-1) < 40).mean())


def test_in_a_browser(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "map.html"
    path.write_text(page(pictures=("after", "before")).html(text()), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1000, "height": 560})
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: said.append("dialog"))
    tab.goto(path.as_uri())
    tab.locator("body[data-ready=yes]").wait_for()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()] and not said

    view = tab.locator("#view")
    shown = tab.locator("#stage img:visible")
    assert [shown.nth(i).get_attribute("alt") for i in range(shown.count())] == ["after"]  # no codes over the picture
    tab.locator("#opacity").fill("100")
    full = shot(view)
    assert 0.05 < share(full, RED) < 0.2 and 0.05 < share(full, BLUE) < 0.2
    tab.get_by_label("water").uncheck()
    assert share(shot(view), BLUE) == 0 < share(shot(view), RED)
    tab.locator("#fill").uncheck()
    assert 0 < share(shot(view), RED) < 0.03  # the outline alone
    tab.locator("#fill").check()
    tab.locator("#opacity").fill("0")
    assert share(shot(view), RED) == 0
    tab.locator("#opacity").fill("100")

    box = view.bounding_box()
    tab.mouse.move(box["x"] + 20, box["y"] + 80)
    tab.mouse.wheel(0, -1200)
    assert share(shot(view), RED) > 3 * share(full, RED)
    tab.mouse.dblclick(box["x"] + 300, box["y"] + 300)
    view.focus()
    before = tab.locator("#stage").evaluate("stage => stage.style.transform")
    tab.keyboard.press("+")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#stage").evaluate("stage => stage.style.transform") != before
    tab.keyboard.press("0")
    assert tab.locator("#stage").evaluate("stage => stage.style.transform") == before

    stage = tab.locator("#stage").bounding_box()
    tab.mouse.move(stage["x"] + stage["width"] * 1.5 / 90, stage["y"] + stage["height"] * 1.5 / 60)
    assert tab.locator("#readout").inner_text().startswith(HOSTILE)
    east, north = map(float, tab.locator("#readout").inner_text().split("·")[1].split(","))
    assert shapely.Point(east, north).distance(shapely.Point(GRID.transform @ (1.5, 1.5))) < 1

    light = shot(tab.locator("#panel")).mean()
    tab.locator("#theme").click()
    assert abs(shot(tab.locator("#panel")).mean() - light) > 100
    tab.close()


def test_by_touch(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "map.html"
    path.write_text(page().html(text()), encoding="utf-8")
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True)
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.locator("body[data-ready=yes]").wait_for()
    read = "stage => stage.getBoundingClientRect().width"
    before = tab.locator("#stage").evaluate(read)
    session = context.new_cdp_session(tab)
    for kind, apart in (("touchStart", 20), ("touchMove", 60)):
        points = [{"x": 190 - apart, "y": 200, "id": 1}, {"x": 190 + apart, "y": 200, "id": 2}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert tab.locator("#stage").evaluate(read) > 1.8 * before
    context.close()
