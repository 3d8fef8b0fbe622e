"""Pictures of the page of `earthwords serve` on a rendered scene, for the README and docs/serve.md; needs Chromium.

python benchmarks/serve_pictures.py [--out docs/images] [--chromium /usr/bin/chromium] [--only serve-moving.webp]
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from earthwords.synthetic import render_scene

PATIENCE_MS = 300_000
QUALITY = 70
"""Of the frames of a moving picture (WebP): letters stay sharp, and it is small."""
COLOURS = 160
"""Of a picture that is stored: enough for a page, and small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--only", choices=PICTURES, help="one of them; default: all")
    args = parser.parse_args()
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "images")
        folder.mkdir()
        render(folder / "harbour.tif", seed=5, theme="harbour")
        render(folder / "town.tif", seed=8, theme="town")
        command = [sys.executable, "-m", "earthwords", "serve", str(folder), "--port", "0", "--no-token", "--no-open"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
            try:
                for name in [args.only] if args.only else PICTURES:
                    PICTURES[name](browser, address, args.out / name)
            finally:
                browser.close()
                server.terminate()


def render(path: Path, *, seed: int, theme: str, height: int = 560, width: int = 720) -> None:
    """A scene of 0.5 m."""
    image = np.asarray(render_scene(height=height, width=width, gsd=0.5, theme=theme, seed=seed).image)
    place = {"crs": "EPSG:32640", "transform": Affine(0.5, 0, 326_417.5, 0, -0.5, 2_781_133.0)}
    options: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": height, "width": width}
    with rasterio.open(path, "w", **options, **place) as dataset:
        dataset.write(np.moveaxis(image, -1, 0))


def opened(page: Page, address: str, name: str, words: str) -> None:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_role("button", name=name).click()
    page.locator("#words-input").fill(words)
    page.locator("#words-input").press("Enter")
    expect(page.locator(".chip .swatch").first).not_to_have_css("background-color", "rgb(136, 136, 136)")


def looked(page: Page, heading: str = "In this view") -> None:
    page.locator("#look").click()
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)


def dark(browser: Browser, address: str, path: Path) -> None:
    """Marks, and what they taught."""
    page = browser.new_page(viewport={"width": 1200, "height": 760}, locale="en-GB", color_scheme="dark")
    opened(page, address, "harbour.tif", "water; concrete,quay; container")
    page.get_by_role("tab", name="Teach").click()
    box = page.locator(".gl").bounding_box()
    assert box is not None
    marks = {
        "water": [(0.62, 0.30), (0.67, 0.38), (0.80, 0.55), (0.85, 0.62)],
        "concrete": [(0.30, 0.26), (0.36, 0.32), (0.40, 0.44), (0.43, 0.48)],
        "container": [(0.26, 0.46), (0.28, 0.55), (0.26, 0.70), (0.28, 0.78)],
    }
    for title, places in marks.items():
        page.locator(".choice").get_by_label(title, exact=True).check()
        page.locator("input[name=mark-tool][value=box]").check()
        for x, y in places:
            page.mouse.move(box["x"] + x * box["width"] - 4, box["y"] + y * box["height"])
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.mouse.down()
            page.mouse.up()
            page.wait_for_timeout(150)
    page.locator("#teach").click()
    expect(page.get_by_role("table")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.get_by_role("table").scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    save(page, path)


def phone(browser: Browser, address: str, path: Path) -> None:
    """The same on a phone, in Chinese."""
    page = browser.new_page(viewport={"width": 390, "height": 780}, locale="zh-CN", color_scheme="light")
    opened(page, address, "town.tif", "建筑；道路；树")
    looked(page, heading="当前视图")
    save(page, path)


class Frames:
    """Pictures of a page one after another, each with its time."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pictures: list[Image.Image] = []
        self.durations_ms: list[int] = []

    def take(self, duration_ms: int) -> None:
        settled(self.page)
        self.pictures.append(shot(self.page))
        self.durations_ms.append(duration_ms)

    def save(self, path: Path) -> None:
        first, *others = self.pictures
        options: dict[str, Any] = {"save_all": True, "append_images": others, "loop": 0, "minimize_size": True}
        first.save(path, duration=self.durations_ms, quality=QUALITY, method=6, **options)
        width, height = first.size
        size = path.stat().st_size / 1000
        print(f"{path}: {size:.0f} kB, {len(self.pictures)} frames of {width} x {height} pixels")


def moving(browser: Browser, address: str, path: Path) -> None:
    """From words to a map, its thresholds, and marks compared with the words, frame by frame."""
    screen = {"width": 1200, "height": 760}
    page = browser.new_page(viewport=screen, device_scale_factor=0.75, locale="en-GB", color_scheme="light")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_role("button", name="town.tif").click()
    expect(page.get_by_role("heading", name="town.tif")).to_be_visible()
    frames = Frames(page)
    frames.take(1200)
    for typed in ("building", "building; road", "building; road; tree"):
        page.locator("#words-input").fill(typed)
        frames.take(600)
    page.locator("#words-input").press("Enter")
    expect(page.locator(".chip .swatch").first).not_to_have_css("background-color", "rgb(136, 136, 136)")
    looked(page)
    frames.take(2500)
    for score in ("0.5", "0.75"):
        page.get_by_label("Least score of building").fill(score)
        page.get_by_label("Least score of building").press("Enter")
        frames.take(1200)
    page.get_by_role("tab", name="Teach").click()
    page.locator(".segmented label", has_text="Point").click()
    for title, places in MARKS.items():
        page.get_by_role("radio", name=title, exact=True).check()
        mark(page, places)
        frames.take(700)
    page.locator("#teach").click()
    expect(page.get_by_role("table")).to_be_visible()
    page.get_by_role("table").scroll_into_view_if_needed()
    frames.take(3500)
    frames.save(path)
    page.close()


MARKS = {
    "building": [(0.575, 0.316), (0.381, 0.75), (0.62, 0.64), (0.669, 0.202), (0.53, 0.684)],
    "road": [(0.757, 0.368), (0.284, 0.553), (0.466, 0.79), (0.507, 0.4), (0.225, 0.333)],
    "tree": [(0.478, 0.263), (0.302, 0.224), (0.454, 0.46), (0.15, 0.158), (0.417, 0.678)],
}
"""Class to places of its marks, as shares of the map's width and height."""


def mark(page: Page, places: list[tuple[float, float]]) -> None:
    box = page.locator(".gl").bounding_box()
    assert box is not None
    for x, y in places:
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(150)


def settled(page: Page) -> None:
    """Until nothing moves: two pictures are equal, and the page says of nothing that it is being made."""
    before = None
    for _ in range(100):
        page.wait_for_timeout(500)
        after = shot(page)
        if after == before and page.get_by_text("Drawing the image").count() == 0:
            return
        before = after
    raise TimeoutError("The page never comes to rest.")


def shot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def save(page: Page, path: Path) -> None:
    picture = shot(page)
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


PICTURES = {"serve-teach.png": dark, "serve-phone.png": phone, "serve-moving.webp": moving}
"""File to what makes it."""

if __name__ == "__main__":
    main()
