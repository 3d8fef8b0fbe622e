"""Names of the values of class rasters, single pixels, and other grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from earthwords.errors import SourceError, UsageError
from earthwords.geo.class_raster import open_classes
from earthwords.geo.geotiff import RasterWriter
from earthwords.types import Grid
from tests.conftest import CRS as SCENE_CRS
from tests.conftest import TRANSFORM, write_raster

RAT = """<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable tableType="thematic">
<FieldDefn index="0"><Name>COUNT</Name><Type>0</Type><Usage>1</Usage></FieldDefn>
<FieldDefn index="1"><Name>{value}</Name><Type>0</Type><Usage>{use}</Usage></FieldDefn>
<FieldDefn index="2"><Name>Class_Name</Name><Type>2</Type><Usage>{name_use}</Usage></FieldDefn>
<Row index="0"><F>5</F><F>11</F><F>forest</F></Row><Row index="1"><F>6</F><F>42</F><F>open water</F></Row>
</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"""
CATEGORIES = """<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category/><Category>a &amp; b</Category>
<Category>c</Category></CategoryNames></PAMRasterBand></PAMDataset>"""


@pytest.fixture
def labels() -> NDArray[np.uint8]:
    return np.random.default_rng(2).choice(np.array([0, 1, 2, 11, 42, 255], np.uint8), (37, 53))


def titles(path: Path, names: Path | None = None) -> dict[int, str]:
    with open_classes(path, names=names) as raster:
        return {value: name.title for value, name in raster.names.items()}


def test_our_own_names(labels: NDArray[np.uint8], tmp_path: Path) -> None:
    grid = Grid(height=37, width=53, transform=TRANSFORM, crs=CRS.from_user_input(SCENE_CRS))
    tags = {"EARTHWORDS_VOCABULARY": "roof,house; 道路 (road,street); other (trees,grass)"}
    with RasterWriter(
        tmp_path / "labels.tif", grid=grid, dtype="uint8", nodata=255, colours=[(9, 8, 7), (1, 2, 3), (4, 5, 6)],
        categories=["roof", "道路", "other"], tags=tags,
    ) as writer:  # fmt: skip
        writer.write(0, np.minimum(labels, 2))
    with open_classes(tmp_path) as raster:
        assert {value: (name.names, name.colour) for value, name in raster.names.items()} == {
            0: (("roof", "house"), (9, 8, 7)), 1: (("道路",), (1, 2, 3)), 2: (("other",), (4, 5, 6)),
        }  # fmt: skip
        assert raster.asked == {0, 1, 2} and raster.title(1) == "道路" and raster.title(77) == "77"


@pytest.mark.parametrize(("value", "use", "name_use"), [("VALUE", 5, 2), ("Value", 0, 0), ("anything", 5, 2)])
def test_an_attribute_table(labels: NDArray[np.uint8], tmp_path: Path, value: str, use: int, name_use: int) -> None:
    path = write_raster(tmp_path / "map.tif", labels[None])
    Path(f"{path}.aux.xml").write_text(RAT.format(value=value, use=use, name_use=name_use))
    assert titles(path) == {11: "forest", 42: "open water"}


def test_category_names_and_files(labels: NDArray[np.uint8], tmp_path: Path) -> None:
    path = write_raster(tmp_path / "map.tif", labels[None])
    assert titles(path) == {}
    Path(f"{path}.aux.xml").write_text(CATEGORIES)
    assert titles(path) == {1: "a & b", 2: "c"}
    (tmp_path / "names.txt").write_text("zero, nil\n\ntwo\n")
    assert titles(path, tmp_path / "names.txt") == {0: "zero", 2: "two"}, "lines are values; an empty one names none"
    (tmp_path / "names.json").write_text('{"11": "ship, boat", "-3": "sand", "42": "ship"}')
    assert titles(path, tmp_path / "names.json") == {11: "ship (11)", -3: "sand", 42: "ship (42)"}
    for text in ("[1]", '{"a": "b"}', '{"1": 2}', '{"1": ","}', "{", "{}"):
        (tmp_path / "names.json").write_text(text)
        with pytest.raises(UsageError, match=r"names\.json"):
            titles(path, tmp_path / "names.json")


def test_pixels(labels: NDArray[np.uint8], tmp_path: Path) -> None:
    path = write_raster(tmp_path / "map.tif", labels[None], nodata=255, tiled=True, blockxsize=16, blockysize=16)
    rng = np.random.default_rng(1)
    rows, cols = rng.integers(0, 37, 90), rng.integers(0, 53, 90)
    with open_classes(path) as raster:
        values, valid = raster.at(rows, cols)
    np.testing.assert_array_equal(valid, labels[rows, cols] != 255)
    np.testing.assert_array_equal(values[valid], labels[rows, cols][valid])


@pytest.mark.parametrize("masked", ["nodata", "none", "mask"])
def test_another_grid_is_sampled_at_the_centres(labels: NDArray[np.uint8], tmp_path: Path, masked: str) -> None:
    """In another CRS: every pixel by pyproj, one by one."""
    truth = np.kron(labels, np.ones((3, 2), np.uint8))
    truth[truth == 255] = 200
    truth[5:9, 20:30] = 255
    where = {"crs": "EPSG:4326", "transform": Affine(4e-6, 0, 55.27875, 0, -4e-6, 25.1331)}
    path = write_raster(tmp_path / "truth.tif", truth[None], nodata=255 if masked == "nodata" else None, **where)
    if masked == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(truth != 255)
    with rasterio.open(path) as dataset:
        west, north = Transformer.from_crs(4326, SCENE_CRS, always_xy=True).transform(*(dataset.transform @ (0, 0)))
    grid = Grid(
        height=70, width=90, transform=Affine(0.5, 0, west - 3, 0, -0.5, north + 2), crs=CRS.from_user_input(SCENE_CRS)
    )
    rows, cols = np.mgrid[:70, :90]
    x, y = grid.transform @ (cols + 0.5, rows + 0.5)
    lon, lat = Transformer.from_crs(SCENE_CRS, 4326, always_xy=True).transform(x, y)
    across, down = ~where["transform"] @ (lon, lat)
    inside = (across >= 0) & (across < truth.shape[1]) & (down >= 0) & (down < truth.shape[0])
    wanted = truth[np.where(inside, down, 0).astype(int), np.where(inside, across, 0).astype(int)]
    seen = inside & ((wanted != 255) if masked != "none" else True)
    with open_classes(path) as raster:
        assert raster.lay_on(grid)
        parts = [raster.read(row, min(16, 70 - row)) for row in range(0, 70, 16)]
    values, valid = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert 0.2 < seen.mean() < 0.9
    assert (valid != seen).mean() < 0.002 and (values[seen & valid] != wanted[seen & valid]).mean() < 0.002


def test_grids_that_are_the_same_and_those_that_cannot_be_laid_on_each_other(
    labels: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif", labels[None])
    plain = write_raster(tmp_path / "b.tif", labels[None], crs=None, transform=Affine.identity())
    with open_classes(path) as one, open_classes(plain) as other:
        assert not one.lay_on(one.grid) and not other.lay_on(other.grid)
        with pytest.raises(UsageError, match="without a CRS on both sides"):
            one.lay_on(other.grid)


def test_what_is_no_map_of_classes(labels: NDArray[np.uint8], tmp_path: Path) -> None:
    for data, kind, sentence in (
        (np.stack([labels] * 3), UsageError, "has 3 bands, and a map of classes has one"),
        (labels[None].astype(np.complex64), SourceError, "holds complex numbers"),
    ):
        path = write_raster(tmp_path / "map.tif", data)
        with pytest.raises(kind, match=sentence):
            open_classes(path)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(SourceError, match="not a raster that GDAL can read"):
        open_classes(tmp_path / "text.tif")
    with pytest.raises(SourceError, match="is a folder"):
        open_classes(tmp_path)
    with pytest.raises(UsageError, match="read over the network"):
        open_classes("https://example.com/map.tif")
    both = write_raster(tmp_path / "alpha.tif", np.stack([labels, labels]), alpha="yes", photometric="MINISBLACK")
    with open_classes(both) as raster:
        values, valid = raster.read(0, 37)
    np.testing.assert_array_equal(valid, labels != 0)
    np.testing.assert_array_equal(values, labels)
