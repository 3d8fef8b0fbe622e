"""Real files: read, label, write, and the labels lie exactly on the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from pyproj import CRS

from earthwords.geo.geotiff import RasterWriter
from earthwords.geo.grids.area import row_area_m2
from earthwords.geo.grids.tiling import windows
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.vectors.vectorize import PolygonCollector, polygon_schema
from earthwords.geo.vectors.write import VectorWriter
from earthwords.types import Vocabulary, Window
from earthwords.viz.preview import PreviewBuilder

FILES: dict[str, tuple[str, dict[str, Any], int | None, str]] = {
    "naip": ("naip_m_4709963_se_14_1_20180716.tif", {}, 26914, "none"),
    "landsat": ("landsat_2020.tif", {"bands": [3, 2, 1]}, 4326, "none"),
    "pan": ("spacenet/sample_geotiff.tif", {"bands": [1, 1, 1]}, 32616, "percentile 2-98"),
    "neon": ("trees/OSBS_029.tif", {}, 32617, "none"),
    "drone": ("trees/australia.tif", {}, 32753, "none"),
    "no crs": ("trees/2019_YELL_2_541000_4977000_image_crop.tiff", {}, None, "none"),
    "jpeg": ("trees/2019_BLAN_3_751000_4330000_image_crop.jpg", {}, None, "none"),
    "png": ("trees/SOAP_061.png", {}, None, "none"),
}

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(params=FILES)
def scene(request: pytest.FixtureRequest, demo: Path) -> Any:
    name, options, _, _ = FILES[request.param]
    with open_scene(demo / name, **options) as opened:
        yield opened


def expected(scene: Scene) -> tuple[int | None, str]:
    return next((code, stretch) for name, _, code, stretch in FILES.values() if scene.source.endswith(name))


def brightness(scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Three classes by brightness, and a score."""
    raster = scene.read(window)
    grey = raster.data.mean(axis=0)
    labels = np.where(raster.valid, np.digitize(grey, (0.25, 0.5)), 255).astype(np.uint8)
    return labels, grey


def test_it_opens_as_it_says(scene: Scene) -> None:
    code, stretch = expected(scene)
    assert scene.native.crs == (CRS.from_epsg(code) if code else None)
    assert scene.stretch.name == stretch
    raster = scene.read_rgb(Window(row=7, col=3, height=100, width=201))
    assert raster.data.shape == (3, 100, 201)
    assert raster.data.min() >= 0 and raster.data.max() <= 1
    assert raster.valid.mean() > 0.9
    assert raster.data.std() > 0.02


def test_tiles_put_together_are_the_scene(scene: Scene) -> None:
    whole = scene.read(scene.region)
    data = np.zeros_like(whole.data)
    for window in windows(*scene.grid.shape, tile=256, stride=200):
        data[(slice(None), *window.slices)] = scene.read(window).data
    np.testing.assert_array_equal(data, whole.data)


def test_labels_lie_exactly_on_the_source(scene: Scene, vocabulary: Vocabulary, tmp_path: Path) -> None:
    labels, _ = brightness(scene, scene.region)
    colours = [entry.colour for entry in vocabulary.classes]
    path = tmp_path / "labels.tif"
    with RasterWriter(
        path, grid=scene.native, dtype="uint8", nodata=255, colours=colours, tags=scene.tags(), resampling="mode"
    ) as writer:
        for row in range(0, len(labels), 100):
            writer.write(row, labels[row : row + 100])
    with rasterio.open(path) as written, rasterio.open(scene.source) as source:
        np.testing.assert_array_equal(written.read(1), labels)
        assert written.crs == source.crs
        assert written.transform == source.transform
        assert written.shape == source.shape
        assert written.tags()["EARTHWORDS_STRETCH"].startswith(scene.stretch.name)


def test_polygons_cover_what_the_labels_cover(scene: Scene, vocabulary: Vocabulary, tmp_path: Path) -> None:
    grid = scene.native
    collector = PolygonCollector(grid=grid, vocabulary=vocabulary, strip_rows=100)
    preview = PreviewBuilder(grid, vocabulary, max_side=300)
    schema = polygon_schema(grid)
    area = list(schema)[-1]
    pixels = 0.0
    with VectorWriter(tmp_path / "polygons.gpkg", crs=grid.crs, schema=schema) as writer:
        for row in range(0, grid.height, 128):
            window = Window(row=row, col=0, height=min(128, grid.height - row), width=grid.width)
            labels, score = brightness(scene, window)
            collector.add(row, labels, score)
            preview.add(row, scene.read(window).data, labels, labels != 255)
            pixels += float(row_area_m2(grid.window(window)) @ (labels != 255).sum(axis=1))
            for layer in collector.drain():
                writer.write(layer)
        for layer in collector.finish():
            writer.write(layer)
    frame = geopandas.read_file(tmp_path / "polygons.gpkg")
    assert len(frame) == writer.count > 100
    assert frame.crs == grid.crs
    assert frame.geometry.is_valid.all()
    assert frame[area].sum() == pytest.approx(pixels, rel=1e-6)
    assert frame["score"].between(0, 1).all()
    assert preview.image().width > 300


def test_working_in_coarser_pixels(demo: Path) -> None:
    with open_scene(demo / "trees" / "OSBS_029.tif", gsd=0.5) as scene:
        assert scene.grid.shape == (80, 80)
        np.testing.assert_allclose(scene.grid.bounds, scene.native.bounds)
        mean = scene.read_rgb(scene.region).data.mean(axis=(1, 2))
        whole = Window(row=0, col=0, height=80, width=80)
        np.testing.assert_allclose(scene.read(whole).data.mean(axis=(1, 2)), mean, atol=5e-3)
