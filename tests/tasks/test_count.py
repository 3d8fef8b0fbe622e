"""`earthwords count`: every thing once, whatever the blocks; zones, expected counts, and ways to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from scipy import ndimage

import earthwords
from earthwords.errors import UsageError
from earthwords.inference.segment.block_store import BlockResult, BlockStore
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows import blocks
from earthwords.text.vocabulary import parse_classes
from tests.conftest import TRANSFORM, Command, Outcome, write_raster
from tests.tasks.conftest import names
from tests.tasks.test_segment import like_tiny  # noqa: F401, a fixture

FILES = {"instances.gpkg", "instances.qml", "preview.png", "report.json"}
TEXT = ("-t", "building,roof", "-t", "water")
AGAINST = ("--against", "road,trees")

Count = Callable[..., Outcome]


@pytest.fixture
def count(command: Command, micro: Path) -> Count:
    """`count(src, dst, ...)` with the toy model and small windows."""

    def run(src: object, dst: object, *options: object) -> Outcome:
        return command("count", src, dst, "--model", micro, "--tile-size", 64, *TEXT, *AGAINST, *options)

    return run


@pytest.fixture(scope="module")
def labels(like_tiny: Segmenter, scene_file: Path) -> np.ndarray:  # noqa: F811
    """What the words give, pixel by pixel: 0 building, 1 water."""
    vocabulary = parse_classes(["building,roof", "water", "road,trees"], background="road")
    return np.asarray(like_tiny.predict(scene_file, vocabulary).labels)


def write_zones(path: Path, **boxes: tuple[float, float, float, float]) -> Path:
    """Boxes in pixels: left, top, right, bottom."""
    a, _, c, _, e, f = TRANSFORM[:6]
    shapes = [shapely.box(c + a * x0, f + e * y1, c + a * x1, f + e * y0) for x0, y0, x1, y1 in boxes.values()]
    geopandas.GeoDataFrame({"name": list(boxes)}, geometry=shapes, crs="EPSG:32640").to_crs(4326).to_file(path)
    return path


def test_regions_are_counted(count: Count, scene_file: Path, tmp_path: Path, labels: np.ndarray) -> None:
    done = count(scene_file, tmp_path / "out", "--split", "none", "--min-area", 0, "--json", "--quiet")
    assert (done.code, done.err, names(tmp_path / "out")) == (0, "", FILES)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == json.loads(done.out)
    wanted = {}
    for label, title in enumerate(("building", "water")):
        ids, wanted[title] = ndimage.label(labels == label)
        areas = ndimage.sum_labels(labels == label, ids, range(1, wanted[title] + 1)) * 0.25
        frame = geopandas.read_file(tmp_path / "out" / "instances.gpkg")
        mine = frame[frame["class"] == title]
        assert sorted(mine["area_m2"]) == pytest.approx(sorted(areas), rel=1e-3)
        assert mine.geometry.area.tolist() == pytest.approx(mine["area_m2"].tolist(), rel=1e-3)
    assert {row["name"]: row["count"] for row in report["classes"]} == wanted
    assert min(wanted.values()) > 3 and frame.crs.to_epsg() == 32640
    assert frame["id"].tolist() == list(range(1, len(frame) + 1))
    with Image.open(tmp_path / "out" / "preview.png") as picture:
        assert picture.size[0] > 300


def test_points_and_boxes_lie_where_the_polygons_lie(count: Count, scene_file: Path, tmp_path: Path) -> None:
    frames = {}
    for shapes in ("polygons", "boxes", "points"):
        assert count(scene_file, tmp_path / f"{shapes}.gpkg", "--as", shapes).code == 0
        frames[shapes] = geopandas.read_file(tmp_path / f"{shapes}.gpkg")
    polygons, boxes, points = frames.values()
    assert boxes.geometry.bounds.to_numpy() == pytest.approx(polygons.geometry.bounds.to_numpy())
    assert shapely.distance(points.geometry.to_numpy(), polygons.geometry.centroid.to_numpy()).max() < 0.01
    assert names(tmp_path) == {"polygons.gpkg", "boxes.gpkg", "points.gpkg"}


@pytest.mark.parametrize("options", [(), ("--method", "peaks"), ("--expect", "roof=3", "--expect", "water=2")])
def test_blocks_and_workers_change_nothing(
    count: Count, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")
    assert count(scene_file, tmp_path / "whole", *options).code == 0
    monkeypatch.setattr(blocks, "PIXELS", 32 * 190)
    assert count(scene_file, tmp_path / "cut", *options).code == 0
    for name in FILES - {"report.json"}:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_done_blocks_are_gone_on_with(
    count: Count, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")
    monkeypatch.setattr(blocks, "PIXELS", 32 * 190)
    assert count(scene_file, tmp_path / "whole").code == 0
    save, saved = BlockStore.save, list[int]()

    def counted(store: BlockStore, index: int, result: BlockResult) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        save(store, index, result)
        saved.append(index)

    monkeypatch.setattr(BlockStore, "save", counted)
    assert count(scene_file, tmp_path / "out").code == 130
    assert len(saved) == 2 and all(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    other = count(scene_file, tmp_path / "out", "--split", "none")
    assert other.code == 2 and "its count-split was distance" in other.err
    monkeypatch.setattr(BlockStore, "save", lambda store, i, result: (saved.append(i), save(store, i, result)))
    assert count(scene_file, tmp_path / "out").code == 0
    assert len(saved) > 3 and sorted(saved) == sorted(set(saved))
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    for name in FILES - {"report.json"}:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_small_things_are_looked_at_enlarged(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    """Where all that is counted is small, but not too small; and a number that means little is called so."""
    toy = ("--model", micro, "--tile-size", 64, "--quiet")
    small, both, tiny = ("-t", "house"), ("-t", "house", "-t", "water"), ("-t", "cars")
    for options, gsd, doubt in (
        (small, 0.25, ""), (both, 0.5, "120 m2, 1.9 times"), ((*small, "--gsd", "0.5"), 0.5, "120 m2, 1.9 times"),
        (tiny, 0.5, "9 m2, 0.1 times"),
    ):  # fmt: skip
        done = command("count", scene_file, tmp_path / "out", "--json", "--overwrite", *toy, *options)
        assert done.code == 0, done.err
        report = json.loads(done.out)
        notes = report["notes"]
        assert report["settings"]["gsd"] == f"{gsd:g} m" and not any("too large to be known" in note for note in notes)
        assert any("looked at with 0.25 m" in note for note in notes) is (gsd == 0.25)
        first, *water = report["classes"]
        told = first["doubt"] or ""
        assert doubt in told and ("one usually covers" in told) is bool(doubt) and not any(w["doubt"] for w in water)
        assert not told or f"{first['name']}: {told}" in notes
    done = command("count", scene_file, tmp_path / "s", *tiny, "--strict", *toy)
    done.failed(2, "--strict")
    assert names(tmp_path) == {"out"}


def test_tables_in_python(scene_file: Path, micro: Path, tmp_path: Path) -> None:
    """Numbers by name are as on the command line; zones are a file."""
    how: dict[str, Any] = {"text": ["water", "roof"], "model": str(micro), "tile_size": 64, "quiet": True}
    found = earthwords.count(str(scene_file), tmp_path / "out", expect={"water": 2}, **how)
    assert [row.expected for row in found.classes] == [2, 0]
    with pytest.raises(UsageError, match="zones is named by a path, got GeoDataFrame"):
        earthwords.count(str(scene_file), tmp_path / "no", zones=geopandas.GeoDataFrame(), **how)  # type: ignore[arg-type]


def test_expected_counts_are_kept(count: Count, scene_file: Path, tmp_path: Path) -> None:
    assert count(scene_file, tmp_path / "all").code == 0
    everything = geopandas.read_file(tmp_path / "all" / "instances.gpkg")
    assert count(scene_file, tmp_path / "out", "--expect", "water=2").code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(row["count"], row["expected"]) for row in report["classes"]] == [(0, 0), (2, 2)]
    best = everything[everything["class"] == "water"]["score"].nlargest(2)
    found = geopandas.read_file(tmp_path / "out" / "instances.gpkg")
    assert found["score"].min() >= best.min() - 1e-6
    done = count(scene_file, tmp_path / "many", "--expect", "water=500", "--expect", "roof=500")
    assert done.code == 0
    notes = json.loads((tmp_path / "many" / "report.json").read_text())["notes"]
    assert any("Expected 500 of water, but only" in note for note in notes)


def test_zones(count: Count, scene_file: Path, tmp_path: Path) -> None:
    zones = write_zones(tmp_path / "z.geojson", west=(-9, -9, 80, 99), east=(80, 20, 150, 120), both=(60, 30, 100, 60))
    assert count(scene_file, tmp_path / "out", "--as", "points", "--zones", zones).code == 0
    assert names(tmp_path / "out") == FILES | {"zones.gpkg"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    points = geopandas.read_file(tmp_path / "out" / "instances.gpkg")
    shapes = geopandas.read_file(zones).to_crs(points.crs)
    figures = geopandas.read_file(tmp_path / "out" / "zones.gpkg")
    inside = np.stack([points.geometry.within(shape) for shape in shapes.geometry])
    for i, entry in enumerate(report["zones"]):
        mine = inside[i] if i < 3 else ~inside.any(axis=0)
        for title in ("building", "water"):
            wanted = int((mine & (points["class"] == title)).sum())
            assert entry["classes"][title]["count"] == wanted, (entry["name"], title)
            if i < 3:
                assert figures[f"{title} count"][i] == wanted
    assert [entry["name"] for entry in report["zones"]] == ["west", "east", "both", "outside of all zones"]
    assert figures.crs.to_epsg() == 4326
    said = " ".join(report["notes"])
    assert "1 of 3 zones reaches out of the scene" in said and "more than one zone" in said


def test_zones_of_a_map(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    zones = write_zones(tmp_path / "z.gpkg", west=(0, 0, 80, 99), both=(60, 30, 100, 60))
    done = command("segment", scene_file, tmp_path / "out", "--model", micro, "--tile-size", 64, "--quiet", *TEXT,
                   "-t", "road", "--zones", zones)  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        labels = dataset.read(1)
    parts = {"west": np.s_[:99, :80], "both": np.s_[30:60, 60:100]}
    outside = np.ones(labels.shape, bool)
    for part in parts.values():
        outside[part] = False
    masks = [np.zeros(labels.shape, bool) for _ in parts]
    for mask, part in zip(masks, parts.values(), strict=True):
        mask[part] = True
    for entry, mask in zip(report["zones"], [*masks, outside], strict=True):
        seen = labels[mask & (labels != 255)]
        assert entry["area"] == pytest.approx(len(seen) * 0.25, rel=1e-3)
        for label, title in enumerate(("building", "water", "road")):
            assert entry["classes"][title]["share"] == pytest.approx((seen == label).mean(), abs=1e-3)
    figures = geopandas.read_file(tmp_path / "out" / "zones.gpkg")
    assert figures["water share"][1] == pytest.approx(report["zones"][1]["classes"]["water"]["share"])
    assert any("lies in more than one" in note for note in report["notes"])


def test_nothing_is_known_of_what_was_not_observed(
    command: Command, count: Count, micro: Path, scene_file: Path, tmp_path: Path
) -> None:
    with rasterio.open(scene_file) as source:
        profile, pixels = source.profile, source.read()
    pixels[:, 20:70, 30:90] = 0
    with rasterio.open(tmp_path / "s.tif", "w", **{**profile, "nodata": 0}) as target:
        target.write(pixels)
    zones = write_zones(tmp_path / "z.gpkg", blind=(35, 25, 80, 60), seen=(100, 20, 160, 90), far=(4e3, 0, 4100, 90))
    assert count(tmp_path / "s.tif", tmp_path / "out", "--zones", zones).code == 0
    assert command("segment", tmp_path / "s.tif", tmp_path / "map", "--model", micro, "--tile-size", 64, "--quiet",
                   *TEXT, "--zones", zones).code == 0  # fmt: skip
    for folder, figure in (("out", "count"), ("map", "area_m2")):
        report = json.loads((tmp_path / folder / "report.json").read_text())
        frame = geopandas.read_file(tmp_path / folder / "zones.gpkg")
        assert [entry["area"] > 0 for entry in report["zones"]] == [False, True, False, True]
        for place, entry in enumerate(report["zones"][:3]):
            known = entry["name"] == "seen"
            assert [value is not None for value in entry["classes"]["water"].values()] == [known, known]
            column = f"water {figure}".replace("area_", "")
            assert frame[[column, "water share"]].notna().loc[place].tolist() == [known, known]
        assert any("1 zone has no observed pixel" in note for note in report["notes"])
        assert any("1 of 3 zones of z.gpkg lies outside" in note for note in report["notes"])


def test_zones_of_an_earlier_run_go(
    count: Count, command: Command, micro: Path, scene_file: Path, tmp_path: Path
) -> None:
    zones, out = write_zones(tmp_path / "z.gpkg", west=(0, 0, 80, 99)), tmp_path / "out"
    assert count(scene_file, out, "--zones", zones).code == 0
    (out / "notes.txt").write_text("mine")
    count(scene_file, out).failed(2, "exists")
    count(scene_file, out, "--overwrite", "--mask", out / "zones.gpkg").failed(2, "zones.gpkg")
    assert (out / "zones.gpkg").exists()
    assert count(scene_file, out, "--overwrite").code == 0
    assert names(out) == FILES | {"notes.txt"}
    write_zones(out / "zones.gpkg", mine=(0, 0, 80, 99))
    assert count(scene_file, out, "--overwrite").code == 0
    assert (out / "zones.gpkg").exists(), "no report says that it was written by a run"
    common = ("--model", micro, "--tile-size", 64, "--quiet", *TEXT, "--overwrite")
    more = ("--zones", zones, "--probabilities", "uint8")
    for options, there in ((more, True), ((), False)):
        done = command("segment", scene_file, tmp_path / "map", *common, *options)
        assert done.code == 0, done.err
        assert ({"zones.gpkg", "probabilities.tif"} <= names(tmp_path / "map")) is there
    assert not {"zones.gpkg", "probabilities.tif"} & names(tmp_path / "map")


def test_zones_beside_a_file_go_with_it(count: Count, scene_file: Path, tmp_path: Path) -> None:
    zones, out = write_zones(tmp_path / "z.gpkg", west=(0, 0, 80, 99)), tmp_path / "out.gpkg"
    beside = tmp_path / "out_zones.gpkg"
    write_zones(beside, mine=(0, 0, 80, 99))
    assert count(scene_file, out).code == 0
    assert count(scene_file, out, "--overwrite").code == 0
    assert beside.exists(), "that is no file of ours"
    assert count(scene_file, out, "--zones", zones, "--overwrite").code == 0
    count(scene_file, out, "--overwrite", "--mask", beside).failed(2, "out_zones.gpkg")
    assert beside.exists() and count(scene_file, out, "--overwrite").code == 0
    assert names(tmp_path) == {"z.gpkg", "out.gpkg"}


def test_zones_are_printed(count: Count, command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    boxes = {f"district-{i}": (4.0 * i, 0.0, 4.0 * i + 30, 99.0) for i in range(23)}
    zones = write_zones(tmp_path / "z.gpkg", **boxes)
    done = count(scene_file, tmp_path / "out", "--zones", zones)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    lines = {line.split()[3]: line.split() for line in done.out.splitlines() if "district-" in line}
    assert set(lines) == {f"district-{i}" for i in range(20)} and "The first 20 of 23 zones" in done.out
    for place in (0, 7, 19):
        entry = report["zones"][place]
        numbers = [str(entry["classes"][title]["count"]) for title in ("building", "water")]
        assert [lines[entry["name"]][column] for column in (1, 5, 7)] == [str(place + 1), *numbers]
    assert "outside of all zones" in done.out
    done = command("segment", scene_file, tmp_path / "map", "--model", micro, "--tile-size", 64, *TEXT,
                   "--zones", zones)  # fmt: skip
    report = json.loads((tmp_path / "map" / "report.json").read_text())
    share = report["zones"][7]["classes"]["water"]["share"]
    assert any("district-7 " in line and f"{share:.1%}" in line for line in done.out.splitlines())


def test_areas_without_a_crs_are_pixels(count: Count, scene_file: Path, tmp_path: Path) -> None:
    with rasterio.open(scene_file) as source:
        write_raster(tmp_path / "flat.tif", source.read(), transform=None, crs=None)
    done = count(tmp_path / "flat.tif", tmp_path / "out", "--min-area", 3)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    frame = geopandas.read_file(tmp_path / "out" / "instances.gpkg")
    for row in report["classes"]:
        wanted = frame[frame["class"] == row["name"]]["area_px"].mean()
        assert f"{wanted:,.1f} px" in done.out and row["mean_area_px"] == pytest.approx(wanted, abs=0.01)


def test_what_is_wrong_is_said(count: Count, scene_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    count(scene_file, out, "--expect", "ship=2").failed(2, "'ship', which is not counted")
    count(scene_file, out, "--expect", "water=-1").failed(2, "whole number from 0", "'-1'")
    count(scene_file, out, "--expect", "water=1.5").failed(2, "'1.5'")
    count(scene_file, out, "--expect", "water=1e99").failed(2, "'1e99'")
    count(scene_file, out, "--expect", "water").failed(2, "is not CLASS=NUMBER")
    count(scene_file, out, "--expect", "roof=1", "--expect", "building=1").failed(2, "'building' twice")
    count(scene_file, out, "--method", "peaks", "--as", "boxes").failed(2, "Peaks are points")
    count(scene_file, out, "--min-area", "-1").failed(2, "--min-area")
    count(scene_file, out, "--method", "peaks", "--distance", "0").failed(2, "--distance must be above 0")
    count(scene_file, out, "--method", "peaks", "--min-area", "9").failed(2, "Peaks have no area")
    count(scene_file, out, "--method", "peaks", "--split", "none").failed(2, "Peaks have no area")
    count(scene_file, out, "--distance", "9").failed(2, "that of peaks")
    far = write_zones(tmp_path / "far.gpkg", far=(4000, 0, 4100, 90))
    count(scene_file, out, "--zones", far).failed(2, "None of the 1 zones", "touches")
    count(scene_file, out, "--zones", tmp_path / "no.gpkg").failed(1, "no.gpkg does not exist")
    count(scene_file, out, "--zones", far, "-o", far).failed(2)
    assert names(tmp_path) == {"far.gpkg"}


def test_nothing_is_a_result(count: Count, scene_file: Path, tmp_path: Path) -> None:
    zones = write_zones(tmp_path / "z.gpkg", west=(0, 0, 80, 99))
    for shapes in ("polygons", "boxes", "points"):
        out = tmp_path / shapes
        assert count(scene_file, out, "--expect", "water=0", "--as", shapes, "--zones", zones).code == 0
        assert len(geopandas.read_file(out / "instances.gpkg")) == 0
        report = json.loads((out / "report.json").read_text())
        assert [row["count"] for row in report["classes"]] == [0, 0]
        assert report["zones"][0]["classes"]["water"] == {"count": 0, "share": 0.0}


def test_a_taught_preset(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(f'base = "tiny"\nweights = "{micro}"\ntile_size = 64\noverlap = 32\n')
    (tmp_path / "names.txt").write_text("pond\nlawn\n")
    labels = np.full((1, 130, 190), 5, np.uint8)
    labels[0, 5:30, 5:40], labels[0, 40:80, 60:150] = 0, 1
    write_raster(tmp_path / "labels.tif", labels, nodata=5)
    common = ("--device", "cpu", "--offline", "--quiet")
    taught = command("teach", tmp_path / "labels.tif", tmp_path / "mine", "--scenes", scene_file, "--names",
                     tmp_path / "names.txt", "--preset", tmp_path / "toy.toml", *common)  # fmt: skip
    assert taught.code == 0, taught.err
    done = command(
        "count", scene_file, tmp_path / "out", "--preset", tmp_path / "mine", "-t", "pond", "--json", *common
    )
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [row["name"] for row in report["classes"]] == ["pond"] and report["classes"][0]["count"] > 0
    assert "lawn" in report["settings"]["vocabulary"], "what else was taught competes"


def test_many_scenes_where_some_have_no_zone(count: Count, scene_file: Path, tmp_path: Path) -> None:
    zones = write_zones(tmp_path / "far.gpkg", far=(4000, 0, 4100, 90))
    (tmp_path / "list.txt").write_text(f"{scene_file}\n")
    done = count(f"@{tmp_path / 'list.txt'}", tmp_path / "out", "--zones", zones, "--json")
    assert done.code == 0, done.err
    assert "No zone of far.gpkg touches the scene" in done.out


def test_from_python(scene_file: Path, micro: Path, tmp_path: Path) -> None:
    report = earthwords.count(
        str(scene_file), tmp_path / "out", text=["water"], against="road,trees", model=str(micro), tile_size=64,
        quiet=True, device="cpu",
    )  # fmt: skip
    assert report.counts.keys() == {"water"} and report.outputs["instances"].exists()
