"""`earthwords assess`: points are drawn, filled in and reckoned with; rasters and polygons are counted; refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix

import earthwords
from earthwords.errors import SourceError, UsageError
from earthwords.geo import class_raster
from earthwords.presets import load_preset
from tests.conftest import TRANSFORM, Command, write_raster
from tests.micro import patchwork

HEIGHT, WIDTH = 150, 210
NAMES = {"1": "forest,trees", "2": "water", "4": "built up,buildings"}
TRUE_NAMES = {"1": "forest", "2": "water", "4": "buildings", "9": "sand"}

Fill = Callable[[Path, Path], Path]


@pytest.fixture(scope="module")
def truth() -> NDArray[np.uint8]:
    """Forest, a wide river of water, blocks of buildings, and a bank of sand that no map knows."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    truth = np.ones((HEIGHT, WIDTH), np.uint8)
    truth[np.abs(cols - 60 - rows // 4) < 25] = 2
    truth[(rows // 12 % 2 == 0) & (cols // 15 % 2 == 0) & (cols > 140)] = 4
    truth[np.abs(cols - 90 - rows // 4) < 4] = 9
    return truth


@pytest.fixture(scope="module")
def mapped(truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The truth with an error at every sixth pixel or so, sand as water, and a corner without a class."""
    rng = np.random.default_rng(11)
    found = np.where(truth == 9, 2, truth).astype(np.uint8)
    wrong = rng.random(truth.shape) < 0.15
    found[wrong] = rng.choice(np.array([1, 2, 4], np.uint8), truth.shape)[wrong]
    found[:20, :33] = 0
    return found


@pytest.fixture
def folder(
    truth: NDArray[np.uint8], mapped: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """map.tif, truth.tif, names.json, true.json and an image, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, truth, mapped)
    return tmp_path


def write_inputs(folder: Path, truth: NDArray[np.uint8], mapped: NDArray[np.uint8]) -> None:
    write_raster(folder / "map.tif", mapped[None], nodata=0)
    write_raster(folder / "truth.tif", truth[None])
    write_raster(folder / "image.tif", np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), photometric="RGB")
    (folder / "names.json").write_text(json.dumps(NAMES))
    (folder / "true.json").write_text(json.dumps(TRUE_NAMES))


@pytest.fixture
def fill(truth: NDArray[np.uint8]) -> Fill:
    """What a person does: say what is there, point by point."""

    def run(source: Path, target: Path) -> Path:
        frame = geopandas.read_file(source)
        there = frame.to_crs("EPSG:32640")
        cols, rows = ~TRANSFORM @ (there.geometry.x.to_numpy(), there.geometry.y.to_numpy())
        frame["class"] = [TRUE_NAMES[str(truth[int(r), int(c)])] for r, c in zip(rows, cols, strict=True)]
        frame.to_file(target)
        return target

    return run


def assess(*args: Any, **options: Any) -> Any:
    return earthwords.assess(*args, quiet=True, **options)


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


def test_what_is_written(folder: Path, fill: Fill, command: Command) -> None:
    assess("map.tif", draw=150, out=Path("points.gpkg"), classes=Path("names.json"))
    fill(Path("points.gpkg"), Path("done.gpkg"))
    argv = ["assess", "map.tif", "--truth", "done.gpkg", "--classes", "names.json"]
    done = command(*argv, "-o", "out")
    assert done.code == 0 and "producer's accuracy (95 %)" in done.out and "areas: out/areas.csv" in done.err
    assert {path.name for path in Path("out").iterdir()} == {
        "assessment.json", "areas.csv", "accuracy.csv", "confusion.csv", "areas.png",
    }  # fmt: skip
    report = json.loads(Path("out/assessment.json").read_text())
    with Path("out/areas.csv").open(encoding="utf-8") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    forest = next(row for row in report["classes"] if row["name"] == "forest")
    np.testing.assert_allclose(float(rows["forest"]["estimated_m2"]), forest["area"]["value"])
    assert rows["sand"]["mapped_m2"] == "" and report["classes"][3]["mapped_area"] is None
    np.testing.assert_allclose(np.array(report["confusion"]["proportions"]).sum(), 1)
    command(*argv, "-o", "out").failed(2, "out/assessment.json exists; pass --overwrite")
    for suffix in (".json", ".csv", ".png"):
        assert command(*argv, "--quiet", "-o", f"one{suffix}").code == 0 and Path(f"one{suffix}").stat().st_size > 500
    command(*argv, "--overwrite", "-o", "names.json").failed(2, "names.json is read as --classes and would be lost")
    command("assess", "map.tif", "--draw", "90", "--overwrite", "-o", "map.tif").failed(2, "suffix must be one of")


def test_the_chart_shows_the_figures(folder: Path) -> None:
    """The longest bar is as long as the plot, others in proportion: pixels of the estimate's colour, row by row."""
    write_raster(Path("two.tif"), np.repeat(np.array([[1, 2, 2]], np.uint8), 40, axis=0).repeat(10, axis=1)[None])
    names = {"1": "a", "2": "b"}
    Path("two.json").write_text(json.dumps(names))
    found = assess("two.tif", truth="two.tif", classes=Path("two.json"))
    image = np.asarray(found.plot())
    blue = (image == (31, 119, 180)).all(axis=-1).sum(axis=1)
    lengths = [int(part.max()) for part in np.array_split(blue[84:176], 2)]
    assert lengths[1] > 500 and abs(lengths[0] / lengths[1] - 0.5) < 0.02


def test_pictures_of_the_points(folder: Path, command: Command) -> None:
    argv = ["assess", "map.tif", "--draw", 12, "-o", "sub/points.gpkg", "--chips", "image.tif", "--chip-size", 40]
    assert command(*argv, "--quiet").code == 0
    frame = geopandas.read_file("sub/points.gpkg")
    assert frame["chip"].tolist() == [f"points_chips/{i:02}.png" for i in range(1, 13)]
    image = patchwork(HEIGHT, WIDTH)
    for point, name in zip(frame.geometry, frame["chip"], strict=True):
        shown = np.asarray(Image.open(Path("sub") / name))
        assert shown.shape == (480, 480, 3)
        col, row = ~TRANSFORM @ (point.x, point.y)
        top, left = int(np.clip(round(row - 20), 0, HEIGHT - 40)), int(np.clip(round(col - 20), 0, WIDTH - 40))
        mid = shown[int((row - top) * 12), int((col - left) * 12)]
        assert mid.tolist() == image[int(row), int(col)].tolist(), "the pixel itself is not covered"
        white = np.argwhere((shown == 255).all(axis=-1))
        near = np.abs(white - np.array([(row - top) * 12, (col - left) * 12])).max(axis=1) <= 8
        assert near.sum() > 30, "an outline around it"
    command(*argv, "--quiet").failed(2, "points.gpkg exists")
    assert command(*argv, "--overwrite", "--quiet").code == 0
    Path("sub/points_chips/mine.txt").write_text("mine")
    command(*argv, "--overwrite", "--quiet").failed(2, "holds other files, such as mine.txt")
    half = np.moveaxis(patchwork(HEIGHT, 80), -1, 0)
    write_raster(Path("half.tif"), half, photometric="RGB")
    argv[5], argv[7] = "half.gpkg", "half.tif"
    done = command(*argv)
    assert done.code == 0 and "points lie beside half.tif: no picture of them." in done.err
    there = ~TRANSFORM @ tuple(
        np.stack([geopandas.read_file("half.gpkg").geometry.x, geopandas.read_file("half.gpkg").geometry.y])
    )
    assert geopandas.read_file("half.gpkg")["chip"].isna().tolist() == (there[0] >= 80).tolist()
    argv[3], argv[5] = "120", "strict.gpkg"
    command(*argv, "--strict").failed(2, "no picture of them")
    assert not Path("strict.gpkg").exists() and not Path("strict_chips").exists()


def test_a_map_without_a_place(folder: Path, mapped: NDArray[np.uint8]) -> None:
    write_raster(Path("plain.tif"), mapped[None], nodata=0, crs=None, transform=Affine.identity())
    drawn = assess("plain.tif", draw=60, out=Path("plain.gpkg"), classes=Path("names.json"))
    assert drawn.unit == "px"
    frame = geopandas.read_file("plain.gpkg")
    values = mapped[frame.geometry.y.astype(int), frame.geometry.x.astype(int)]
    frame["class"] = [NAMES[str(value)].split(",")[0] for value in values]
    frame.to_file("plain-done.gpkg")
    found = assess("plain.tif", truth="plain-done.gpkg", classes=Path("names.json"))
    assert float(found.overall.value) == 1 and found.areas["estimated_px"].sum() == pytest.approx((mapped > 0).sum())


def test_change_maps(folder: Path) -> None:
    """A class raster is a class raster."""
    labels = np.random.default_rng(4).choice(np.array([0, 1, 2], np.uint8), (60, 80), p=[0.9, 0.06, 0.04])
    write_raster(Path("change.tif"), labels[None])
    Path("change.txt").write_text("stable\ngain\nloss\n")
    drawn = assess("change.tif", draw=200, out=Path("c.gpkg"), classes=Path("change.txt"), rare=60)
    points = {row.name: row.points for row in drawn.strata}
    assert points["gain"] == points["loss"] == 33 and points["stable"] == 134, "at most half of all for the floors"
    assert {row.name: row.points for row in assess(
        "change.tif", draw=200, out=Path("p.gpkg"), classes=Path("change.txt"), allocation="proportional"
    ).strata}["stable"] in range(175, 186)  # fmt: skip
    wanted = assess("change.tif", standard_error=0.02, expected=["0.9", "loss=0.5"], out=Path("s.gpkg"),
                    classes=Path("change.txt"))  # fmt: skip
    shares = np.array([row.share for row in wanted.strata])
    assert wanted.points == int(np.ceil((shares @ [0.3, 0.3, 0.5] / 0.02) ** 2))


def test_calibration(folder: Path, truth: NDArray[np.uint8], command: Command) -> None:
    """Probabilities twice as sure as they should be: half the scale is found, on points that it was not fitted on."""
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 1.6, (3, HEIGHT, WIDTH))
    powers = np.exp(logits)
    shares = powers / powers.sum(axis=0)
    true = (rng.random((HEIGHT, WIDTH)) > shares.cumsum(axis=0)).sum(axis=0)
    sharp = np.exp(2 * logits)
    sharp /= 1.4 * sharp.sum(axis=0)  # synonyms took their share
    tags = {"EARTHWORDS_PRESET": "tiny", "EARTHWORDS_LOGIT_SCALE": "28", "EARTHWORDS_VOCABULARY": "a,b; c; d,e",
            "EARTHWORDS_TILE": "64 overlap 32", "CLASS_0": "a", "CLASS_1": "c", "CLASS_2": "d"}  # fmt: skip
    for name, data in (
        ("labels.tif", sharp.argmax(axis=0)[None].astype(np.uint8)),
        ("probabilities.tif", sharp.astype("f4")),
    ):
        with rasterio.open(write_raster(Path(name), data), "r+") as dataset:
            dataset.update_tags(**tags)
            if name == "probabilities.tif":
                for i, title in enumerate(("a", "c", "d")):
                    dataset.set_band_description(i + 1, title)
    assess("labels.tif", draw=900, out=Path("points.gpkg"))
    frame = geopandas.read_file("points.gpkg")
    cols, rows = ~TRANSFORM @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    frame["class"] = [("b", "c", "d")[true[int(r), int(c)]] for r, c in zip(rows, cols, strict=True)]
    frame.to_file("done.gpkg")
    done = command("assess", "labels.tif", "--truth", "done.gpkg", "--calibrate", "own.toml", "-o", "out", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["calibration"]
    assert 1.7 < found["temperature"] < 2.3
    errors = found["expected_calibration_error"]
    assert errors["temperature"] < 0.05 < 0.08 < errors["before"] and errors["isotonic"] < 0.06
    row = load_preset("own.toml")
    assert row.logit_scale == pytest.approx(28 / found["temperature"], rel=1e-4) and row.sum_to_one
    assert (row.weights, row.tile_size, row.overlap) == ("tiny", 64, 32), "what the map was made with goes on"
    assert dict(row.thresholds) == found["thresholds"]
    assert Path("out/reliability.png").exists()
    command("assess", "labels.tif", "--truth", "done.gpkg", "--calibrate", "own.toml").failed(2, "own.toml exists")
    frame.iloc[:30].to_file("few.gpkg")
    frame.iloc[:12].to_file("fewer.gpkg")
    assert any("few to calibrate by" in note for note in assess("labels.tif", truth="few.gpkg").notes)
    assert assess("labels.tif", truth="fewer.gpkg").calibration is None
    with pytest.raises(UsageError, match="12 points with probabilities are too few"):
        assess("labels.tif", truth="fewer.gpkg", calibrate=Path("x.toml"))
    assert not Path("x.toml").exists()
    frame["class"] = frame["stratum"]
    frame.to_file("right.gpkg")
    right = assess("labels.tif", truth="right.gpkg")
    assert right.calibration.temperature is None and right.calibration.error_tempered == right.calibration.error_before
    assert "no temperature can be told, as where all are right" in " ".join(right.notes)


def test_the_calibrated_preset_makes_the_map_that_was_promised(
    micro: Path, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Map, calibrate, map by the new preset, calibrate again: nothing is left to be gained, with synonyms too."""
    monkeypatch.chdir(tmp_path)
    words = ["building,roof", "road", "water", "trees"]
    common = {"text": words, "probabilities": "float32", "quiet": True, "device": "cpu"}
    earthwords.segment(scene_file, Path("first"), model=str(micro), tile_size=64, overlap=32, **common)
    assess("first", draw=600, out=Path("points.gpkg"))
    frame = geopandas.read_file("points.gpkg")
    rng = np.random.default_rng(1)
    with rasterio.open("first/probabilities.tif") as dataset:
        at = np.array(list(dataset.sample([(p.x, p.y) for p in frame.geometry])))
    powers = (at / at.sum(axis=1, keepdims=True)) ** 0.5
    chances = powers / powers.sum(axis=1, keepdims=True)
    frame["class"] = [("roof", "road", "water", "trees")[rng.choice(4, p=row / row.sum())] for row in chances]
    frame.to_file("done.gpkg")
    first = assess("first", truth="done.gpkg", calibrate=Path("own.toml"))
    assert first.calibration.temperature == pytest.approx(2, rel=0.25)
    assert f'weights = "{micro}"' in Path("own.toml").read_text()
    earthwords.segment(scene_file, Path("second"), preset="own.toml", **common)
    second = assess("second", truth="done.gpkg", calibrate=Path("again.toml"), preset="own.toml")
    assert second.calibration.temperature is None or second.calibration.temperature == pytest.approx(1, abs=0.02)
    scale = load_preset("own.toml").logit_scale
    assert load_preset("again.toml").logit_scale == pytest.approx(scale, rel=0.02)
    with pytest.raises(UsageError, match="preset 'own', which is a file"):
        assess("second", truth="done.gpkg", calibrate=Path("third.toml"))


WRONG: list[tuple[str, int, str]] = [
    ("", 2, "Give either --truth FILE, or --draw POINTS"),
    ("--truth truth.tif --draw 9 -o p.gpkg", 2, "Give either --truth FILE, or --draw POINTS"),
    ("--draw 9", 2, "--out points.gpkg"),
    ("--draw 9 -o p.docx", 2, "suffix must be one of"),
    ("--draw 9 -o p.gpkg --column class", 2, "--column goes with --truth"),
    ("--draw 9 -o p.gpkg --chips nosuch.tif", 1, "nosuch.tif does not exist"),
    ("--draw 9 -o p.gpkg --chips image.tif --chip-size 2", 2, "--chip-size is 8 to 4,096"),
    ("--draw 4 -o p.gpkg", 2, "4 points are too few for 3 classes"),
    ("--standard-error 0.02 --expected swamp=0.5 -o p.gpkg", 2, "Unknown class 'swamp'"),
    ("--truth truth.tif --expected 0.8", 2, "--expected goes with --draw"),
    ("--truth nosuch.gpkg", 1, "nosuch.gpkg does not exist"),
    ("--truth truth.tif --column class", 2, "--column is for points"),
    ("--truth truth.tif --calibrate a.toml --preset tiny", 2, "calibrated by points"),
    ("--truth truth.tif --classes nosuch.txt", 1, "nosuch.txt does not exist"),
    ("--truth truth.tif -o a.docx", 2, "suffix must be one of"),
    ("--truth far.gpkg", 2, "all are beside the map"),
    ("--truth empty.gpkg", 2, "No point of empty.gpkg has a class yet: fill in the column 'class'"),
    ("--truth lines.gpkg", 1, "holds LineString; truth is points, or polygons"),
    ("--truth nocolumn.gpkg", 2, "No column of nocolumn.gpkg is named class, label or name (it has: a, b)"),
    ("--truth nocolumn.gpkg --column c", 2, "nocolumn.gpkg has no column 'c'; it has: a, b"),
    ("--truth nocrs.gpkg", 2, "nocrs.gpkg has no CRS, but the map has one"),
    ("--truth spoilt.gpkg", 2, "but not as they were drawn"),
    ("--truth good.gpkg --calibrate a.toml", 2, "The map does not tell its preset"),
    ("--truth good.gpkg --calibrate a.toml --preset tiny", 2, "There are no probabilities beside map.tif"),
    ("--truth good.gpkg --calibrate a.txt", 2, "a file that ends in .toml"),
    (
        "--truth good.gpkg --calibrate a.toml --preset tiny --probabilities big.tif",
        1,
        "probabilities lie between 0 and 1",
    ),
    ("--truth good.gpkg --preset tinny", 2, "Did you mean 'tiny'?"),
    ("--truth image.tif", 2, "image.tif has 3 bands"),
    ("--truth names.json", 1, "names.json is not a vector file that GDAL can read"),
]


@pytest.fixture(scope="module")
def wrong(truth: NDArray[np.uint8], mapped: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map, and what is wrong beside it."""
    folder = tmp_path_factory.mktemp("wrong")
    write_inputs(folder, truth, mapped)

    def write(name: str, columns: dict[str, Any], shapes: Any, crs: Any = 32640) -> None:
        geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(folder / name)

    x, y = TRANSFORM @ (np.array([50.5, 80.5, 120.5]), np.array([50.5, 60.5, 70.5]))
    here, there = geopandas.points_from_xy(x, y), geopandas.points_from_xy(x + 9000, y)
    design = {"stratum": ["a", "a", "b"], "strat_area": [9.0, 8.0, 7.0], "strat_px": [9, 9, 7], "weight": [1.0, 1, 1]}
    write("far.gpkg", {"class": ["1", "2", "4"]}, there)
    write("good.gpkg", {"class": ["1", "2", "4"]}, here)
    write("empty.gpkg", {"class": [None, "", " "]}, here)
    write("lines.gpkg", {"class": ["1"]}, [shapely.LineString([(x[0], y[0]), (x[1], y[1])])])
    write("nocolumn.gpkg", {"a": [1, 2, 4], "b": [1, 2, 4]}, here)
    write("nocrs.gpkg", {"class": ["1", "2", "4"]}, here, crs=None)
    write("spoilt.gpkg", {"class": ["1", "2", "4"], **design}, here)
    write_raster(folder / "big.tif", np.full((3, HEIGHT, WIDTH), 7.5, np.float32))
    return folder


@pytest.mark.parametrize(("line", "code", "sentence"), WRONG)
def test_what_is_wrong(
    wrong: Path, command: Command, monkeypatch: pytest.MonkeyPatch, line: str, code: int, sentence: str
) -> None:
    monkeypatch.chdir(wrong)
    before = {path.name for path in wrong.iterdir()}
    command("assess", "map.tif", *line.split(), "--quiet").failed(code, sentence)
    assert {path.name for path in wrong.iterdir()} == before, "nothing is left"


def test_probabilities_of_another_map(folder: Path) -> None:
    write_raster(Path("map_probabilities.tif"), np.full((3, HEIGHT, WIDTH - 1), 0.3, np.float32))
    x, y = TRANSFORM @ (np.arange(40, 100) + 0.5, np.full(60, 70.5))
    frame = geopandas.GeoDataFrame({"class": ["1", "2"] * 30}, geometry=geopandas.points_from_xy(x, y), crs=32640)
    frame.to_file("points.gpkg")
    found = assess("map.tif", truth="points.gpkg")
    assert found.calibration is None, "what nobody asked for stops nothing"
    assert "is not told: The probabilities map_probabilities.tif" in " ".join(found.notes)
    with pytest.raises(UsageError, match="on another grid than the map"):
        assess("map.tif", truth="points.gpkg", calibrate=Path("a.toml"), preset="tiny")
    with pytest.raises(SourceError, match=r"nosuch\.tif does not exist"):
        assess("map.tif", truth="points.gpkg", probabilities=Path("nosuch.tif"))
