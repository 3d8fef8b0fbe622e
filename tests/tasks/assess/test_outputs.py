"""`earthwords assess`: what is written, calibrated presets, maps without a place or of change, and refusals."""

from __future__ import annotations

import csv
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
from PIL import Image

import earthwords
from earthwords.errors import SourceError, UsageError
from earthwords.presets import load_preset
from tests.conftest import TRANSFORM, Command, write_raster
from tests.micro import patchwork
from tests.tasks.assess.conftest import HEIGHT, NAMES, WIDTH, Fill, assess, write_inputs


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
    command("assess", "map.tif", "--draw", "90", "--overwrite", "-o", "map.tif").failed(2, "Points go into one file")


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
    ("--draw 9 -o p.docx", 2, "Points go into one file"),
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
    ("--truth lines.gpkg", 1, "holds LineString; truth is points alone, or polygons alone"),
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
