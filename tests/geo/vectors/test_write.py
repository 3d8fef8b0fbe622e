"""Vector files come back with their columns, in every format, or leave nothing."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS

from earthwords.errors import OutputError, UsageError
from earthwords.geo.vectors.write import VectorWriter, to_geodataframe
from earthwords.types import VectorLayer

SCHEMA = {"id": "int64", "class": "str", "label": "int32", "score": "float32", "area_m2": "float64"}
UTM = CRS.from_epsg(32617)
SUFFIXES = (".gpkg", ".geojson", ".fgb", ".parquet")


def layer(first: int, count: int, crs: CRS | None = UTM) -> VectorLayer:
    """Boxes with a hole, no two alike."""
    number = np.arange(first, first + count)
    left, size = 404211.9 + 20.0 * number, 4 + number % 7
    boxes = shapely.box(left, 3285142.9, left + size, 3285142.9 + 2 * size)
    return VectorLayer(
        geometries=shapely.difference(boxes, shapely.box(left + 1, 3285144, left + 2, 3285146)),
        columns={
            "id": number,
            "class": np.array(["straße", 'a "b", c'], object)[number % 2],
            "label": (number % 2).astype(np.int32),
            "score": (1 / (1 + number)).astype(np.float32),
            "area_m2": 2.0 * size**2 - 2,
        },
        crs=crs,
    )


def write_vectors(path: Path, layers: Iterable[VectorLayer], **how: Any) -> int:
    """Number of features written."""
    with VectorWriter(path, **how) as writer:
        for some in layers:
            writer.write(some)
    return writer.count


def read(path: Path) -> geopandas.GeoDataFrame:
    frame = geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
    return frame.sort_values("id", ignore_index=True) if "id" in frame else frame


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_come_back(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthwords.geo.vectors.write._BATCH_FEATURES", 15)  # several batches
    path = tmp_path / f"polygons{suffix}"
    parts = [layer(0, 9), layer(9, 0), layer(9, 20), layer(29, 3)]
    assert write_vectors(path, iter(parts), crs=UTM, schema=SCHEMA) == 32
    frame, expected = read(path), layer(0, 32)
    assert list(frame.columns) == [*SCHEMA, "geometry"]
    for name in SCHEMA:
        actual = frame[name].astype(SCHEMA[name])  # GeoJSON has one type of number
        np.testing.assert_array_equal(actual, expected.columns[name])
    if suffix == ".geojson":
        assert frame.crs == CRS.from_epsg(4326)
        frame = frame.to_crs(UTM)
    assert frame.crs == UTM
    off = shapely.hausdorff_distance(frame.geometry.values, expected.geometries)
    assert off.max() < (1e-3 if suffix == ".geojson" else 1e-9)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", [UTM, None], ids=["utm", "no crs"])
@pytest.mark.filterwarnings("error::UserWarning:earthwords", "error::RuntimeWarning:earthwords")
def test_no_features_still_make_a_file(tmp_path: Path, suffix: str, crs: CRS | None) -> None:
    path = tmp_path / f"polygons{suffix}"
    assert write_vectors(path, [], crs=crs, schema=SCHEMA) == 0
    frame = read(path)
    assert len(frame) == 0
    if suffix != ".geojson":
        assert list(frame.columns) == [*SCHEMA, "geometry"]
        assert frame.crs == crs


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_a_crs_coordinates_stay(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"polygons{suffix}"
    write_vectors(path, [layer(0, 5, None)], crs=None, schema=SCHEMA)
    frame = read(path)
    np.testing.assert_allclose(frame.total_bounds, shapely.total_bounds(layer(0, 5).geometries))
    if suffix != ".geojson":
        assert frame.crs is None


def test_geojson_is_rfc_7946(tmp_path: Path) -> None:
    path = tmp_path / "polygons.geojson"
    write_vectors(path, [layer(0, 3)], crs=UTM, schema=SCHEMA)
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content
    feature = content["features"][0]
    assert set(feature["properties"]) == set(SCHEMA)
    shell, hole = feature["geometry"]["coordinates"]
    assert shapely.is_ccw(shapely.linearrings(shell))
    assert not shapely.is_ccw(shapely.linearrings(hole))
    assert shell[0] == pytest.approx([-81.98, 29.69], abs=0.02)


def test_geojson_keeps_the_pixels_of_drones_apart(tmp_path: Path) -> None:
    """A pixel of 1.8 cm does not collapse."""
    tiny = layer(0, 1)
    small = shapely.box(404211.900, 3285142.900, 404211.918, 3285142.918)
    write_vectors(
        tmp_path / "a.geojson",
        [VectorLayer(geometries=np.array([small]), columns=tiny.columns, crs=UTM)],
        crs=UTM,
        schema=SCHEMA,
    )
    assert read(tmp_path / "a.geojson").to_crs(UTM).area[0] == pytest.approx(0.018**2, rel=0.02)


def test_geoparquet_tells_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "polygons.parquet"
    write_vectors(path, [layer(0, 3)], crs=UTM, schema=SCHEMA)
    about = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert about["primary_column"] == "geometry"
    assert about["columns"]["geometry"]["geometry_types"] == ["Polygon"]
    assert CRS.from_json_dict(about["columns"]["geometry"]["crs"]) == UTM


def test_points_and_other_columns(tmp_path: Path) -> None:
    points = VectorLayer(
        geometries=shapely.points([[404211.0, 3285142.0], [404212.0, 3285150.0]]),
        columns={"class": np.array(["ship", "plane"], object), "score": np.array([0.5, 0.25])},
        crs=UTM,
    )
    path = tmp_path / "objects.gpkg"
    schema = {"class": "str", "score": "float64"}
    write_vectors(path, [points], crs=UTM, schema=schema, layer_name="objects", geometry_type="Point")
    frame = geopandas.read_file(path, layer="objects")
    assert frame.geometry.tolist() == points.geometries.tolist()
    assert frame["class"].tolist() == ["ship", "plane"]


def test_to_geodataframe() -> None:
    source = layer(3, 4)
    frame = to_geodataframe(source)
    assert frame.crs == UTM
    assert list(frame.columns) == [*SCHEMA, "geometry"]
    assert frame.geometry.tolist() == source.geometries.tolist()
    assert to_geodataframe(layer(0, 2, None)).crs is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt()])
def test_after_an_error_nothing_has_changed(tmp_path: Path, suffix: str, error: BaseException) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("older")
    with pytest.raises(type(error)), VectorWriter(path, crs=UTM, schema=SCHEMA, overwrite=True) as writer:
        writer.write(layer(0, 5))
        raise error
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {path.name: "older"}


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    path.write_text("older")
    with pytest.raises(UsageError, match="exists; pass --overwrite"):
        write_vectors(path, [], crs=UTM, schema=SCHEMA)
    assert write_vectors(path, [layer(0, 2)], crs=UTM, schema=SCHEMA, overwrite=True) == 2
    assert len(read(path)) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.geojsn", r"Unknown vector format '.geojsn'. Did you mean '.geojson'\?"),
        ("a.xyz", r"Unknown vector format '.xyz'. Known: .fgb, .geojson, .gpkg, .parquet, .pmtiles, .shp."),
        ("polygons", r"Unknown vector format 'polygons'"),
    ],
)
def test_unknown_suffixes_list_the_known(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write_vectors(tmp_path / name, [], crs=UTM, schema=SCHEMA)


def test_columns_must_be_those_of_the_schema(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected the columns id, name, got id, class, label"):
        write_vectors(tmp_path / "a.gpkg", [layer(0, 2)], crs=UTM, schema={"id": "int64", "name": "str"})
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, signal, sys
import numpy as np, shapely
from earthwords.errors import OutputError
from earthwords.geo.vectors.write import VectorWriter
from earthwords.types import VectorLayer

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
number = np.arange(9000)
boxes = shapely.box(number, 0, number + 0.7, 1)
layer = VectorLayer(geometries=boxes, columns={"id": number}, crs=None)
try:
    with VectorWriter(sys.argv[1], crs=None, schema={"id": "int64"}, overwrite=True) as writer:
        for _ in range(3):
            writer.write(layer)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX systems can")
@pytest.mark.parametrize("limit", [20_000, 200_000])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, suffix: str, limit: int) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("older")
    command = [sys.executable, "-c", FULL_DISK, str(path), str(limit)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"Cannot write {path} (")
    assert len(ran.stdout.strip().splitlines()) == 1
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {path.name: "older"}


def test_a_geojson_without_its_end_is_noticed(tmp_path: Path) -> None:
    from earthwords.geo.vectors.write import _check_closed

    path = tmp_path / "polygons.geojson"
    write_vectors(path, [layer(0, 3)], crs=UTM, schema=SCHEMA)
    _check_closed(path)
    path.write_text(path.read_text().rstrip()[:-1])
    with pytest.raises(OSError, match="the end is missing"):
        _check_closed(path)


def test_a_geopackage_without_its_index_is_noticed(tmp_path: Path) -> None:
    script = FULL_DISK.replace("np.arange(9000)", "np.arange(9)")
    path = tmp_path / "a.gpkg"
    outcomes = set()
    for limit in (88_000, 100_000, 200_000):
        command = [sys.executable, "-c", script, str(path), str(limit)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        outcomes.add(ran.stdout.split("(")[-1].split(")")[0])
        assert path.exists() == (ran.stdout == "")
        path.unlink(missing_ok=True)
    assert outcomes == {"", "the spatial index is missing"}


def test_the_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(OutputError, match="Cannot make the folder"):
        write_vectors(tmp_path / "a" / "b.gpkg", [], crs=UTM, schema=SCHEMA)


def test_geojson_needs_a_way_to_longitude_and_latitude(tmp_path: Path) -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    write_vectors(tmp_path / "a.gpkg", [layer(0, 3, local)], crs=local, schema=SCHEMA)
    (tmp_path / "a.gpkg").unlink()
    with (
        pytest.raises(UsageError, match=r"GeoJSON holds longitudes and latitudes, which the CRS 'site' has no way to"),
        VectorWriter(tmp_path / "a.geojson", crs=local, schema=SCHEMA),
    ):
        raise AssertionError("told before the work")
    assert list(tmp_path.iterdir()) == []


NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_features_make_equal_bytes(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever time it is, and however many come at once."""
    monkeypatch.setattr("earthwords.geo.vectors.write._BATCH_FEATURES", 30)
    clocks = ("2001-01-01T00:00:00Z", "2001-01-01T00:00:01Z", "2002-01-01T00:00:00Z")
    cuts = ([0, 100], [0, 100], [0, 7, 7, 45, 60, 100])
    contents = set()
    for clock, cut in zip(clocks, cuts, strict=True):
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": clock})
        try:
            path = tmp_path / f"polygons{suffix}"
            parts = [layer(start, stop - start) for start, stop in itertools.pairwise(cut)]
            write_vectors(path, parts, crs=UTM, schema=SCHEMA, made=NOON, overwrite=True)
            assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == clock
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
        contents.add(path.read_bytes())
    assert len(contents) == 1


def last_change(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT last_change FROM gpkg_contents").fetchone()[0]


def test_a_geopackage_tells_when_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gpkg"
    how = {"crs": UTM, "schema": SCHEMA, "overwrite": True}
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    write_vectors(path, [layer(0, 2)], **how)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(last_change(path))) < timedelta(minutes=5)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    write_vectors(path, [layer(0, 2)], **how)
    assert last_change(path) == "2023-11-14T22:13:20.000Z"
    write_vectors(path, [layer(0, 2)], **how, made=NOON.astimezone(timezone(timedelta(hours=-7))))
    assert last_change(path) == "2024-05-17T12:00:00.000Z"
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


def test_threads_tell_times_of_their_own(tmp_path: Path) -> None:
    """As scenes do that are written side by side."""

    def told(year: int) -> set[str]:
        how = {"crs": UTM, "schema": SCHEMA, "overwrite": True, "made": NOON.replace(year=year)}
        found = set()
        for _ in range(12):
            write_vectors(tmp_path / f"{year}.gpkg", [layer(0, 9)], **how)
            found.add(last_change(tmp_path / f"{year}.gpkg")[:4])
        return found

    years = [2001, 2002, 2003]
    with ThreadPoolExecutor(len(years)) as pool:
        assert list(pool.map(told, years)) == [{str(year)} for year in years]
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


@pytest.mark.parametrize("given", ["yesterday", "1e9", "9" * 30])
def test_a_source_date_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is a number of seconds since 1970, not"):
        VectorWriter(tmp_path / "a.gpkg", crs=UTM, schema=SCHEMA)


# ---- shapefiles and tiles


LONG = {"class": "str", "uncertainty": "float64", "uncertainty_of_it": "float64", "größe_in_m": "int32"}


def long_layer() -> VectorLayer:
    frame = layer(0, 3)
    columns = {
        "class": np.array(["straße", "x" * 300, None], object), "uncertainty": np.array([0.25, 0.5, 0.75]),
        "uncertainty_of_it": np.array([1.5, 2.5, 3.5]), "größe_in_m": np.array([7, 8, 9], np.int32),
    }  # fmt: skip
    return VectorLayer(geometries=frame.geometries, columns=columns, crs=UTM)


@pytest.mark.parametrize("name", ["found.shp", "FOUND.SHP"])
def test_a_shapefile(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for index in (".qix", ".sbn"):
        path.with_suffix(index).write_bytes(b"of an older one")
    made = datetime(2024, 3, 5, tzinfo=UTC)
    with VectorWriter(path, crs=UTM, schema=LONG, made=made) as writer:
        writer.write(long_layer())
    assert {p.name for p in tmp_path.iterdir()} == {
        name,
        *(f"{path.stem}{s}" for s in (".shx", ".dbf", ".prj", ".cpg")),
    }
    assert path.with_suffix(".cpg").read_text() == "UTF-8"
    assert path.with_suffix(".dbf").read_bytes()[1:4] == bytes([124, 3, 5])
    found = geopandas.read_file(path)
    assert list(found.columns) == ["class", "uncertaint", "uncertai_1", "größe_in", "geometry"]
    assert found["class"].tolist()[:2] == ["straße", "x" * 254] and found["class"].isna().tolist()[2]
    assert found["uncertai_1"].tolist() == [1.5, 2.5, 3.5] and found["größe_in"].tolist() == [7, 8, 9]
    assert found.crs.to_epsg() == 32617
    assert all(found.geometry.geom_equals(geopandas.GeoSeries(long_layer().geometries, crs=UTM)))
    assert writer.notes == (
        "A shapefile has names of 10 letters at most: uncertainty is uncertaint, uncertainty_of_it is uncertai_1, "
        "größe_in_m is größe_in.",
        "A shapefile has texts of 254 bytes at most: 1 of class are cut.",
    )


def test_a_shapefile_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "found.shp"
    write_vectors(path, [layer(0, 4)], crs=UTM, schema=SCHEMA)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr("earthwords.geo.vectors.write.MOST_SHAPEFILE_BYTES", 1000)
    with pytest.raises(OutputError, match=r"found.shp would be larger than the 2 GB of a shapefile; write a .gpkg"):
        write_vectors(path, [layer(0, 40)], crs=UTM, schema=SCHEMA, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.raises(UsageError, match="one kind of geometry"):
        write_vectors(tmp_path / "other.shp", [], crs=UTM, schema=SCHEMA, geometry_type="Unknown")
    monkeypatch.undo()
    write_vectors(path, [layer(5, 2)], crs=None, schema=SCHEMA, overwrite=True)
    assert not path.with_suffix(".prj").exists()  # no CRS of an older file
    assert geopandas.read_file(path)["id"].tolist() == [5, 6]


@pytest.mark.parametrize("gsd, most", [(0.5, 19), (4.0, 16), (None, 22)])
def test_tiles(tmp_path: Path, gsd: float | None, most: int) -> None:
    path = tmp_path / "found.pmtiles"
    wanted = to_geodataframe(layer(0, 30)).to_crs(4326)
    write_vectors(path, [layer(0, 30)], crs=UTM, schema=SCHEMA, gsd=gsd)
    assert [p.name for p in tmp_path.iterdir()] == ["found.pmtiles"]
    assert path.read_bytes()[:8] == b"PMTiles\x03"
    head = path.read_bytes()[:127]
    west, south, east, north = (
        int.from_bytes(head[i : i + 4], "little", signed=True) / 1e7 for i in range(102, 118, 4)
    )
    np.testing.assert_allclose([west, south, east, north], wanted.total_bounds, atol=2e-5)
    assert head[101] == most and head[100] == 15  # 600 m here are less than a 2**15th of the way around
    found = geopandas.read_file(path, layer="polygons").to_crs(UTM)
    if gsd == 0.5:
        by_class = found.dissolve("id").area
        np.testing.assert_allclose(by_class.to_numpy(), layer(0, 30).columns["area_m2"] - 0 * by_class, rtol=0.06)
        assert set(found["class"]) == {"straße", 'a "b", c'}


def test_tiles_need_a_place_on_earth(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PMTiles lie on a map of the world.*write a \.gpkg"):
        write_vectors(tmp_path / "found.pmtiles", [layer(0, 3, crs=None)], crs=None, schema=SCHEMA)
    with pytest.raises(OutputError, match=r"none.pmtiles would hold nothing, and PMTiles cannot be empty"):
        write_vectors(tmp_path / "none.pmtiles", [], crs=UTM, schema=SCHEMA)
    assert not any(tmp_path.iterdir())
