"""The map of a notebook: pictures in Web Mercator, marks that come back, and the page's side of it in a browser."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from pyproj import CRS, Transformer
from rasterio.crs import CRS as RasterioCRS
from rasterio.warp import transform_bounds

from earthwords.errors import UsageError
from earthwords.geo.web_mercator import on_web_mercator, to_scene
from earthwords.inference.segment.result import SegmentationResult
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Grid
from earthwords.viz.notebook import BUNDLE

HEIGHT, WIDTH = 60, 100
GRID = Grid(height=HEIGHT, width=WIDTH, transform=Affine(2, 0, 500_000, 0, -2, 4_000_000), crs=CRS.from_epsg(32633))
FLAT = Grid(height=HEIGHT, width=WIDTH, transform=Affine.identity(), crs=None)
CHROMIUM = Path("/usr/bin/chromium")


def result(grid: Grid = GRID) -> SegmentationResult:
    """Left 40 columns roof with score 0.4, the next 40 water with 0.8, the rest unobserved."""
    labels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    labels[:, :40], labels[:, 40:80] = 0, 1
    score = np.select([labels == 0, labels == 1], [0.4, 0.8], 0).astype(np.float32)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:30] = (200, 20, 20)
    return SegmentationResult(
        labels=labels, score=score, grid=grid, vocabulary=parse_classes(["roof,house", "water"]), image=image,
        valid=labels != 255, notes=("Something is known.",),
    )  # fmt: skip


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def shown() -> Any:
    pytest.importorskip("anywidget", reason="the map of a notebook needs anywidget")
    return result().map(height=300)


def test_corners_are_the_bounds_that_gdal_gives() -> None:
    made = on_web_mercator(np.ones((HEIGHT, WIDTH, 1), np.uint8), GRID, smooth=False)
    west, south, east, north = transform_bounds(RasterioCRS.from_epsg(32633), "EPSG:4326", *GRID.bounds, densify_pts=21)
    (left, top), _, (right, bottom), _ = made.corners
    pixel = 2 / 111_000
    assert np.allclose([left, bottom, right, top], [west, south, east, north], atol=4 * pixel)
    assert made.placed


def test_a_place_keeps_its_class_and_a_large_result_is_shown_smaller() -> None:
    codes = np.arange(HEIGHT * WIDTH, dtype=np.uint32).reshape(HEIGHT, WIDTH) % 200
    for side in (2048, 50):
        made = on_web_mercator(codes[..., None].astype(np.uint8), GRID, smooth=False, max_side=side)
        height, width, _ = made.values.shape
        assert max(height, width) <= side
        rows, cols = np.array([5, height // 2, height - 6]), np.array([7, width // 3, width - 9])
        (west, north), _, (east, south), _ = made.corners
        to = Transformer.from_crs("EPSG:4326", 3857, always_xy=True)
        (x0, y0), (x1, y1) = to.transform(west, north), to.transform(east, south)
        x, y = x0 + (cols + 0.5) / width * (x1 - x0), y0 + (rows + 0.5) / height * (y1 - y0)
        own_x, own_y = Transformer.from_crs(3857, 32633, always_xy=True).transform(x, y)
        exact_cols, exact_rows = ~GRID.transform @ (np.asarray(own_x), np.asarray(own_y))
        at = np.floor(exact_rows).astype(int), np.floor(exact_cols).astype(int)
        sure = (np.abs(exact_rows % 1 - 0.5) < 0.3) & (np.abs(exact_cols % 1 - 0.5) < 0.3)
        assert (made.values[rows, cols, 0] == codes[at])[sure].all()


def test_pictures_and_classes(shown: Any) -> None:
    scores, image = picture(shown.scores), picture(shown.image)
    height, width, _ = scores.shape
    assert scores[height // 2, width // 5].tolist() == [1, 100, 0]
    assert scores[height // 2, width // 2].tolist() == [2, 200, 0]
    assert scores[height // 2, width - 3].tolist() == [0, 0, 0]
    assert image[height // 4, width // 5].tolist() == [200, 20, 20, 255] and image[height // 2, width - 3, 3] == 0
    assert [row["title"] for row in shown.classes] == ["roof", "water"]
    assert "Something is known." in shown.notes


def test_marks_come_back_in_the_coordinates_of_the_scene(shown: Any) -> None:
    assert len(shown.to_geodataframe()) == 0
    lng, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(500_050, 3_999_930)
    point = {"type": "Point", "coordinates": [lng, lat]}
    shown.marks = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"class": "water"}, "geometry": point}],
    }
    frame = shown.to_geodataframe()
    assert frame.crs == CRS.from_epsg(32633) and list(frame["class"]) == ["water"]
    assert (frame.geometry[0].x, frame.geometry[0].y) == pytest.approx((500_050, 3_999_930), abs=0.01)


def test_without_a_georeference_marks_are_columns_and_rows() -> None:
    geopandas = pytest.importorskip("geopandas")
    made = on_web_mercator(np.ones((HEIGHT, WIDTH, 1), np.uint8), FLAT, smooth=False)
    assert not made.placed
    frame = geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(*zip(*made.corners, strict=True)), crs=4326)
    pixels = to_scene(frame, FLAT)
    assert pixels.crs is None
    assert np.allclose(pixels.get_coordinates(), [(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], atol=1e-3)


def test_whoever_has_no_widgets_sees_the_picture(shown: Any) -> None:
    data, _ = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert base64.b64decode(data["image/png"]) == result()._repr_png_()


def test_without_anywidget_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from earthwords.viz import notebook

    notebook._widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(UsageError, match=r'pip install "earthwords\[notebook\]"'):
        result().map()


PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><link rel="stylesheet" href="widget.css">
<body><script type="module">
import widget from "./widget.js";
const state = await (await fetch("state.json")).json();
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
state.image = bytes(state.image);
state.scores = bytes(state.scores);
window.state = state;
const listeners = [];
const model = {
  get: (name) => state[name],
  set(name, value) {
    state[name] = value;
    for (const [event, listener] of listeners) if (event === `change:${name}`) listener();
  },
  save_changes() {},
  on: (event, listener) => listeners.push([event, listener]),
  off() {},
};
const el = document.createElement("div");
document.body.append(el);
await widget.render({ model, el });
</script>"""
"""What carries state between a widget and Python, as anywidget does."""


@pytest.fixture
def served(shown: Any, tmp_path: Path) -> Iterator[str]:
    """A page with the widget, served from a folder."""
    names = ("corners", "classes", "thresholds", "opacity", "marks", "clicked", "notes", "height")
    state = {name: getattr(shown, name) for name in names}
    state |= {name: base64.b64encode(getattr(shown, name)).decode() for name in ("image", "scores")}
    for name in ("widget.js", "widget.css"):
        (tmp_path / name).write_bytes((BUNDLE / name).read_bytes())
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
    server.shutdown()
    server.server_close()


def colours(page: Any) -> dict[str, int]:
    """How many pixels of the map's middle row are the colour of a class over the image."""
    shot = np.asarray(Image.open(io.BytesIO(page.locator(".ew-canvas").screenshot())).convert("RGB")).astype(int)
    row = shot[3 * len(shot) // 4 - 20]  # lower half, where the image is black
    expected = {
        one["title"]: np.array([int(one["colour"][i : i + 2], 16) for i in (1, 3, 5)]) * 0.6
        for one in page.evaluate("window.state.classes")
    }
    return {title: int((np.abs(row - colour).max(axis=1) < 12).sum()) for title, colour in expected.items()}


def test_in_a_browser(served: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if not CHROMIUM.is_file():
        pytest.skip("Debian's Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 420})
        errors: list[str] = []
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        asked_for: list[str] = []
        page.on(
            "request",
            lambda r: None if r.url.startswith(("http://127.0.0.1", "blob:", "data:")) else asked_for.append(r.url),
        )
        page.goto(served)
        page.locator("[data-ready=yes]").wait_for(timeout=60_000)
        page.wait_for_timeout(500)
        before = colours(page)
        assert before["roof"] > 40 and before["water"] > 40

        page.get_by_label("Least score of roof").fill("0.5")
        assert page.evaluate("window.state.thresholds.roof") == 0.5
        page.wait_for_timeout(500)
        after = colours(page)
        assert after["roof"] == 0 and after["water"] == before["water"]

        page.get_by_label("Class of the next mark").select_option("water")
        page.get_by_role("button", name="Point").click()
        box = page.locator(".ew-canvas").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        (mark,) = page.evaluate("window.state.marks.features")
        assert mark["properties"]["class"] == "water" and mark["geometry"]["type"] == "Point"
        west, east = page.evaluate("[window.state.corners[0][0], window.state.corners[1][0]]")
        assert abs(mark["geometry"]["coordinates"][0] - (west + east) / 2) < (east - west) / 20
        page.get_by_role("button", name="Take back").click()
        assert page.evaluate("window.state.marks.features") == []

        page.get_by_role("button", name="Move").click()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        clicked = page.evaluate("window.state.clicked")
        assert clicked["class"] == "water" and clicked["score"] == pytest.approx(0.8)
        assert errors == []
        assert [url for url in asked_for if not url.startswith(("http://127.0.0.1", "blob:", "data:"))] == []
        browser.close()
