"""What Python can hand in beside paths: open rasterio datasets, and arrays that are told where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from earthwords.errors import SourceError, UsageError
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.scene import open_scene
from earthwords.types import Window
from tests.geo.conftest import TRANSFORM

Make = Callable[..., Path]
SHAPE = (37, 53)
PART = Window(row=5, col=7, height=20, width=31)


def image(rng: np.random.Generator, dtype: str = "uint8", bands: int = 3) -> np.ndarray:
    return (rng.random((*SHAPE, bands)) * np.array([250, 120, 60, 255])[:bands] + 1).astype(dtype)


def test_an_open_dataset_is_read_in_place_and_stays_open(make_raster: Make, rng: np.random.Generator) -> None:
    data = rng.integers(0, 3000, (4, *SHAPE)).astype("uint16")
    path = make_raster(data, names=("B2", "B3", "B4", "B8"), nodata=0)
    with open_scene(path, bounds=(404220, 3285100, 404250, 3285130), gsd=4) as named, rasterio.open(path) as dataset:
        with open_scene(dataset, bounds=(404220, 3285100, 404250, 3285130), gsd=4) as scene:
            assert (scene.native, scene.grid, scene.region) == (named.native, named.grid, named.region)
            assert scene.stretch == named.stretch and scene.notes == named.notes
            np.testing.assert_array_equal(scene.read_native(PART).data, named.read_native(PART).data)
            assert scene.source == str(path)
        assert not dataset.closed
        np.testing.assert_array_equal(dataset.read(1), data[0])
        with pytest.raises(SourceError, match="was closed"):
            scene.read_native(PART)


def test_a_dataset_in_memory(rng: np.random.Generator) -> None:
    data = rng.integers(1, 255, (3, *SHAPE)).astype("uint8")
    profile = {"driver": "GTiff", "height": 37, "width": 53, "count": 3, "dtype": "uint8"}
    with MemoryFile() as memory:
        with memory.open(**profile, crs="EPSG:32617", transform=TRANSFORM) as out:
            out.write(data)
        with memory.open() as dataset, open_scene(dataset) as scene:
            np.testing.assert_array_equal(scene.read_native(scene.region).data, data)
        with open_scene(memory) as scene:
            assert scene.native.crs == CRS.from_epsg(32617)
            np.testing.assert_array_equal(scene.read_native(PART).data, data[(slice(None), *PART.slices)])


def test_a_dataset_warped_on_the_fly(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(rng.integers(1, 255, (3, *SHAPE)).astype("uint8"))
    with rasterio.open(path) as dataset, WarpedVRT(dataset, crs="EPSG:3857") as warped:
        expected, mask = warped.read(), warped.dataset_mask()
        with open_scene(warped) as scene:
            assert scene.native.crs == CRS.from_epsg(3857)
            raster = scene.read_native(scene.region)
        assert not warped.closed
    np.testing.assert_array_equal(raster.data, expected)
    assert (raster.valid <= (mask != 0)).all()


def test_datasets_that_cannot_be_read(make_raster: Make, rng: np.random.Generator, tmp_path: Path) -> None:
    path = make_raster(image(rng).transpose(2, 0, 1))
    dataset = rasterio.open(path)
    scene = open_scene(dataset)
    dataset.close()
    with pytest.raises(SourceError, match="is closed; open it again"):
        open_scene(dataset)
    with pytest.raises(SourceError, match="was closed"):
        scene.read_native(PART)
    profile = {"height": 9, "width": 9, "count": 3, "dtype": "uint8", "crs": "EPSG:32617", "transform": TRANSFORM}
    out = rasterio.open(tmp_path / "new.tif", "w", driver="GTiff", **profile)
    with out, pytest.raises(SourceError, match="is being written; close it and open it for reading"):
        open_scene(out)


def test_after_a_failure_a_dataset_is_opened_anew(make_raster: Make, rng: np.random.Generator) -> None:
    """GDAL may give zeros for blocks that it could not read, at the second attempt."""
    path = make_raster(rng.integers(1, 255, (3, 640, 640)).astype("uint8"), compress="deflate", blockysize=16)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20000] = bytes(20000)
    with rasterio.open(path) as dataset:
        scene = open_scene(dataset)
        path.write_bytes(bytes(content))
        for _ in range(3):
            with pytest.raises(SourceError, match="damaged"):
                scene.read_native(Window(row=0, col=0, height=640, width=640))
        assert not dataset.closed
    scene.close()


def test_a_raster_has_its_own_place(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(image(rng).transpose(2, 0, 1))
    with pytest.raises(UsageError, match="given with arrays only; a raster has its own"):
        open_scene(path, crs="EPSG:4326", transform=TRANSFORM)
    with rasterio.open(path) as dataset, pytest.raises(UsageError, match="a raster has its own"):
        open_scene(dataset, transform=TRANSFORM)


# arrays


@pytest.mark.parametrize(
    "crs", [32617, "EPSG:32617", CRS.from_epsg(32617), rasterio.crs.CRS.from_epsg(32617), CRS.from_epsg(32617).to_wkt()]
)
@pytest.mark.parametrize("transform", [TRANSFORM, tuple(TRANSFORM)[:6], list(TRANSFORM)])
def test_an_array_is_where_it_is_said_to_be(rng: np.random.Generator, crs: Any, transform: Any) -> None:
    array = image(rng)
    with open_scene(array, transform=transform, crs=crs, gsd=4) as scene:
        assert scene.native.transform == TRANSFORM and scene.native.crs == CRS.from_epsg(32617)
        assert scene.native.gsd_m == pytest.approx(2, rel=1e-3) and scene.grid.gsd_m == pytest.approx(4, rel=0.03)
        assert scene.asked_gsd == 4 and scene.notes == ()
    with open_scene(array, transform=transform, crs=crs, bounds=(404221.9, 3285100.9, 404241.9, 3285122.9)) as part:
        assert part.region == Window(row=10, col=5, height=11, width=10)


def test_the_size_of_pixels_alone_makes_a_plane_in_metres(rng: np.random.Generator) -> None:
    with open_scene(image(rng), gsd=0.3) as scene:
        assert scene.native.gsd_m == pytest.approx(0.3)
        assert scene.grid == scene.native and scene.asked_gsd is None
        assert PixelAreas(scene.native).unit == "m2"
        np.testing.assert_allclose(PixelAreas(scene.native).block(0, 37), 0.09)
        assert scene.at(0.6).grid.shape == (18, 26)


def test_a_transform_without_a_crs_is_kept_and_said(rng: np.random.Generator) -> None:
    with open_scene(image(rng), transform=TRANSFORM) as scene:
        assert scene.native.crs is None and scene.native.transform == TRANSFORM
        assert scene.notes == ("No CRS: working in pixels, areas in pixels.",)
    with pytest.raises(UsageError, match="without a CRS"):
        open_scene(image(rng), transform=TRANSFORM, gsd=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crs": 32617}, "only together with its transform; give both, or gsd alone"),
        ({"crs": "EPSG:999999", "transform": TRANSFORM}, "'EPSG:999999' is no CRS"),
        ({"crs": 32617, "transform": (1, 2, 3)}, "must be an Affine or its six numbers"),
        ({"crs": 32617, "transform": "north"}, "must be an Affine or its six numbers"),
        ({"crs": 32617, "transform": TRANSFORM.to_gdal()}, "is in GDAL's order; use Affine.from_gdal"),
        ({"transform": Affine(0, 0, 5, 0, 0, 5)}, "makes pixels without area"),
        ({"transform": Affine(np.nan, 0, 5, 0, 1, 5)}, "makes pixels without area"),
        ({"gsd": -1}, "must be a positive number of metres, got -1"),
        ({"gsd": np.inf}, "must be a positive number of metres"),
        ({"bands": [3, 2, 1]}, "bands are for files and named dimensions; index it"),
        ({"nodata": -1}, "cannot occur in uint8 data"),
    ],
)
def test_places_that_make_no_sense(rng: np.random.Generator, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_scene(image(rng), **options)


def test_degrees_that_are_none(rng: np.random.Generator) -> None:
    with open_scene(image(rng), transform=TRANSFORM, crs=4326) as scene:
        assert scene.native.crs is None
        assert "cannot be degrees of WGS 84" in scene.notes[0]


def test_what_a_masked_array_hides_and_nodata(rng: np.random.Generator) -> None:
    array = image(rng)
    hidden = rng.random(SHAPE) < 0.3
    masked = np.ma.MaskedArray(array, np.repeat(hidden[..., None], 3, axis=2))
    with open_scene(masked) as scene:
        np.testing.assert_array_equal(scene.read_rgb(scene.region).valid, ~hidden)
    array[4, 6], array[5, 6, 0] = 77, 77
    with open_scene(array, nodata=77) as scene:
        valid = scene.read_rgb(scene.region).valid
    assert not valid[4, 6] and valid.sum() == valid.size - 1


@pytest.mark.parametrize("shape", ["row, col", "row, col, 1", "row, col, 2"])
def test_grey_arrays_are_repeated_and_that_is_said(rng: np.random.Generator, shape: str) -> None:
    grey = image(rng)[..., :1]
    alpha = np.where(rng.random(SHAPE) < 0.5, 255, 0).astype("uint8")
    array = {"row, col": grey[..., 0], "row, col, 1": grey, "row, col, 2": np.dstack([grey, alpha])}[shape]
    with open_scene(array) as scene:
        raster = scene.read_native(scene.region)
        assert scene.notes == ("One band, repeated as red, green, blue.",)
        assert scene.choice.repeated and scene.choice.true_colour is False
    np.testing.assert_array_equal(raster.data, np.repeat(grey.transpose(2, 0, 1), 3, axis=0))
    np.testing.assert_array_equal(raster.valid, alpha != 0 if shape.endswith("2") else np.ones(SHAPE, bool))


def test_anything_that_is_a_path(make_raster: Make, rng: np.random.Generator) -> None:
    class Place:
        def __fspath__(self) -> str:
            return str(path)

        def __str__(self) -> str:
            return str(path)

    path = make_raster(image(rng).transpose(2, 0, 1))
    with open_scene(Place()) as scene:
        assert scene.native.shape == SHAPE


@pytest.mark.parametrize("source", [object(), None, {"a": 1}, b"scene.tif", ["a", "b"]])
def test_what_is_no_image(source: Any) -> None:
    with pytest.raises(UsageError, match="An image must hold numbers"):
        open_scene(source)
