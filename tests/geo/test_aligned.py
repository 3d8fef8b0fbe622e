"""A scene read on the pixels of another one, against rasterio's warper and against itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.warp import Resampling, reproject
from scipy import ndimage

from earthwords.errors import SourceError, UsageError
from earthwords.geo.aligned import AlignedScene
from earthwords.geo.grids.placement import Placement
from earthwords.geo.scene import Scene, open_scene
from earthwords.types import Grid, Window

UTM = "EPSG:32617"
ONTO = Affine(2.0, 0.0, 404_211.9, 0.0, -2.0, 3_285_142.9)
HEIGHT, WIDTH = 90, 131

Make = Callable[..., Path]


def smooth(height: int, width: int, *, seed: int = 3) -> np.ndarray:
    """`(3, row, col)` uint8 without edges."""
    noise = np.random.default_rng(seed).normal(size=(3, height, width))
    soft = np.stack([ndimage.gaussian_filter(band, 4) for band in noise])
    return np.rint(127 + 100 * soft / np.abs(soft).max()).astype(np.uint8)


@pytest.fixture
def onto(make_raster: Make) -> Scene:
    return open_scene(make_raster(smooth(HEIGHT, WIDTH), name="onto.tif", transform=ONTO), stretch="none")


def whole(scene: Scene) -> Window:
    return Window(row=0, col=0, height=scene.native.height, width=scene.native.width)


def test_shared_pixels_are_those_of_the_file(make_raster: Make, onto: Scene) -> None:
    data = smooth(60, 80, seed=5)
    path = make_raster(data, name="part.tif", transform=ONTO @ Affine.translation(17, 11))
    aligned = AlignedScene(open_scene(path, stretch="none"), onto)
    assert aligned.region == Window(row=11, col=17, height=60, width=80)
    raster = aligned.read_rgb(whole(onto))
    assert raster.grid == onto.native and raster.valid.sum() == 60 * 80
    assert np.array_equal(raster.data[:, 11:71, 17:97], open_scene(path, stretch="none").read_rgb(
        Window(row=0, col=0, height=60, width=80)).data)  # fmt: skip
    assert not raster.data[:, ~raster.valid].any()


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "EPSG:32616"])
def test_another_crs_is_what_the_warper_makes_of_it(make_raster: Make, onto: Scene, crs: str) -> None:
    source = smooth(130, 170, seed=8)
    bounds = rasterio.warp.transform_bounds(UTM, crs, *onto.native.bounds)
    transform = rasterio.transform.from_bounds(*bounds, 170, 130)
    path = make_raster(source, name="other.tif", crs=crs, transform=transform)
    aligned = AlignedScene(open_scene(path, stretch="none"), onto)
    found = aligned.read_rgb(whole(onto))
    expected = np.zeros((3, HEIGHT, WIDTH), np.float32)
    how = {"src_transform": transform, "src_crs": crs, "dst_transform": ONTO, "dst_crs": UTM}
    reproject(source.astype(np.float32) / 255, expected, **how, resampling=Resampling.cubic, tolerance=0)
    inner = ndimage.binary_erosion(found.valid, iterations=4)
    assert inner.mean() > 0.8
    assert np.abs(found.data - expected)[:, inner].max() < 0.01
    assert np.abs(found.data - expected)[:, inner].mean() < 0.002


def test_a_pixel_is_the_same_in_every_window(make_raster: Make, onto: Scene) -> None:
    path = make_raster(smooth(130, 170), name="other.tif", crs="EPSG:32616", transform=_in_zone_16(onto.native))
    aligned = AlignedScene(open_scene(path, stretch="none"), onto, shift=(0.3, -1.7))
    every = aligned.read_rgb(whole(onto))
    for window in (Window(row=31, col=33, height=1, width=5), Window(row=64, col=2, height=26, width=100)):
        part = aligned.read_rgb(window)
        assert np.array_equal(part.data, every.data[:, *window.slices])
        assert np.array_equal(part.valid, every.valid[window.slices])


def test_finer_pixels_are_averaged(make_raster: Make, onto: Scene) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH)).astype(np.uint8)
    fine = np.kron(coarse, np.ones((1, 4, 4), np.uint8))
    checked = fine.copy()
    checked[:, ::2, ::2], checked[:, 1::2, 1::2] = 0, 255  # what single pixels of the fine grid must not decide
    path = make_raster(checked, name="fine.tif", transform=ONTO @ Affine.scale(0.25))
    found = AlignedScene(open_scene(path, stretch="none"), onto).read_rgb(whole(onto))
    mean = checked.reshape(3, HEIGHT, 4, WIDTH, 4).mean(axis=(2, 4)) / 255
    assert found.valid.all()
    assert np.corrcoef(found.data.ravel(), mean.ravel())[0, 1] > 0.9
    assert found.data.min() > 0.1 and found.data.max() < 0.9


def test_a_shift_is_taken_out(make_raster: Make, onto: Scene) -> None:
    data = smooth(HEIGHT, WIDTH)
    path = make_raster(np.roll(data, (3, -2), (1, 2)), name="moved.tif", transform=ONTO)
    scene = open_scene(path, stretch="none")
    found = AlignedScene(scene, onto, shift=(3.0, -2.0))
    assert found.region == Window(row=0, col=2, height=HEIGHT - 3, width=WIDTH - 2)
    assert np.array_equal(found.read_rgb(found.region).data, onto.read_rgb(found.region).data)
    half = AlignedScene(scene, onto, shift=(2.5, -2.0)).read_rgb(found.region).data
    between = (found.read_rgb(found.region).data[:, :-1] + found.read_rgb(found.region).data[:, 1:]) / 2
    assert np.abs(half[:, 4:] - between[:, 3:]).max() < 0.02


def test_nodata_stays_nodata_and_does_not_bleed(make_raster: Make, onto: Scene) -> None:
    data = np.full((3, HEIGHT, WIDTH), 200, np.uint8)
    data[:, 20:50, 30:70] = 0
    path = make_raster(data, name="holes.tif", nodata=0, transform=ONTO @ Affine.translation(0.4, 0.3))
    raster = AlignedScene(open_scene(path, stretch="none"), onto).read_rgb(whole(onto))
    assert not raster.valid[22:49, 32:69].any()
    assert raster.valid[:20, 1:].sum() > 18 * (WIDTH - 2)
    assert np.allclose(raster.data[:, raster.valid], 200 / 255, atol=1e-6)


def test_no_common_ground(make_raster: Make, onto: Scene) -> None:
    far = make_raster(smooth(20, 30), name="far.tif", transform=ONTO @ Affine.translation(5000, 0))
    with pytest.raises(SourceError, match=r"far\.tif has no ground in common with .*onto\.tif"):
        AlignedScene(open_scene(far), onto)


def test_one_grid_without_a_crs() -> None:
    known = Grid(height=4, width=5, transform=ONTO, crs=CRS.from_user_input(UTM))
    unknown = Grid(height=4, width=5, transform=Affine.identity(), crs=None)
    with pytest.raises(UsageError, match="has a CRS and the other has none"):
        Placement(target=known, source=unknown)
    same = Placement(target=unknown, source=unknown)
    assert same.extent() == Window(row=0, col=0, height=4, width=5) and same.zoom == 1


def test_places_between_the_nodes_are_those_of_the_projection(onto: Scene) -> None:
    other = Grid(height=130, width=170, transform=_in_zone_16(onto.native), crs=CRS.from_epsg(32616))
    placement = Placement(target=onto.native, source=other)
    window = Window(row=7, col=21, height=50, width=77)
    rows, cols = placement.places(window)
    at_cols, at_rows = np.meshgrid(np.arange(21, 98) + 0.5, np.arange(7, 57) + 0.5)
    xs, ys = rasterio.warp.transform(
        UTM, "EPSG:32616", *(ONTO.a * at_cols + ONTO.c).reshape(1, -1), *(ONTO.e * at_rows + ONTO.f).reshape(1, -1)
    )
    inverse = ~other.transform
    assert np.abs(inverse.a * np.array(xs) + inverse.b * np.array(ys) + inverse.c - cols.ravel()).max() < 1e-3
    assert np.abs(inverse.d * np.array(xs) + inverse.e * np.array(ys) + inverse.f - rows.ravel()).max() < 1e-3


def _in_zone_16(grid: Grid) -> Affine:
    """A transform of 130 x 170 pixels over a grid, in the neighbouring zone."""
    bounds = rasterio.warp.transform_bounds(UTM, "EPSG:32616", *grid.bounds)
    return rasterio.transform.from_bounds(*bounds, 170, 130)
