"""A CRS comes out as it went in: what GDAL itself writes when it copies the file is the oracle."""

from __future__ import annotations

import html
import json
import random
import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from pyproj import CRS
from pyproj.crs import DerivedGeographicCRS, GeographicCRS
from pyproj.crs.coordinate_operation import RotatedLatitudeLongitudeConversion
from pyproj.database import query_crs_info
from pyproj.enums import PJType

from earthwords.errors import UsageError
from earthwords.geo.geotiff import RasterWriter
from earthwords.geo.grids.footprints import footprints
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.vectors.write import VectorWriter
from earthwords.types import Grid, VectorLayer, Window
from tests.geo.test_scene import SHAPE, Make, distinct

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NEAR_ZERO = Affine(1e-4, 0, 12.5, 0, -2e-4, 41.25)
SITE = 'ENGCRS["site",EDATUM["peg 7"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
LOCAL = 'LOCAL_CS["Arbitrary",UNIT["metre",1,AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
CUSTOM = "+proj=tmerc +lat_0=41 +lon_0=12.3 +k=1.0001 +x_0=1234.5 +y_0=77 +ellps=GRS80 +units=m"
BOUND = "+proj=utm +zone=33 +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7 +units=m +type=crs"
TURNED_POLE = DerivedGeographicCRS(
    base_crs=GeographicCRS(), conversion=RotatedLatitudeLongitudeConversion(o_lat_p=40, o_lon_p=0, lon_0=10)
).to_wkt()
SWISS = f"""COMPD_CS["ours",{CRS.from_epsg(2056).to_wkt("WKT1_GDAL")},{CRS.from_epsg(5728).to_wkt("WKT1_GDAL")}]"""
ODD = {
    "site": SITE,
    "local": LOCAL,
    "custom": CRS.from_proj4(CUSTOM).to_wkt(),
    "bound": CRS.from_proj4(BOUND).to_wkt(),
    "derived": TURNED_POLE,
    "compound without a code": SWISS,
    "compound by a sum": "EPSG:4326+5773",
    "height alone": "EPSG:5703",
    "geocentric": "EPSG:4978",
    "three axes": "EPSG:4979",
    "of ESRI": "ESRI:102033",
    "of Mars": "IAU_2015:49900",
}


@pytest.fixture
def vrt(make_raster: Make, rng: np.random.Generator, tmp_path: Path) -> Any:
    """A VRT, which can carry any CRS there is."""
    make_raster(distinct(rng, "uint8"), crs=None, transform=None)

    def make(crs: str, epoch: float | None = None, transform: Affine = NEAR_ZERO) -> Path:
        numbers = ",".join(repr(v) for v in transform.to_gdal())
        dated = "" if epoch is None else f' coordinateEpoch="{epoch}"'
        bands = "".join(
            f'<VRTRasterBand dataType="Byte" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">scene.tif'
            f"</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
            for i in (1, 2, 3)
        )
        head = f"<SRS{dated}>{html.escape(crs)}</SRS><GeoTransform>{numbers}</GeoTransform>"
        path = tmp_path / "odd.vrt"
        path.write_text(f'<VRTDataset rasterXSize="{SHAPE[2]}" rasterYSize="{SHAPE[1]}">{head}{bands}</VRTDataset>')
        return path

    return make


def labels(scene: Scene, path: Path, window: Window | None = None) -> Path:
    """A raster on the pixels of the scene, as every verb writes it."""
    grid = scene.native if window is None else scene.native.window(window)
    with RasterWriter(path, grid=grid, dtype="uint8", nodata=255, categories=["a", "b"]) as writer:
        writer.write(0, np.ones(grid.shape, np.uint8))
    return path


def srs(path: Path) -> tuple[str, str | None] | None:
    """The CRS as GDAL holds it, and its epoch: a VRT shows both."""
    copy = path.with_name("shown.vrt")
    with rasterio.open(path) as dataset:
        rasterio.shutil.copy(dataset, copy, driver="VRT")
    found = re.search(r"<SRS([^>]*)>(.*?)</SRS>", copy.read_text(), re.DOTALL)
    epoch = found and re.search(r'coordinateEpoch="([^"]*)"', found[1])
    return (html.unescape(found[2]), epoch[1] if epoch else None) if found else None


def copied(path: Path) -> tuple[str, str | None] | None:
    """The CRS in GDAL's own copy."""
    rasterio.shutil.copy(str(path), str(path.with_name("copy.tif")), driver="COG")
    return srs(path.with_name("copy.tif"))


def polygons(scene: Scene, path: Path) -> Path:
    grid = scene.native
    shape = shapely.box(*grid.bounds)
    layer = VectorLayer(geometries=np.array([shape]), columns={"id": np.array([7])}, crs=grid.crs)
    with VectorWriter(path, crs=grid.crs, source_crs=grid.coordinate_crs, schema={"id": "int64"}) as writer:
        writer.write(layer)
    return path


@pytest.mark.parametrize(
    ("kind", "count"), [(PJType.COMPOUND_CRS, 30), (PJType.GEOGRAPHIC_3D_CRS, 3), (PJType.VERTICAL_CRS, 3)]
)
def test_codes_of_epsg_come_out_as_gdal_copies_them(
    make_raster: Make, rng: np.random.Generator, tmp_path: Path, kind: PJType, count: int
) -> None:
    infos = query_crs_info(auth_name="EPSG", pj_types=kind)
    for info in random.Random(15).sample(infos, count):
        name = f"{info.code}.tif"
        path = make_raster(distinct(rng, "uint8"), crs=f"EPSG:{info.code}", transform=NEAR_ZERO, name=name)
        expected = copied(path)
        with rasterio.open(path) as dataset, open_scene(path) as scene:
            profile = {**dataset.profile, "blockysize": 16, "blockxsize": 16, "tiled": True, "driver": "GTiff"}
            with rasterio.open(tmp_path / f"plain-{name}", "w", **profile):
                pass
            out = labels(scene, tmp_path / f"labels-{name}")
        assert expected is not None and srs(out) == expected == srs(tmp_path / f"plain-{name}"), info
        with rasterio.open(out) as dataset, rasterio.open(path) as source:
            assert dataset.crs == source.crs, info
            assert dataset.crs.to_epsg() == source.crs.to_epsg()


@pytest.mark.parametrize("name", ODD)
def test_odd_crss_come_out_as_gdal_copies_them(vrt: Any, tmp_path: Path, name: str) -> None:
    path = vrt(ODD[name])
    expected = copied(path)
    with open_scene(path) as scene:
        out = labels(scene, tmp_path / "labels.tif")
        part = labels(scene, tmp_path / "part.tif", Window(row=3, col=5, height=20, width=17))
    assert expected is not None and srs(out) == expected == srs(part)


@pytest.mark.parametrize("name", ODD)
def test_polygons_carry_the_crs_of_the_source(vrt: Any, tmp_path: Path, name: str) -> None:
    path = vrt(ODD[name])
    with rasterio.open(path) as dataset:
        expected = CRS.from_wkt(dataset.crs.to_wkt())
    with open_scene(path) as scene:
        for suffix in (".gpkg", ".fgb"):
            told = pyogrio.read_info(polygons(scene, tmp_path / f"a{suffix}"))["crs"]
            assert CRS.from_user_input(told) == expected
        polygons(scene, tmp_path / "a.parquet")
    about = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"geo"])
    assert CRS.from_json_dict(about["columns"]["geometry"]["crs"]) == expected


@pytest.mark.parametrize(("crs", "epoch"), [("EPSG:4326", 2021.3), ("EPSG:9000", 2010.5), ("EPSG:32633", 2024.125)])
def test_the_epoch_of_the_coordinates_is_kept(vrt: Any, tmp_path: Path, crs: str, epoch: float) -> None:
    path = vrt(crs, epoch)
    rasterio.shutil.copy(str(path), str(tmp_path / "dated.tif"), driver="GTiff")
    for source in (path, tmp_path / "dated.tif"):
        with open_scene(source) as scene:
            assert any(f"epoch {epoch:g}" in note for note in scene.notes)
            out = labels(scene, tmp_path / f"labels-{source.stem}.tif")
            polygons(scene, tmp_path / f"{source.stem}.gpkg")
            polygons(scene, tmp_path / f"{source.stem}.parquet")
        told = srs(out)
        assert told == copied(path) and told is not None and float(told[1] or 0) == epoch
        with rasterio.open(out) as dataset:
            assert dataset.read(1).min() == 1 and dataset.tags()["CLASS_1"] == "b" and dataset.nodata == 255
            assert dataset.profile["blockxsize"] == 512
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert sorted(p.name for p in tmp_path.glob("*scratch*")) == []
        rows = sqlite3.connect(tmp_path / f"{source.stem}.gpkg").execute("SELECT epoch FROM gpkg_spatial_ref_sys")
        assert (epoch,) in rows.fetchall()
        about = json.loads(pq.read_schema(tmp_path / f"{source.stem}.parquet").metadata[b"geo"])
        assert about["columns"]["geometry"]["epoch"] == epoch
    with open_scene(vrt(crs)) as scene:
        assert not any("epoch" in note for note in scene.notes)
        assert srs(labels(scene, tmp_path / "undated.tif"))[1] is None


@pytest.mark.parametrize("crs", ["EPSG:25833", ODD["custom"], SWISS, "EPSG:7415"])
def test_an_epoch_where_the_earth_stands_still_harms_nothing(vrt: Any, tmp_path: Path, crs: str) -> None:
    path = vrt(crs, 2019.5)
    with open_scene(path) as scene:
        assert srs(labels(scene, tmp_path / "labels.tif")) == copied(path)
        for suffix in (".gpkg", ".fgb", ".geojson", ".parquet"):
            polygons(scene, tmp_path / f"a{suffix}")
    told = CRS.from_user_input(pyogrio.read_info(tmp_path / "a.gpkg")["crs"])
    with rasterio.open(path) as dataset:
        assert told == CRS.from_wkt(dataset.crs.to_wkt())


def test_what_geotiff_cannot_hold_is_said(vrt: Any) -> None:
    with open_scene(vrt(SITE)) as scene:
        assert any("GeoTIFF cannot hold all of the CRS 'site'; vector formats can" in note for note in scene.notes)
    for crs in (LOCAL, ODD["custom"], TURNED_POLE, SWISS, "EPSG:4979"):
        with open_scene(vrt(crs)) as scene:
            assert not any("GeoTIFF" in note for note in scene.notes)


@pytest.mark.parametrize("name", ["height alone", "geocentric"])
def test_a_crs_without_places_measures_nothing(vrt: Any, name: str) -> None:
    with open_scene(vrt(ODD[name])) as scene:
        assert scene.native.crs is None and scene.native.gsd_m is None
        assert any("tells no places on the ground: working in pixels" in note for note in scene.notes)
        with pytest.raises(UsageError, match="without a CRS"):
            scene.at(3)


@pytest.mark.parametrize("unit", ['LENGTHUNIT["US survey foot",0.304800609601219]', 'LENGTHUNIT["metre",1]'])
def test_a_local_crs_measures_in_its_own_units(vrt: Any, tmp_path: Path, unit: str) -> None:
    with open_scene(vrt(SITE.replace('LENGTHUNIT["metre",1]', unit), transform=Affine(2, 0, 7, 0, -2, 99))) as scene:
        assert scene.native.gsd_m == pytest.approx(2 if "metre" in unit else 2 * 0.3048006)
        assert any("is local: lengths and areas are its own" in note for note in scene.notes)
        assert footprints(scene.native, [Window(row=0, col=0, height=5, width=9)])[0] is None
        with pytest.raises(UsageError, match="GeoJSON holds longitudes and latitudes"):
            polygons(scene, tmp_path / "a.geojson")


def test_a_crs_without_a_place_stays_with_the_raster(vrt: Any, tmp_path: Path) -> None:
    """The pixels of the whole scene: GDAL's copy has the CRS too. Coordinates that are pixels are in no CRS."""
    path = vrt("EPSG:32633", transform=Affine.identity())
    expected = copied(path)
    with open_scene(path) as scene:
        assert scene.native.crs is None
        assert srs(labels(scene, tmp_path / "labels.tif")) == expected is not None
        assert srs(labels(scene, tmp_path / "part.tif", Window(row=3, col=5, height=9, width=8))) is None
        assert "32633" not in str(pyogrio.read_info(polygons(scene, tmp_path / "a.gpkg"))["crs"])


def test_degrees_that_there_are_not_stay_what_the_source_says(
    make_raster: Make, rng: np.random.Generator, tmp_path: Path
) -> None:
    path = make_raster(distinct(rng, "uint8"), crs="EPSG:4326")
    with open_scene(path) as scene:
        assert scene.native.crs is None
        assert srs(labels(scene, tmp_path / "labels.tif")) == copied(path)


def test_a_grid_without_a_source_keeps_its_codes(tmp_path: Path) -> None:
    """As arrays have it, whose CRS is given."""
    for code in (7415, 5498, 8748, 9509, 32633, 4979):
        grid = Grid(height=20, width=31, transform=NEAR_ZERO, crs=CRS.from_epsg(code))
        path = tmp_path / f"{code}.tif"
        with RasterWriter(path, grid=grid, dtype="uint8") as writer:
            writer.write(0, np.ones(grid.shape, np.uint8))
        profile = {"driver": "GTiff", "height": 20, "width": 31, "count": 1, "dtype": "uint8", "transform": NEAR_ZERO}
        with rasterio.open(tmp_path / f"own-{code}.tif", "w", **profile, crs=f"EPSG:{code}"):
            pass
        assert srs(path) == srs(tmp_path / f"own-{code}.tif")
