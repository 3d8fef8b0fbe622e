"""`earthwords assess`: points are drawn, filled in and reckoned with; rasters and polygons are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from earthwords.errors import SourceError, UsageError
from earthwords.geo import class_raster
from tests.conftest import TRANSFORM, Command, write_raster
from tests.tasks.assess.conftest import HEIGHT, NAMES, TRUE_NAMES, WIDTH, Fill, assess


def test_drawn_points(folder: Path, mapped: NDArray[np.uint8]) -> None:
    drawn = assess("map.tif", draw=120, out=Path("points.gpkg"), classes=Path("names.json"))
    frame = geopandas.read_file("points.gpkg")
    assert list(frame.columns) == [
        "id", "class", "stratum", "strat_area", "strat_px", "inclusion", "weight", "geometry",
    ]  # fmt: skip
    assert (
        len(frame) == drawn.points == 120 and frame["class"].isna().all() and frame["id"].tolist() == [*range(1, 121)]
    )
    assert frame.crs.to_epsg() == 32640
    cols, rows = ~TRANSFORM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    np.testing.assert_allclose((cols % 1, rows % 1), 0.5), "centres of pixels"
    values = mapped[rows.astype(int), cols.astype(int)]
    titles = {1: "forest", 2: "water", 4: "built up"}
    assert [titles[value] for value in values] == frame["stratum"].tolist()
    assert frame["stratum"].tolist() != sorted(frame["stratum"]), "in random order"
    for value, title in titles.items():
        own = frame[frame["stratum"] == title]
        pixels = int((mapped == value).sum())
        assert set(own["strat_px"]) == {pixels} and len(own) >= 20
        np.testing.assert_allclose(own["strat_area"], pixels * 0.25, rtol=2e-3)
        np.testing.assert_allclose(own["weight"].sum(), own["strat_area"].iloc[0])
        np.testing.assert_allclose(own["inclusion"], len(own) / pixels, rtol=1e-3)
    assess("map.tif", draw=120, out=Path("again.gpkg"), classes=Path("names.json"))
    assess("map.tif", draw=120, out=Path("other.gpkg"), classes=Path("names.json"), seed=1)
    assert geopandas.read_file("again.gpkg").equals(frame)
    assert not geopandas.read_file("other.gpkg").geometry.equals(frame.geometry)


@pytest.mark.parametrize("kind", ["gpkg", "geojson", "fgb", "parquet", "shp"])
def test_from_the_map_to_its_figures(
    folder: Path, fill: Fill, truth: NDArray[np.uint8], mapped: NDArray[np.uint8], kind: str
) -> None:
    """Whatever file the points travel in: strata and weights go with them."""
    start = Path("points.gpkg") if kind == "shp" else Path(f"points.{kind}")
    assess("map.tif", draw=400, out=start, classes=Path("names.json"))
    if kind == "parquet":
        frame = geopandas.read_parquet(start)
        frame.to_file("points.gpkg")
        done = Path("done.parquet")
        geopandas.read_file(fill(Path("points.gpkg"), Path("filled.gpkg"))).to_parquet(done)
    else:
        done = fill(start, Path(f"done.{kind}"))
    found = assess("map.tif", truth=done, classes=Path("names.json"))
    assert found.design == "drawn" and found.classes == ("forest", "water", "built up", "sand")
    areas = found.areas.set_index("class")
    seen = mapped > 0
    for value, title in ((1, "forest"), (2, "water"), (4, "built up"), (9, "sand")):
        low, high = areas.loc[title, ["low_m2", "high_m2"]]
        true = (truth[seen] == value).sum() * 0.25
        assert low - 0.25 * (high - low) <= true <= high + 0.25 * (high - low), title
        if value != 9:
            np.testing.assert_allclose(areas.loc[title, "mapped_m2"], (mapped == value).sum() * 0.25, rtol=2e-3)
    assert np.isnan(areas.loc["sand", "mapped_m2"])
    true_overall = (truth[seen] == mapped[seen]).mean()
    assert abs(float(found.overall.value) - true_overall) < 3 * float(found.overall.se) < 0.08
    points = geopandas.read_file("points.gpkg" if kind in ("shp", "parquet") else start)
    assert found.confusion.sum(axis=1)["water"] == (points["stratum"] == "water").sum()
    assert any("built up" in note and "buildings" in note for note in found.notes), "a synonym is told"
    assert any("The map has no class 'sand'" in note for note in found.notes)
    assert not any("random sample" in note for note in found.notes)


def test_strata_stay_when_the_map_changes(folder: Path, fill: Fill, mapped: NDArray[np.uint8]) -> None:
    """Areas follow from truth and strata alone; accuracy is that of the new map."""
    assess("map.tif", draw=300, out=Path("points.gpkg"), classes=Path("names.json"))
    done = fill(Path("points.gpkg"), Path("done.gpkg"))
    before = assess("map.tif", truth=done, classes=Path("names.json"))
    better = mapped.copy()
    better[:, :120] = np.where(better[:, :120] == 4, 1, better[:, :120])
    better[60:66, :] = 0
    write_raster(Path("new.tif"), better[None], nodata=0)
    after = assess("new.tif", truth=done, classes=Path("names.json"))
    np.testing.assert_array_equal(after.area.value, before.area.value)
    np.testing.assert_array_equal(after.area.se, before.area.se)
    assert float(after.overall.value) > float(before.overall.value) + 0.01
    assert after.mapped_areas[2] < before.mapped_areas[2]
    assert any("where this map has no class" in note for note in after.notes)
    assert any("of the area that the points were drawn from" in note for note in after.notes)
    frame = geopandas.read_file(done)
    cols, rows = ~TRANSFORM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    values = better[rows.astype(int), cols.astype(int)]
    names = {"forest": 1, "water": 2, "buildings": 4, "sand": 9}
    weight, right = frame["weight"].to_numpy(), values == frame["class"].map(names)
    np.testing.assert_allclose(float(after.overall.value), weight[right].sum() / weight[values > 0].sum())


def test_points_of_others(folder: Path, truth: NDArray[np.uint8], command: Command) -> None:
    """Other CRS, other column, some beside the map, on nodata, without a class, of classes that it does not know."""
    rng = np.random.default_rng(5)
    rows, cols = rng.integers(0, HEIGHT, 260), rng.integers(0, WIDTH, 260)
    cols[:4] += WIDTH
    rows[4:10], cols[4:10] = 3, 3
    words = [TRUE_NAMES[str(truth[r, c % WIDTH])].upper() for r, c in zip(rows, cols, strict=True)]
    words[10:17] = [""] * 7
    words[17:20] = ["2"] * 3
    x, y = TRANSFORM @ (cols + 0.3, rows + 0.7)
    frame = geopandas.GeoDataFrame({"note": "x", "Label": words}, geometry=geopandas.points_from_xy(x, y), crs=32640)
    frame.to_crs(4326).to_file("points.geojson")
    done = command("assess", "map.tif", "--truth", "points.geojson", "--classes", "names.json", "--json")
    assert done.code == 0, done.err
    found, told = json.loads(done.out), done.err
    assert found["design"] == "given" and found["unit"] == "m2"
    for sentence in (
        "The points were reprojected to the CRS of the map (EPSG:32640).",
        "7 points of 260 without a class left out", "4 points beside the map left out.",
        "points on nodata of the map left out.", "hold only if they are a random sample of the map",
        "2 as water", "BUILDINGS as built up", "The map has no class 'SAND'",
    ):  # fmt: skip
        assert sentence in told, sentence
    with rasterio.open("map.tif") as dataset:
        values = dataset.read(1)
    kept = [i for i in range(20, 260) if values[rows[i], cols[i]] != 0]
    numbers = {"FOREST": 1, "WATER": 2, "BUILDINGS": 4, "SAND": 9}
    wanted = confusion_matrix(
        [values[rows[i], cols[i]] for i in kept], [numbers[words[i]] for i in kept], labels=[1, 2, 4, 9]
    )
    counts = np.array(found["confusion"]["counts"])
    extra = counts[:4].sum(axis=0) - wanted.sum(axis=0)
    assert extra[[0, 2, 3]].tolist() == [0, 0, 0] and extra[1] <= 3, "the three that are told by a number"
    assert found["confusion"]["columns"] == ["forest", "water", "built up", "SAND"]
    shares = [row["area"]["share"] for row in found["classes"]]
    np.testing.assert_allclose(sum(shares), 1)
    one = command("assess", "map.tif", "--truth", "points.geojson", "--classes", "names.json", "--column", "note")
    assert "The map has no class 'x'" in one.err
    ignored = assess("map.tif", truth="points.geojson", classes=Path("names.json"), ignore=["sand"])
    assert ignored.counts.sum() == counts.sum() - counts[:, 3].sum() and "SAND" not in ignored.classes
    assert float(ignored.overall.value) > found["overall_accuracy"]["value"]
    assert float(ignored.area.value.sum()) < 1, "what does not count has its area"


def test_points_of_a_table_and_of_older_software(folder: Path, mapped: NDArray[np.uint8]) -> None:
    """Longitude and latitude in a CSV; letters of an old code page in a shapefile."""
    rows, cols = np.argwhere(mapped > 0)[::211].T
    x, y = TRANSFORM @ (cols + 0.5, rows + 0.5)
    words = [
        "Wälder" if mapped[r, c] == 1 else NAMES[str(mapped[r, c])].split(",")[0]
        for r, c in zip(rows, cols, strict=True)
    ]
    Path("names.json").write_text(json.dumps(NAMES | {"1": "forest,wälder"}), encoding="utf-8")
    frame = geopandas.GeoDataFrame({"class": words}, geometry=geopandas.points_from_xy(x, y), crs=32640)
    degrees = frame.to_crs(4326).geometry
    lines = [f"{w},{p.x:.9f},{p.y:.9f}" for w, p in zip(words, degrees, strict=True)]
    Path("points.csv").write_text("\n".join(["class,Longitude,Latitude", *lines]), encoding="utf-8")
    frame.to_file("old.shp", encoding="cp1252")
    Path("old.cpg").unlink()
    for source in ("points.csv", "old.shp"):
        found = assess("map.tif", truth=source, classes=Path("names.json"))
        assert float(found.overall.value) == 1 and found.points == len(words), source
    Path("plain.csv").write_text("class,x,y\nforest,1,2\n", encoding="utf-8")
    with pytest.raises(SourceError, match="columns named longitude and latitude"):
        assess("map.tif", truth="plain.csv")


def test_a_class_without_points_and_one_with_a_single_one(folder: Path, mapped: NDArray[np.uint8]) -> None:
    def points(numbers: dict[int, int]) -> Path:
        places = [np.argwhere(mapped == value)[::7][:number] for value, number in numbers.items()]
        rows, cols = np.concatenate(places).T
        x, y = TRANSFORM @ (cols + 0.5, rows + 0.5)
        words = [NAMES[str(mapped[r, c])].split(",")[0] for r, c in zip(rows, cols, strict=True)]
        frame = geopandas.GeoDataFrame({"class": words}, geometry=geopandas.points_from_xy(x, y), crs=32640)
        frame.to_file("some.gpkg")
        return Path("some.gpkg")

    found = assess("map.tif", truth=points({1: 20, 2: 20}), classes=Path("names.json"))
    share = (mapped == 4).sum() / (mapped > 0).sum()
    assert f"No point lies in what is mapped built up ({share:.1%} of the map)" in " ".join(found.notes)
    np.testing.assert_allclose(found.total_area, np.isin(mapped, (1, 2)).sum() * 0.25, rtol=2e-3)
    assert "No error among the points mapped forest (20 points: at least 85%)" in " ".join(found.notes)
    assert "No point shows forest, water where the map has something else" in " ".join(found.notes)
    with pytest.raises(UsageError, match="No point lies in what is mapped built up"):
        assess("map.tif", truth="some.gpkg", classes=Path("names.json"), strict=True)
    found = assess("map.tif", truth=points({1: 20, 2: 20, 4: 1}), classes=Path("names.json"))
    assert "A single point in built up" in " ".join(found.notes)
    rows = {row["name"]: row for row in found.as_json()["classes"]}
    assert rows["forest"]["area"]["se"] is None and rows["forest"]["users_accuracy"]["se"] == 0
    assert "± ?" in found.table()[2][0][2] or "?" in found.table()[2][0][2]
    found.plot()


def test_a_raster_as_truth(folder: Path, truth: NDArray[np.uint8], mapped: NDArray[np.uint8]) -> None:
    found = assess("map.tif", truth="truth.tif", classes=Path("names.json"), truth_classes=Path("true.json"))
    seen = mapped > 0
    np.testing.assert_array_equal(found.counts[:4], confusion_matrix(mapped[seen], truth[seen], labels=[1, 2, 4, 9]))
    np.testing.assert_allclose(float(found.overall.value), (mapped == truth)[seen].mean(), rtol=1e-4)
    assert found.design == "counted" and float(found.overall.se) == 0
    assert "no sampling error applies" in " ".join(found.notes)
    assert "truth where the map has no class left out" in " ".join(found.notes)
    assert found.table()[1][2] == "true, m2" and "±" not in " ".join(found.table()[2][0])
    unnamed = assess("map.tif", truth="truth.tif", classes=Path("names.json"))
    np.testing.assert_array_equal(unnamed.counts, found.counts), "by value where the truth has no names"
    assert "The truth has no names of classes" in " ".join(unnamed.notes)
    bare = assess("map.tif", truth="truth.tif", truth_classes=Path("true.json"))
    assert "The map has no names of classes" in " ".join(bare.notes)
    assert bare.classes == ("forest", "water", "buildings", "sand"), "the map takes the names of the truth"


def test_a_raster_of_any_format(folder: Path) -> None:
    """By what is in it, not by its suffix."""
    with rasterio.open("truth.tif") as dataset:
        profile = {key: dataset.profile[key] for key in ("height", "width", "count", "crs", "transform")}
        data = dataset.read()
    with rasterio.open("truth.asc", "w", driver="AAIGrid", dtype="int32", **profile) as target:
        target.write(data.astype(np.int32))
    options = {"classes": Path("names.json"), "truth_classes": Path("true.json")}
    wanted = assess("map.tif", truth="truth.tif", **options)
    np.testing.assert_array_equal(assess("map.tif", truth="truth.asc", **options).counts, wanted.counts)


def test_a_raster_on_another_grid(folder: Path, truth: NDArray[np.uint8], mapped: NDArray[np.uint8]) -> None:
    """A coarser truth that begins elsewhere: its value at the centre of each pixel of the map."""
    coarse = truth[4::3, 7::3].copy()
    moved = TRANSFORM @ Affine.translation(6, 3) @ Affine.scale(3)
    write_raster(Path("coarse.tif"), coarse[None], transform=moved)
    found = assess("map.tif", truth="coarse.tif", classes=Path("names.json"))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    r, c = (rows - 3) // 3, (cols - 6) // 3
    inside = (rows >= 3) & (cols >= 6) & (r < coarse.shape[0]) & (c < coarse.shape[1]) & (mapped > 0)
    wanted = confusion_matrix(mapped[inside], coarse[r[inside], c[inside]], labels=[1, 2, 4, 9])
    np.testing.assert_array_equal(found.counts[:4], wanted)
    told = " ".join(found.notes)
    assert "lies on another grid" in told and "Truth is known for" in told


@pytest.mark.parametrize("strip", [WIDTH * 11, 2**22])
def test_polygons_as_truth(
    folder: Path, mapped: NDArray[np.uint8], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels whose centre lies in a polygon; where two of different classes meet, none."""
    monkeypatch.setattr(class_raster, "_STRIP_PIXELS", strip)
    shapes = [
        ("forest", shapely.Polygon([(10.2, 30.1), (90.7, 41), (60, 110.4)])),
        ("water", shapely.box(50.3, 80.2, 120.6, 140.9)),
        ("water", shapely.box(55.0, 85.0, 70.0, 100.0)),
        ("built up", shapely.box(150, 20, 190.7, 60.2).difference(shapely.Point(170, 40).buffer(9))),
        ("", shapely.box(0, 0, 200, 140)),
    ]
    placed = [
        shapely.transform(shape, lambda points: np.stack(TRANSFORM @ (points[:, 0], points[:, 1]), axis=1))
        for _, shape in shapes
    ]
    frame = geopandas.GeoDataFrame({"class": [name for name, _ in shapes]}, geometry=placed, crs=32640)
    frame.to_crs(4326).to_file("areas.geojson")
    found = assess("map.tif", truth="areas.geojson", classes=Path("names.json"))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    inside = {
        name: np.any([shapely.contains_xy(s, cols + 0.5, rows + 0.5) for n, s in shapes if n == name], axis=0)
        for name in ("forest", "water", "built up")
    }
    contested = inside["forest"] & inside["water"]
    assert contested.sum() > 100
    for j, name in enumerate(("forest", "water", "built up")):
        own = inside[name] & ~contested
        wanted = [(own & (mapped == value)).sum() for value in (1, 2, 4)]
        np.testing.assert_allclose(found.counts[:3, j], wanted, atol=2)
    told = " ".join(found.notes)
    assert "in polygons of different classes left out" in told and "for the rest of the map" in told
    assert "1 polygon without a class left out" in told and "reprojected" in told


def test_strips_change_nothing(folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    assess("map.tif", draw=150, out=Path("points.gpkg"), classes=Path("names.json"))
    done = fill(Path("points.gpkg"), Path("done.gpkg"))
    options = {"classes": Path("names.json"), "truth_classes": Path("true.json")}
    whole = [assess("map.tif", truth=source, **options).as_json() for source in (done, "truth.tif")]
    monkeypatch.setattr(class_raster, "_STRIP_PIXELS", WIDTH * 13)
    cut = [assess("map.tif", truth=source, **options).as_json() for source in (done, "truth.tif")]

    def near(one: Any, other: Any) -> None:
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for key in one:
                near(one[key], other[key])
        elif isinstance(one, list):
            assert len(one) == len(other)
            for pair in zip(one, other, strict=True):
                near(*pair)
        else:
            assert one == (pytest.approx(other, rel=1e-9) if isinstance(one, float) else other)

    near(cut, whole)
