"""One server and one browser for all tests of the page."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from earthwords.synthetic import render_scene
from tests.web.serving import Server, start

if TYPE_CHECKING:
    from tests.web.running import Shown

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SERVED = ("fastapi", "uvicorn", "rio_tiler", "sse_starlette")
BROWSED = ("playwright", "axe_playwright_python")


def write(
    path: Path, *, seed: int, theme: str, height: int, width: int, east: float = 0.0, placed: bool = True
) -> Path:
    """A rendered scene of 0.5 m; without a place it is a bare picture."""
    image = np.asarray(render_scene(height=height, width=width, gsd=0.5, theme=theme, seed=seed).image)
    where = {"crs": "EPSG:32640", "transform": Affine(0.5, 0, 326_417.5 + east, 0, -0.5, 2_781_133.0)} if placed else {}
    options = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8", **where}
    with rasterio.open(path, "w", **options) as dataset:
        dataset.write(np.moveaxis(image, -1, 0))
    return path


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes with a place and one without."""
    folder = tmp_path_factory.mktemp("images")
    write(folder / "harbour.tif", seed=5, theme="harbour", height=336, width=448)
    write(folder / "town.tif", seed=8, theme="town", height=300, width=420, east=5_000.0)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(folder / "plain.tif", seed=9, theme="industrial", height=200, width=260, placed=False)
    return folder


def check_parts(names: tuple[str, ...], what: str) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{what} is not tested without the packages {', '.join(missing)}")


@pytest.fixture(scope="package")
def server(images: Path) -> Iterator[Server]:
    """Of the folder of images; started once for all tests here."""
    check_parts(SERVED, "the server")
    served = start(images)
    yield served
    served.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    check_parts((*SERVED, *BROWSED), "the page")
    if CHROMIUM is None:
        pytest.skip("the page is not tested without Chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def shown(server: Server, browser: Any) -> Iterator[Shown]:
    """A fresh browser that knows nothing; afterwards: it complained of nothing and asked nobody else."""
    from tests.web.running import Shown

    with browser.new_context(viewport={"width": 1100, "height": 700}, locale="en-GB") as context:
        shown = Shown(context.new_page(), server)
        yield shown
        assert shown.strangers() == []
        assert shown.complaints == []
