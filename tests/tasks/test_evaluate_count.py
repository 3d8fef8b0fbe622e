"""`earthwords evaluate count`: figures on things whose overlaps are known."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import earthwords
from earthwords.evaluation.metrics import detections
from earthwords.evaluation.metrics.count_scores import answers_table, averages
from tests.conftest import Command

X, Y = 400_000, 5_000_000


def write(path: Path, things: list[tuple[str, float, float, float]], crs: int = 32633) -> Path:
    """Squares: class, left, bottom, side."""
    path.parent.mkdir(exist_ok=True, parents=True)
    shapes = [shapely.box(X + x, Y + y, X + x + side, Y + y + side) for _, x, y, side in things]
    frame = geopandas.GeoDataFrame({"class": [t[0] for t in things]}, geometry=shapes, crs=32633)
    frame.to_crs(crs).to_file(path)
    return path


TRUE = [("ship", 0, 0, 10), ("ship", 20, 0, 10), ("ship", 40, 0, 10), ("car", 0, 50, 4)]
FOUND = [("ship", 2, 0, 10), ("ship", 26, 0, 10), ("plane", 80, 80, 5), ("car", 0, 50, 4), ("car", 0.5, 50, 4)]


def test_figures_of_two_files(command: Command, tmp_path: Path) -> None:
    found, true = write(tmp_path / "found.gpkg", FOUND), write(tmp_path / "true.geojson", TRUE, crs=4326)
    done = command("evaluate", "count", found, true, "-o", tmp_path / "out.json", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == json.loads((tmp_path / "out.json").read_text())
    rows = {row["name"]: row for row in told["classes"]}
    ship, car, plane = rows["ship"], rows["car"], rows["plane"]
    assert (ship["counts"]["true"], ship["counts"]["found"], ship["counts"]["mae"]) == (3, 2, 1.0)
    assert ship["counts"]["bias"] == -1 and ship["counts"]["f1"] == pytest.approx(2 * 2 / 5)
    assert ship["mask_f1"] == ship["box_f1"] == pytest.approx(2 * 1 / 5), "IoU 8/12 and 4/16"
    assert ship["place_f1"] == pytest.approx(2 * 1 / 5), "the middle of the second lies outside"
    assert car["mask_f1"] == pytest.approx(2 * 1 / 3), "one true car is found once"
    assert plane["counts"]["f1"] == 0 == plane["mask_f1"]
    assert told["mean_f1"] == pytest.approx((0.8 + 2 / 3) / 2), "planes are not there"
    assert told["instructsam_f1"] == pytest.approx((0.8 + 2 / 3 + 0) / 3), "but theirs counts them"
    command("evaluate", "count", found, true, "-o", tmp_path / "out.json").failed(2, "exists")


def test_folders_with_an_image_that_has_no_answer(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "true" / f"{name}.gpkg", TRUE)
    write(tmp_path / "found" / "a" / "instances.gpkg", TRUE)
    write(tmp_path / "found" / "c.gpkg", TRUE)
    measured = earthwords.evaluate_count(tmp_path / "found", tmp_path / "true")
    ship = measured.classes[0]
    assert (measured.images, ship.counts.true, ship.counts.found) == (2, 6, 3)
    assert ship.counts.rmse == pytest.approx(np.sqrt(9 / 2)) and ship.mask_f1 == pytest.approx(2 / 3)
    assert "1 of 2 images" in measured.notes[0] and "want of truth: c" in measured.notes[1]


def test_coco(tmp_path: Path) -> None:
    images = [{"id": 7, "height": 20, "width": 30}, {"id": 3, "height": 20, "width": 30}]
    true = [
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 10, 10]},
        {"image_id": 3, "category_id": 2, "bbox": [0, 0, 4, 4]},
    ]
    found = [
        {"image_id": 7, "category_id": 2, "bbox": [1, 0, 10, 10]},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9]},
    ]
    told = {"images": images, "annotations": true, "categories": [{"id": 2, "name": "ship"}]}
    for name, content in (("true", told), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    measured = earthwords.evaluate_count(tmp_path / "found.json", tmp_path / "true.json")
    assert measured.classes[0].box_f1 == pytest.approx(2 / 4) and measured.classes[0].counts.mae == 1


def test_what_does_not_belong_together(command: Command, tmp_path: Path) -> None:
    found, true = write(tmp_path / "f" / "a.gpkg", FOUND), write(tmp_path / "t" / "b.gpkg", TRUE)
    command("evaluate", "count", found.parent, true.parent).failed(2, "bears the name")
    command("evaluate", "count", tmp_path / "no", true).failed(1, "no does not exist")
    command("evaluate", "count", found, true, "-o", tmp_path / "x.csv").failed(2, "as .json")
    bare = tmp_path / "bare.gpkg"
    geopandas.GeoDataFrame({"class": ["ship"]}, geometry=[shapely.box(0, 0, 1, 1)]).to_file(bare)
    command("evaluate", "count", bare, true).failed(2, "Only one of")
    (tmp_path / "x.json").write_text("[1]")
    command("evaluate", "count", tmp_path / "x.json", tmp_path / "x.json").failed(1, "no truth and results of COCO")


def test_rules_of_matching() -> None:
    iou = np.array([[0.6, 0.6, 0.0], [0.9, 0.2, 0.5], [0.0, 0.55, 0.5]])
    assert detections.greedy(iou).tolist() == [0, 2, 1], "the first of equal ones, then what is free"
    tie = detections.ImageThings(iou=np.array([[0.6, 0.6], [0.7, 0.0]]), scores=np.array([0.1, 0.9]))
    assert detections.average_precision([tie], scored=False) == (1.0, 1.0), "COCO takes the later of equal ones"
    assert detections.f1_table({"a": [tie]})["a"].tp == 1
    empty = detections.ImageThings(iou=np.zeros((2, 0)), scores=np.ones(2))
    assert detections.average_precision([empty], scored=False) == (-1.0, -1.0)
    answers = {"a": {"ship": 2.9, "tank": "4", "x": 9}, "zz": {"ship": 7}}
    table = answers_table(answers, {"a": {"ship": 1}, "b": {"ship": 4}},
                          {"ship": "ship", "tank": "tank"})  # fmt: skip
    assert (table["ship"].tp, table["ship"].fp, table["ship"].fn) == (1, 1, 0)
    assert list(table) == ["ship"] and averages(table)["precision"] == 0.5
