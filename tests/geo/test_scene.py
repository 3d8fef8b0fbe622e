"""Opening rasters and reading windows of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from earthwords.errors import SourceError
from earthwords.geo.grids.working import working_grid
from earthwords.geo.scene import Scene, open_scene
from earthwords.types import Grid, Window

Make = Callable[..., Path]
SHAPE = (3, 37, 53)


def whole(scene: Scene) -> Window:
    return Window(row=0, col=0, height=scene.grid.height, width=scene.grid.width)


def distinct(rng: np.random.Generator, dtype: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Bands with different ranges."""
    top = 250 if dtype == "uint8" else 4000
    steps = np.arange(1, shape[0] + 1)[:, None, None] / shape[0]
    return (rng.random(shape) * top * steps + 1).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_native_pixels_are_the_files(make_raster: Make, rng: np.random.Generator, dtype: str) -> None:
    data = distinct(rng, dtype, (4, 37, 53))
    with open_scene(make_raster(data), bands=[4, 2, 1]) as scene:
        raster = scene.read_native(Window(row=5, col=11, height=20, width=13))
    assert raster.data.dtype == data.dtype
    np.testing.assert_array_equal(raster.data, data[[3, 1, 0], 5:25, 11:24])
    assert raster.valid.all()
    assert raster.grid.transform == scene.native.transform @ Affine.translation(11, 5)
    assert raster.grid.shape == (20, 13)


@pytest.mark.parametrize(("side", "shape"), [(106, (74, 106)), (20, (14, 20)), (53, (37, 53)), (1, (1, 1))])
def test_a_scene_of_a_given_longer_side(
    make_raster: Make, rng: np.random.Generator, side: int, shape: tuple[int, int]
) -> None:
    with open_scene(make_raster(distinct(rng, "uint8"))) as scene:
        sized = scene.sized(side)
        assert sized.grid.shape == shape
        assert np.allclose(sized.grid.bounds, scene.native.bounds)
        raster = sized.read(whole(sized))
        assert raster.data.shape == (3, *shape) and raster.valid.all()
        means = scene.read(whole(scene)).data.mean(axis=(1, 2))
    np.testing.assert_allclose(raster.data.mean(axis=(1, 2)), means, atol=0.06)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_wide_types_are_stretched_by_percentiles(make_raster: Make, rng: np.random.Generator, dtype: str) -> None:
    data = distinct(rng, dtype)
    with open_scene(make_raster(data)) as scene:
        raster = scene.read(whole(scene))
    limits = np.percentile(data.reshape(3, -1), (2, 98), axis=1)
    np.testing.assert_allclose([scene.stretch.low, scene.stretch.high], limits)
    low, high = limits[:, :, None, None]
    np.testing.assert_allclose(raster.data, np.clip((data - low) / (high - low), 0, 1), atol=1e-6)
    assert raster.data.dtype == np.float32


def test_eight_bits_pass_unchanged(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint8")
    with open_scene(make_raster(data)) as scene:
        np.testing.assert_array_equal(scene.read(whole(scene)).data, (data / 255).astype(np.float32))
    assert scene.tags()["EARTHWORDS_STRETCH"] == "none: red 0..255, green 0..255, blue 0..255"


def test_tags_record_bands_and_stretch(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(distinct(rng, "uint16", (4, 37, 53)), names=("blue", "green", "red", "nir"))
    with open_scene(path, stretch="0,3000", gsd=4) as scene:
        assert scene.tags() == {
            "EARTHWORDS_SOURCE": str(path),
            "EARTHWORDS_BANDS": "3,2,1 (red, green, blue)",
            "EARTHWORDS_STRETCH": "fixed: red 0..3000, green 0..3000, blue 0..3000",
            "EARTHWORDS_GSD": f"{scene.grid.gsd_m:.6g} m",
        }


def test_the_stretch_does_not_depend_on_bounds(make_raster: Make) -> None:
    ramp = np.linspace(0, 9000, 37 * 53).reshape(1, 37, 53) * [[[1]], [[2]], [[3]]]
    path = make_raster(ramp.astype("uint16"))
    with open_scene(path) as scene, open_scene(path, bounds=(404220, 3285100, 404230, 3285110)) as part:
        assert part.stretch == scene.stretch
        assert part.region != scene.region
        assert part.grid == scene.grid


def test_the_stretch_leaves_nodata_out(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint16")
    data[:, :20] = 65535
    with open_scene(make_raster(data, nodata=65535)) as scene:
        np.testing.assert_allclose(scene.stretch.high, np.percentile(data[:, 20:].reshape(3, -1), 98, axis=1))


def test_a_constant_scene_can_be_read(make_raster: Make) -> None:
    with open_scene(make_raster(np.full(SHAPE, 700, "uint16"))) as scene:
        assert np.isfinite(scene.read(whole(scene)).data).all()


# Which pixels are valid


def test_a_pixel_is_nodata_only_if_all_bands_are(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint8")
    data[0, 3, 4] = 0
    data[:, 5, 6] = 0
    with open_scene(make_raster(data, nodata=0)) as scene:
        raster = scene.read(whole(scene))
    assert raster.valid[3, 4]
    assert not raster.valid[5, 6]
    assert raster.valid.sum() == raster.valid.size - 1
    np.testing.assert_array_equal(raster.data[:, 5, 6], 0)


@pytest.mark.parametrize("nodata", [None, -9999.0, float("nan")])
def test_nan_in_any_band_is_invalid(make_raster: Make, rng: np.random.Generator, nodata: float | None) -> None:
    data = distinct(rng, "float32")
    data[1, 3, 4] = np.nan
    data[2, 5, 6] = np.inf
    data[:, 7, 8] = -9999
    with open_scene(make_raster(data, nodata=nodata)) as scene:
        raster = scene.read(whole(scene))
    expected = np.ones(data.shape[1:], bool)
    expected[[3, 5], [4, 6]] = False
    expected[7, 8] = nodata != -9999
    np.testing.assert_array_equal(raster.valid, expected)
    np.testing.assert_array_equal(raster.data[:, ~expected], 0)
    assert np.isfinite(raster.data).all()


def test_a_float32_nodata_of_many_digits_is_found(make_raster: Make, rng: np.random.Generator) -> None:
    lowest = float(np.finfo("float32").min)
    data = distinct(rng, "float32")
    data[:, 3, 4] = lowest
    with open_scene(make_raster(data, nodata=lowest)) as scene:
        valid = scene.read_native(whole(scene)).valid
    assert not valid[3, 4]
    assert valid.sum() == valid.size - 1


def test_nodata_can_be_overridden(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint16")
    data[:, 3, 4], data[:, 5, 6] = 0, 9
    with open_scene(make_raster(data, nodata=0), nodata=9) as scene:
        valid = scene.read_native(whole(scene)).valid
    assert valid[3, 4]
    assert not valid[5, 6]


READ = """
import sys
from earthwords.geo.scene import open_scene
from earthwords.types import Window
with open_scene(sys.argv[1]) as scene:
    valid = scene.read_rgb(Window(row=0, col=0, height=37, width=53)).valid
print(valid.astype(int).tolist())
"""


def test_alpha_and_nodata_hide_both_and_nothing_is_said(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint8", (4, 37, 53))
    data[3] = 255
    data[3, :10], data[:3, 20:30] = 0, 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    path = make_raster(data, colours=colours, nodata=0)
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    np.testing.assert_array_equal(json.loads(done.stdout), (data[3] != 0) & (data[:3] != 0).any(axis=0))


def test_alpha_hides_pixels_and_is_no_band(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint8", (4, 37, 53))
    data[3] = 255
    data[3, 10:20, 5:9] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with open_scene(make_raster(data, colours=colours)) as scene:
        raster = scene.read(whole(scene))
    np.testing.assert_array_equal(raster.valid, data[3] != 0)
    np.testing.assert_allclose(raster.data[:, raster.valid], data[:3, raster.valid] / 255, atol=1e-7)


@pytest.mark.parametrize("internal", ["YES", "NO"])
def test_the_files_mask_hides_pixels(make_raster: Make, rng: np.random.Generator, internal: str) -> None:
    mask = np.full((37, 53), 255, np.uint8)
    mask[10:20, 5:9] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = make_raster(distinct(rng, "uint16"), mask=mask)
    assert path.with_name("scene.tif.msk").exists() == (internal == "NO")
    with open_scene(path) as scene:
        np.testing.assert_array_equal(scene.read(whole(scene)).valid, mask != 0)


def test_few_valid_pixels_between_the_samples_are_found(make_raster: Make) -> None:
    data = np.zeros((3, 3001, 1100), "uint16")
    data[:, 1501, 703] = (100, 200, 300)
    with open_scene(make_raster(data, nodata=0, compress="deflate")) as scene:
        assert scene.stretch.low == (100, 200, 300)
        assert scene.read(Window(row=1500, col=700, height=3, width=9)).valid.sum() == 1


def test_a_scene_without_any_valid_pixel_is_refused(make_raster: Make) -> None:
    path = make_raster(np.zeros(SHAPE, "uint8"), nodata=0)
    with pytest.raises(SourceError, match=r"scene.tif has no valid pixel in bands \(1, 2, 3\)"):
        open_scene(path)


# Scale, palette, formats


def test_scale_and_offset_are_applied(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint16")
    data[:, 3, 4] = 0
    path = make_raster(data, nodata=0, scales=(1e-4, 2e-4, 3e-4), offsets=(-0.1, 0, 0.2))
    with open_scene(path, stretch="none") as scene:
        raster = scene.read_native(whole(scene))
        stretched = scene.read(whole(scene)).data
    scale, offset = np.array([[1e-4, 2e-4, 3e-4], [-0.1, 0, 0.2]])[:, :, None, None]
    expected = data * scale + offset
    assert raster.data.dtype == np.float32
    assert not raster.valid[3, 4]
    np.testing.assert_allclose(raster.data, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(stretched, np.where(raster.valid, np.clip(expected, 0, 1), 0), atol=1e-6)


def test_a_palette_is_read_as_its_colours(make_raster: Make, rng: np.random.Generator) -> None:
    index = rng.integers(0, 3, (1, 37, 53)).astype("uint8")
    colours = {0: (250, 10, 20, 255), 1: (30, 240, 50, 255), 2: (60, 70, 230, 255)}
    with open_scene(make_raster(index, colormap=colours, photometric="palette")) as scene:
        raster = scene.read_native(whole(scene))
    table = np.array([colours[i][:3] for i in range(3)], np.uint8)
    np.testing.assert_array_equal(raster.data, np.moveaxis(table[index[0]], -1, 0))
    assert "colour table" in scene.notes[0]


def test_a_palette_band_asked_for_by_number_is_read_as_numbers(make_raster: Make, rng: np.random.Generator) -> None:
    index = rng.integers(0, 3, (1, 37, 53)).astype("uint8")
    path = make_raster(index, colormap={0: (250, 10, 20)}, photometric="palette")
    with open_scene(path, bands=[1, 1, 1]) as scene:
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, index.repeat(3, 0))


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 2)])
@pytest.mark.filterwarnings("error")
def test_pictures_without_a_crs_are_read_in_pixels(
    tmp_path: Path, rng: np.random.Generator, suffix: str, tolerance: int
) -> None:
    path = tmp_path / f"picture{suffix}"
    image = Image.fromarray(np.moveaxis(distinct(rng, "uint8"), 0, -1))
    image.save(path, **({"subsampling": 0, "quality": 98} if suffix == ".jpg" else {}))
    with open_scene(path) as scene:
        raster = scene.read(whole(scene))
    assert scene.grid.crs is None
    assert scene.notes == ("No CRS: working in pixels, areas in pixels.",)
    decoded = np.asarray(Image.open(path)).astype(float)
    np.testing.assert_allclose(np.moveaxis(raster.data, 0, -1) * 255, decoded, atol=tolerance + 1e-3)
    assert "EARTHWORDS_GSD" not in scene.tags()


def test_a_world_file_without_a_crs_keeps_its_transform(make_raster: Make, rng: np.random.Generator) -> None:
    with open_scene(make_raster(distinct(rng, "uint8"), crs=None)) as scene:
        assert scene.grid.crs is None
        assert scene.grid.transform.c == 404211.9


def test_ground_control_points_count_as_no_crs(make_raster: Make, rng: np.random.Generator) -> None:
    points = [GroundControlPoint(row, col, 10 + col / 99, 50 - row / 99) for row, col in ((0, 0), (0, 52), (36, 0))]
    path = make_raster(distinct(rng, "uint8"), crs="EPSG:4326", transform=None, gcps=points)
    with open_scene(path) as scene:
        assert scene.grid.crs is None
        assert "Only ground control points" in scene.notes[0]
        assert "gdalwarp" in scene.notes[0]


# Grids and windows


def test_the_native_grid_is_the_files(make_raster: Make, rng: np.random.Generator) -> None:
    with open_scene(make_raster(distinct(rng, "uint8"))) as scene:
        assert scene.grid is scene.native
        assert scene.native.crs == CRS.from_epsg(32617)
        assert scene.native.shape == (37, 53)
        assert scene.region == whole(scene)


def test_the_working_grid_covers_the_same_ground() -> None:
    native = Grid(height=37, width=53, transform=Affine(2, 0, 10, 0, -2, 20), crs=CRS.from_epsg(32617))
    grid = working_grid(native, 5)
    assert grid.shape == (round(37 * 0.4), round(53 * 0.4))
    np.testing.assert_allclose(grid.bounds, native.bounds)
    assert working_grid(native, 2.0) is native
    assert working_grid(native, 400).shape == (1, 1)


def test_the_working_grid_of_degrees_is_in_metres() -> None:
    native = Grid(height=370, width=530, transform=Affine(1e-4, 0, -74, 0, -1e-4, 61), crs=CRS.from_epsg(4326))
    grid = working_grid(native, 30)
    assert grid.ground_pixel_m == pytest.approx((30, 30), rel=0.01), "square on the ground, though not in degrees"
    np.testing.assert_allclose(grid.bounds, native.bounds)


SCALES = {"coarser": 5.3, "finer": 0.9, "much coarser": 23.0}


@pytest.mark.parametrize("gsd", SCALES.values(), ids=SCALES)
def test_any_window_equals_the_cut_of_the_whole(
    make_raster: Make, rng: np.random.Generator, gsd: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthwords.geo.resample.CHUNK_PIXELS", 700)  # so that windows are read in parts
    data = distinct(rng, "uint16", (3, 137, 93))
    data[:, rng.random((137, 93)) < 0.2] = 0
    with open_scene(make_raster(data, nodata=0), gsd=gsd) as scene:
        full = scene.read(whole(scene))

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def check(draw: st.DataObject) -> None:
            row, col = (draw.draw(st.integers(0, length - 1)) for length in scene.grid.shape)
            height = draw.draw(st.integers(1, scene.grid.height - row))
            width = draw.draw(st.integers(1, scene.grid.width - col))
            window = Window(row=row, col=col, height=height, width=width)
            part = scene.read(window)
            np.testing.assert_array_equal(part.data, full.data[(slice(None), *window.slices)])
            np.testing.assert_array_equal(part.valid, full.valid[window.slices])

        check()


def test_the_same_scene_at_another_resolution(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(distinct(rng, "uint16"))
    bounds = (404230, 3285100, 404240, 3285110)
    with open_scene(path, bounds=bounds) as scene, open_scene(path, gsd=5, bounds=bounds) as expected:
        coarse = scene.at(5)
        assert (coarse.grid, coarse.region, coarse.stretch) == (expected.grid, expected.region, expected.stretch)
        np.testing.assert_array_equal(coarse.read(whole(coarse)).data, expected.read(whole(expected)).data)
        assert scene.grid == scene.native == coarse.at(None).grid


def test_resampling_equals_pil(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint8")
    with open_scene(make_raster(data), gsd=5) as scene:
        out = scene.read(whole(scene)).data
    for band, native in zip(out, data, strict=True):
        image = Image.fromarray((native / 255).astype(np.float32))
        expected = np.asarray(image.resize(scene.grid.shape[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(band, expected, atol=1e-6)


def test_read_rgb_is_stretched_but_not_resampled(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint8")
    with open_scene(make_raster(data), gsd=7) as scene:
        raster = scene.read_rgb(scene.region)
    np.testing.assert_array_equal(raster.data, (data / 255).astype(np.float32))
    assert raster.grid == scene.native


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((404211.9, 3285068.9, 404317.9, 3285142.9), Window(row=0, col=0, height=37, width=53)),
        ((404213.9, 3285138.9, 404217.9, 3285140.9), Window(row=1, col=1, height=1, width=2)),
        ((404213.0, 3285138.0, 404218.0, 3285141.0), Window(row=0, col=0, height=3, width=4)),
        ((0.0, 3285130.0, 404213.0, 9e6), Window(row=0, col=0, height=7, width=1)),
    ],
)
def test_bounds_snap_outwards(
    make_raster: Make, rng: np.random.Generator, bounds: tuple[float, float, float, float], expected: Window
) -> None:
    with open_scene(make_raster(distinct(rng, "uint8")), bounds=bounds) as scene:
        assert scene.region == expected


def test_bounds_of_a_rotated_scene_hold_all_its_pixels(make_raster: Make, rng: np.random.Generator) -> None:
    turned = Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(2, -2)
    path = make_raster(distinct(rng, "uint8"), transform=turned)
    x, y = turned @ (20.5, 10.5)
    with open_scene(path, bounds=(x - 0.1, y - 0.1, x + 0.1, y + 0.1)) as scene:
        assert scene.region == Window(row=10, col=20, height=1, width=1)


@pytest.mark.parametrize(
    ("names", "said"), [((), True), (("red", "green", "blue"), True), (("nir", "red", "green"), False)]
)
def test_bands_that_cannot_be_red_green_and_blue(
    make_raster: Make, rng: np.random.Generator, names: tuple[str, ...], said: bool
) -> None:
    """Infrared rises over plants where red falls; where the names tell that already, nothing need be found out."""
    plants = rng.random(SHAPE[1:])
    data = np.stack([2000 * plants, 800 - 500 * plants, 900 - 300 * plants]) + rng.normal(0, 20, SHAPE)
    with open_scene(make_raster(data.clip(1).astype("uint16"), names=names), bands=[1, 2, 3]) as scene:
        told = [note for note in scene.notes if "not alike enough" in note]
    assert len(told) == said
    true = np.stack([2000 * plants, 1800 * plants, 1500 * plants + rng.normal(0, 200, SHAPE[1:])])
    with open_scene(make_raster(np.abs(true).astype("uint16"), name="true.tif")) as scene:
        assert not any("not alike enough" in note for note in scene.notes)
