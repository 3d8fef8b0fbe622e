"""One pass over a map: areas, and pixels drawn from every class, the same however the map is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod
from scipy.stats import chisquare, kstest

from earthwords.errors import SourceError
from earthwords.evaluation.accuracy import census as module
from earthwords.evaluation.accuracy.census import Census, take_census
from earthwords.geo import class_raster
from earthwords.geo.class_raster import open_classes
from tests.conftest import write_raster

HEIGHT, WIDTH = 140, 190


@pytest.fixture(scope="module")
def labels() -> NDArray[np.uint8]:
    """A corner of class 7, a slanted band of 3 that narrows, the rest 12; nodata 255 along an edge."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    labels = np.full((HEIGHT, WIDTH), 12, np.uint8)
    labels[np.abs(cols - rows) < 12 + rows // 6] = 3
    labels[(rows > 100) & (cols < 30)] = 7
    labels[cols + rows // 3 > 185] = 255
    return labels


@pytest.fixture
def path(labels: NDArray[np.uint8], tmp_path: Path) -> Path:
    return write_raster(tmp_path / "map.tif", labels[None], nodata=255)


def census_of(path: Path, *, most: int = 0, seed: int = 0) -> Census:
    with open_classes(path) as raster:
        return take_census(raster, most=most, seed=seed)


def test_pixels_and_areas(path: Path, labels: NDArray[np.uint8]) -> None:
    found = census_of(path)
    assert found.values == (3, 7, 12)
    assert found.pixels == tuple(int((labels == value).sum()) for value in (3, 7, 12))
    np.testing.assert_allclose(found.areas, np.array(found.pixels) * 0.25, rtol=2e-3)


def test_areas_in_degrees(tmp_path: Path) -> None:
    """Rows of a map in degrees shrink towards the pole; areas are those of the ellipsoid."""
    labels = np.repeat(np.repeat(np.array([1, 1, 2, 2, 2, 5], np.int16), 40)[:, None], 36, axis=1)
    path = write_raster(tmp_path / "map.tif", labels[None], crs="EPSG:4326", transform=Affine(0.5, 0, 10, 0, -0.25, 85))
    found = census_of(path)
    geod = Geod(ellps="WGS84")
    edges = np.linspace(10, 28, 400)

    def belt(south: float, north: float) -> float:
        """Between parallels, of many points: sides of geodesics would be bent."""
        lon = np.concatenate([edges, edges[::-1]])
        return abs(geod.polygon_area_perimeter(lon, np.repeat([south, north], 400))[0])

    np.testing.assert_allclose(found.areas, [belt(65, 85), belt(35, 65), belt(25, 35)], rtol=2e-3)


@pytest.mark.parametrize("seed", [0, 9])
def test_draws_do_not_depend_on_how_the_map_is_cut(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: NDArray[np.uint8]
) -> None:
    whole = census_of(path, most=40, seed=seed)
    monkeypatch.setattr(class_raster, "_STRIP_PIXELS", WIDTH * 7)
    monkeypatch.setattr(module, "_BATCH", WIDTH * 3)
    tiled = write_raster(
        tmp_path / "tiled.tif", labels[None], nodata=255, tiled=True, blockxsize=32, blockysize=16, compress="deflate"
    )
    with open_classes(tiled) as raster:
        assert [row for row, _, _ in raster.strips()][:3] == [0, 7, 14]
    cut = census_of(tiled, most=40, seed=seed)
    assert cut.pixels == whole.pixels
    np.testing.assert_allclose(cut.areas, whole.areas, rtol=1e-12)
    for one, other in zip(cut.drawn, whole.drawn, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.cols, other.cols)
    other_seed = census_of(path, most=40, seed=seed + 1)
    assert not np.array_equal(other_seed.drawn[0].rows, whole.drawn[0].rows)


def test_draws_lie_in_their_class_and_are_different_pixels(path: Path, labels: NDArray[np.uint8]) -> None:
    found = census_of(path, most=300)
    for value, pixels, drawn in zip(found.values, found.pixels, found.drawn, strict=True):
        assert (labels[drawn.rows, drawn.cols] == value).all()
        assert len({*zip(drawn.rows.tolist(), drawn.cols.tolist(), strict=True)}) == min(300, pixels)
    fewer = census_of(path, most=50)
    np.testing.assert_array_equal(fewer.drawn[2].cols, found.drawn[2].cols[:50]), "the first of more"


def test_draws_are_spread_evenly(path: Path, labels: NDArray[np.uint8]) -> None:
    """Counts in cells of the narrowing band against its pixels there, of many seeds together."""
    cells = np.zeros((7, 10))
    np.add.at(cells, tuple(part // 20 for part in np.nonzero(labels == 3)), 1)
    hits = np.zeros_like(cells)
    for seed in range(30):
        drawn = census_of(path, most=25, seed=seed).drawn[0]
        np.add.at(hits, (drawn.rows // 20, drawn.cols // 20), 1)
    there = cells > 30
    expected = cells[there] / cells[there].sum() * hits[there].sum()
    assert there.sum() > 15 and chisquare(hits[there], expected).pvalue > 0.01
    assert hits[cells == 0].sum() == 0


def test_draws_follow_the_area_of_pixels(tmp_path: Path) -> None:
    """In degrees: uniform on the ground, so uniform in the sine of the latitude, not in rows."""
    labels = np.ones((160, 60), np.uint8)
    path = write_raster(tmp_path / "map.tif", labels[None], crs="EPSG:4326", transform=Affine(0.5, 0, 10, 0, -0.5, 80))
    rows = np.concatenate([census_of(path, most=60, seed=seed).drawn[0].rows for seed in range(25)])
    rng = np.random.default_rng(0)
    sines = np.sin(np.radians(80 - 0.5 * (rows + rng.random(len(rows)))))
    assert kstest(sines, "uniform", args=(0, np.sin(np.radians(80)))).pvalue > 0.01
    assert kstest(rows / 160, "uniform").pvalue < 1e-6


def test_numbers_that_are_whole_and_others(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    values = np.where(labels == 255, np.nan, labels.astype(np.float32) - 5)
    found = census_of(write_raster(tmp_path / "float.tif", values[None]))
    assert found.values == (-2, 2, 7) and found.pixels == census_of_array(labels, tmp_path).pixels
    wide = np.where(labels == 255, -1, labels.astype(np.int32) * 100_000)
    assert census_of(write_raster(tmp_path / "wide.tif", wide[None], nodata=-1)).values == (300_000, 700_000, 1_200_000)
    with pytest.raises(SourceError, match=r"holds -1\.5, and classes are whole numbers"):
        census_of(write_raster(tmp_path / "half.tif", (values + 0.5)[None]))
    with pytest.raises(SourceError, match="more than 1,000 different values"):
        many = np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(1, HEIGHT, WIDTH)
        census_of(write_raster(tmp_path / "many.tif", many))
    with pytest.raises(SourceError, match="has no valid pixel"):
        census_of(write_raster(tmp_path / "none.tif", np.full((1, 9, 7), 255, np.uint8), nodata=255))


def census_of_array(labels: NDArray[np.uint8], folder: Path) -> Census:
    return census_of(write_raster(folder / "again.tif", labels[None], nodata=255))
