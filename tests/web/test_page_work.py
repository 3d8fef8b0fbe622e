"""Work on the page: marks that teach, files, both themes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from tests.web.running import Shown, expect
from tests.web.serving import DEADLINE_S, until
from tests.web.test_page import inner, on_screen, scores

pytestmark = pytest.mark.slow


def click(shown: Shown, view: dict[str, Any], row: int, col: int) -> None:
    """The middle of a pixel of the score picture."""
    (w, n), (e, s) = view["corners"][0], view["corners"][2]
    x, y = on_screen(shown, w + (e - w) * (col + 0.5) / view["width"], n + (s - n) * (row + 0.5) / view["height"])
    shown.map.click(position={"x": x, "y": y})


def test_marks_of_classes_and_of_what_they_are_not_teach_a_view(shown: Shown) -> None:
    page = shown.page
    shown.go().open("harbour.tif").say("water; road")
    view = shown.look()
    top = scores(shown, view)[..., 0]
    shown.tab("Teach")
    page.locator(".segmented label", has_text="Point").click()
    for title, number in (("water", 1), ("road", 2)):
        page.get_by_role("radio", name=title, exact=True).check()
        places = np.argwhere(top == number)
        for row, col in places[(np.linspace(0.2, 0.8, 3) * len(places)).astype(int)]:
            click(shown, view, int(row), int(col))
    page.get_by_label("It says what is not road").check()
    click(shown, view, *inner(np.where(top[..., None] == 1, 1, 0)))
    page.get_by_label("It says what is not road").uncheck()
    expect(page.locator(".marks summary")).to_have_text("Marks: 7")
    source = view["source"]
    saved = "/api/sources/" + source + "/marks"
    until(lambda: len(shown.server.ask(saved)["features"]) == 7, "the marks are saved", page=page)
    kinds = [each["properties"]["class"] for each in shown.server.ask(saved)["features"]]
    assert sorted(kinds) == ["not road", *["road"] * 3, *["water"] * 3]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".marks summary")).to_have_text("Marks: 6")
    page.get_by_role("button", name="Redo").click()
    with page.expect_response(lambda each: each.url.endswith("/api/teach"), timeout=1000 * DEADLINE_S) as answer:
        page.locator("#teach").click()
    told = answer.value.json()
    expect(page.locator("tbody tr")).to_have_count(len(told["report"]["rows"]))
    expect(page.locator("tbody tr").first).to_contain_text("water")
    expect(page.get_by_text("every pixel gets one of these classes")).to_be_visible()
    page.get_by_role("button", name="Words alone").click()
    expect(page.locator(".legend")).to_have_count(0)
    expect(page.get_by_text("every pixel gets one of these classes")).to_have_count(0)
    assert shown.server.ask(saved)["features"], "marks stay"


def test_the_file_has_what_is_shown(shown: Shown, tmp_path: Path) -> None:
    page = shown.page
    shown.go().open("harbour.tif").say("water; road")
    view = shown.look()
    shown.threshold("water", 0.7)
    shown.threshold("road", 0.9)
    page.locator("#export").click()
    for name, suffix in (("GeoTIFF", ".tif"), ("GeoJSON", ".geojson"), ("PNG", ".png")):
        page.locator("dialog .choice label", has_text=name).click()
        with page.expect_download() as caught:
            page.locator("#download").click()
        caught.value.save_as(tmp_path / f"map{suffix}")
    with rasterio.open(tmp_path / "map.tif") as dataset:
        labels, pixel = dataset.read(1), abs(dataset.transform.a * dataset.transform.e)
    page.keyboard.press("Escape")
    for number, entry in enumerate(view["classes"]):
        value, unit = shown.row(entry["title"]).locator(".area").inner_text().split()
        shown_m2 = float(value.replace(",", "")) * {"ha": 10_000, "m²": 1}[unit]
        assert shown_m2 == pytest.approx(float((labels == number).sum()) * pixel, rel=0.02, abs=60), entry["title"]
    rows = json.loads((tmp_path / "map.geojson").read_text(encoding="utf-8"))["features"]
    assert {row["properties"]["class"] for row in rows} <= {entry["title"] for entry in view["classes"]}
    assert Image.open(io.BytesIO((tmp_path / "map.png").read_bytes())).size[0] >= 448


def test_both_themes_paint_page_and_map_and_the_choice_is_kept(shown: Shown) -> None:
    page = shown.page
    page.emulate_media(color_scheme="dark")
    shown.go()
    ground = {}
    for name, other in (("dark", "Light colours"), ("light", "Dark colours")):
        expect(page.locator("html")).to_have_attribute("data-theme", name)
        shown.settle()
        ground[name] = float(shown.picture()[:60, :60].mean())
        page.get_by_role("button", name=other).click()
    assert ground["dark"] < 60 < 180 < ground["light"]
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.emulate_media(color_scheme="light")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
