"""A pipe that nobody writes to is refused under whatever name; GDAL would wait for it without end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from earthwords.errors import SourceError
from earthwords.geo.scene import open_scene
from earthwords.geo.sources.gdal_names import places_in
from earthwords.geo.vectors.vector_files import local_vectors
from earthwords.inference.checks import check_raster

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
NAMES = (
    "vrt://p.tif", "vrt://p.tif?bands=1", "GTIFF_DIR:1:p.tif", "/vsigzip/p.tif", "/vsizip/p.tif/x.tif",
    "/vsizip/{p.tif}/x.tif", "/vsisubfile/0_100,p.tif", "NETCDF:p.tif:red", 'NETCDF:"p.tif":red', "file://HERE/p.tif",
    "zip://p.tif!x.tif", "/vsicached?file=p.tif", "DERIVED_SUBDATASET:AMPLITUDE:p.tif", "/vsigzip//vsizip/p.tif/a",
)  # fmt: skip
"""Of the same pipe."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe `p.tif`, and a raster `deep/a.tif` with another one beside it, of no concern."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("p.tif")
    Path("deep").mkdir()
    os.mkfifo("deep/other.tfw")
    with rasterio.open("deep/a.tif", "w", "GTiff", 13, 9, 3, dtype="uint8") as dataset:
        dataset.write(np.random.default_rng(5).integers(1, 250, (3, 9, 13), np.uint8))
    return tmp_path


def vrt(path: str, part: str) -> str:
    """Three bands of a part that has to be opened for its size."""
    source = f'<SourceFilename relativeToVRT="1">{part}</SourceFilename><SourceBand>1</SourceBand>'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
        for n in (1, 2, 3)
    )
    Path(path).write_text(f'<VRTDataset rasterXSize="13" rasterYSize="9">{bands}</VRTDataset>', encoding="utf-8")
    return path


def refused(source: str, name: str = "p.tif") -> None:
    with pytest.raises(SourceError, match=rf"{name} is a pipe, not a file; save what it holds as a file\.$"):
        open_scene(source)


@pytest.mark.parametrize("name", NAMES)
def test_inside_a_name(folder: Path, name: str) -> None:
    source = name.replace("HERE", str(folder))
    refused(source)
    with pytest.raises(SourceError, match="is a pipe"):
        check_raster(source)
    with pytest.raises(SourceError, match="is a pipe"), local_vectors(source):
        pass


@pytest.mark.parametrize("name", ["GTIFF_DIR:1:../p.tif", "/vsigzip/HERE/p.tif", "vrt://../p.tif", "/vsigzip/p.tif"])
def test_as_a_part(folder: Path, name: str) -> None:
    refused(vrt("deep/v.vrt", name.replace("HERE", str(folder))))


def test_as_a_part_behind_a_name(folder: Path) -> None:
    vrt("deep/v.vrt", "../p.tif")
    refused("vrt://deep/v.vrt?bands=2")
    refused(vrt("deep/w.vrt", "vrt://v.vrt?bands=1"))


@pytest.mark.parametrize("source", ["t.gti.gpkg", "GTI:t.shp", "t.tif", "vrt://t.tif"])
def test_as_a_tile(folder: Path, source: str) -> None:
    outlines = shapely.to_wkb(np.array([shapely.box(0, 0, 13, 9), shapely.box(13, 0, 20, 9)]))
    for name, driver in (("t.gti.gpkg", "GPKG"), ("t.shp", "ESRI Shapefile")):
        places = [np.array(["deep/a.tif", "p.tif"], object)]
        pyogrio.raw.write(
            name, outlines, places, ["location"], geometry_type="Polygon", crs="EPSG:32633", driver=driver
        )
    Path("t.tif").write_text(
        "<GDALTileIndexDataset><IndexDataset>t.shp</IndexDataset><LocationField>location</LocationField>"
        "</GDALTileIndexDataset>"
    )
    refused(source)


@pytest.mark.parametrize("suffix", [".tif.aux.xml", ".tfw", ".wld", ".TAB", "_RPC.TXT", ".tif.ovr"])
def test_beside_a_raster(folder: Path, suffix: str) -> None:
    os.mkfifo(f"deep/a{suffix}")
    refused("deep/a.tif", f"deep/a{suffix}")
    refused(vrt("v.vrt", "deep/a.tif"), f"a{suffix}")


def test_others_are_read(folder: Path) -> None:
    shutil.copy("deep/a.tif", "x:y.tif")
    for source in ("deep/a.tif", "vrt://deep/a.tif", "GTIFF_DIR:1:deep/a.tif", "x:y.tif", vrt("v.vrt", "deep/a.tif")):
        with open_scene(source) as scene:
            assert scene.grid.shape == (9, 13)


def test_what_is_there_under_a_name(folder: Path) -> None:
    assert list(places_in("deep/a.tif")) == [Path("deep/a.tif")]
    assert Path("deep/a.tif") in places_in('NETCDF:"deep/a.tif":red')
    assert list(places_in("red\0.tif")) == list(places_in("deep/b.tif:" * 2000)) == []
