"""Text of older software in rasters, names that are no text, and paths behind which there is no file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.crs import CRS

from earthwords.errors import OutputError, SourceError
from earthwords.files.output_tags import wrote
from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import open_scene
from earthwords.geo.sources.gdal_dataset import open_dataset
from earthwords.geo.sources.network import Network
from earthwords.geo.vectors.polygons import read_polygons
from earthwords.types import Grid, Window

MakeRaster = Callable[..., Path]
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes differ")


def exchanged(path: Path, before: bytes, after: bytes) -> Path:
    """The file with bytes of its text exchanged, as many as there were."""
    data = path.read_bytes()
    assert before in data and len(before) == len(after)
    path.write_bytes(data.replace(before, after))
    return path


def test_band_names_of_older_software(make_raster: MakeRaster, rng: np.random.Generator) -> None:
    data = rng.integers(1, 255, (4, 40, 60), dtype=np.uint8)
    path = exchanged(make_raster(data, names=("GRUEN_AB", "rot", "北", "")), b"GRUEN_AB", b"gr\xfcn b\xe4n")
    with open_scene(path, bands=[2, 1, 3]) as scene:
        assert scene.bands == ("rot", "grün bän", "北")
        raster = scene.read(Window(row=0, col=0, height=40, width=60))
    np.testing.assert_allclose(raster.data, data[[1, 0, 2]] / np.float32(255), atol=1e-6)
    with open_scene(path, bands=["rot", "grün bän", "北"]) as scene:
        assert scene.bands == ("rot", "grün bän", "北"), "they can be asked for by name"


def test_a_crs_of_older_software_is_named(make_raster: MakeRaster, rng: np.random.Generator) -> None:
    wkt = (
        'PROJCS["NAMEXXA",GEOGCS["A",DATUM["B",SPHEROID["C",6378137,298.25]],PRIMEM["Greenwich",0],'
        'UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
        'PARAMETER["central_meridian",15],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],'
        'PARAMETER["false_northing",0],UNIT["metre",1]]'
    )
    path = make_raster(rng.integers(1, 255, (3, 40, 60), dtype=np.uint8), crs=CRS.from_wkt(wkt))
    exchanged(path, b"NAMEXXA", b"NAME\xfc\xe4A")
    with pytest.raises(SourceError, match=r"scene\.tif names its CRS in text that is not UTF-8 .*NAMEüäA"):
        open_scene(path)


@posix
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x.tif", "x.tif is a link to /nowhere/gone.tif, which does not exist; correct"),
        ("loop.tif", "loop.tif is a link that leads in a circle; correct"),
        ("pipe.tif", "pipe.tif is a pipe, not a file; save what it holds as a file"),
        ("/dev/null", "/dev/null is a device, not a file"),
        ("a.txt/b.tif", "does not exist: a.txt is a file, not a folder"),
        (f"{'n' * 300}.tif", "is too long for a path"),
        ("folder", "folder is a folder, not a raster"),
        ("y.tif", "y.tif does not exist. Did you mean 'yy.tif'?"),
        ("qqqq.jp2", "qqqq.jp2 does not exist. Check the path."),
    ],
)
def test_paths_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.tif").symlink_to("/nowhere/gone.tif")
    Path("loop.tif").symlink_to("loop.tif")
    Path("a.txt").touch()
    Path("yy.tif").touch()
    Path("folder").mkdir()
    os.mkfifo("pipe.tif")
    with pytest.raises(SourceError) as caught:
        open_dataset(name, network=Network.NONE)
    assert why in str(caught.value)
    assert not wrote(name), "and nobody waits for it"


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_no_text(make_raster: MakeRaster, rng: np.random.Generator, tmp_path: Path) -> None:
    path = make_raster(rng.integers(1, 255, (3, 40, 60), dtype=np.uint8))
    odd = tmp_path / os.fsdecode(b"caf\xe9.tif")
    path.rename(odd)
    with pytest.raises(SourceError, match=r"caf\\xe9\.tif has a name that is not UTF-8 text, which GDAL cannot open"):
        open_scene(odd)
    for target in (odd, odd.with_suffix("")):
        with pytest.raises(OutputError, match=r"caf\\xe9.* is not UTF-8 text; choose another name for DST"):
            plan_outputs(target, probabilities=False, overwrite=True)


def test_a_note_for_an_output_that_is_named(make_raster: MakeRaster, rng: np.random.Generator) -> None:
    path = make_raster(rng.integers(1, 255, (3, 40, 60), dtype=np.uint8))
    assert not wrote(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(EARTHWORDS_SOURCE="a.tif")
    assert wrote(path)
    with open_scene(path) as scene:
        assert f"{path} was written by earthwords itself." in scene.notes


def test_classes_of_older_vector_files(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"class": ["XXXXX", "建筑"]}, geometry=[shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 3)], crs="EPSG:32617"
    )
    frame.to_file(tmp_path / "a.gpkg")
    path = exchanged(tmp_path / "a.gpkg", b"XXXXX", b"caf\xe9s")
    grid = Grid(height=4, width=5, transform=Affine.identity(), crs=frame.crs)
    shapes, classes, column = read_polygons(str(path), grid)
    assert column == "class" and classes.tolist() == ["cafés", "建筑"]
    assert shapely.area(shapes).tolist() == [1, 2]


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize(("big", "order"), [("NO", "LITTLE"), ("YES", "LITTLE"), ("NO", "BIG")])
def test_the_tag_is_found_in_every_kind_of_tiff(
    make_raster: MakeRaster, rng: np.random.Generator, tmp_path: Path, driver: str, big: str, order: str
) -> None:
    data = rng.integers(1, 255, (3, 600, 700), dtype=np.uint8)
    path = make_raster(data, tiled=True, bigtiff=big, endianness=order)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(EARTHWORDS_SOURCE="a.tif")
    if driver == "COG":
        rasterio.shutil.copy(path, tmp_path / "cog.tif", driver="COG", BIGTIFF=big)
        path = tmp_path / "cog.tif"
    assert wrote(path)
    whole = path.read_bytes()
    for size in (0, 3, 8, 20, 200):
        path.write_bytes(whole[:size])
        assert not wrote(path), "a damaged file is a scene like others, which then fails"
