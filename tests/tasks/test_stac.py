"""`segment --stac`: the map as a STAC Item that others read, beside its files."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import transform_geom

from earthwords.geo import destinations
from earthwords.geo.stac_item import UNKNOWN_DAY, classes_of, day_of
from earthwords.types import ClassName, Vocabulary
from tests.conftest import Command
from tests.micro import patchwork

pystac = pytest.importorskip("pystac", reason="pystac is missing; pip install 'earthwords[stac]'")
MakeScene = Callable[..., Path]
HEIGHT, WIDTH = 70, 110
WORDS = ("-t", "building,roof", "-t", "road")


def run(command: Command, micro: Path, scene: Path, out: Path, *more: object) -> dict[str, Any]:
    argv = [
        "segment",
        scene,
        out,
        *WORDS,
        "--model",
        micro,
        "--tile-size",
        64,
        "--device",
        "cpu",
        "--offline",
        "--stac",
    ]
    done = command(*argv, *more)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads((out / "item.json").read_text(encoding="utf-8"))
    return found


def written(make_scene: MakeScene, **tags: str) -> Path:
    path = make_scene(np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), name="ortho.tif", photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)
    return path


def test_an_item_says_where_when_and_what(
    command: Command, micro: Path, make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    scene, out = written(make_scene, ACQUISITION_DATE="2021-06-05T10:11:12Z"), tmp_path / "out"
    found = run(command, micro, scene, out, "--probabilities", "uint8", "--quiet")
    item = pystac.Item.from_file(str(out / "item.json"))
    core = found["stac_extensions"]
    item.stac_extensions = []
    assert item.validate() is not None, "by the schemas that pystac brings"
    assert [uri.split("/")[3] for uri in core] == ["projection", "classification"]
    with rasterio.open(scene) as dataset:
        properties, shape = found["properties"], shapely.geometry.shape(found["geometry"])
        assert properties["proj:code"] == str(dataset.crs) == "EPSG:32640"
        assert properties["proj:shape"] == [HEIGHT, WIDTH]
        assert properties["proj:transform"] == list(dataset.transform)[:6]
        assert properties["proj:bbox"] == list(dataset.bounds)
        box = shapely.geometry.shape(
            transform_geom(dataset.crs, "EPSG:4326", shapely.box(*dataset.bounds).__geo_interface__)
        )
    assert shapely.hausdorff_distance(shape, box) < 1e-7 and found["bbox"] == pytest.approx(box.bounds)
    assert item.datetime == item.common_metadata.start_datetime == datetime(2021, 6, 5, tzinfo=UTC)
    assert item.common_metadata.end_datetime == datetime(2021, 6, 5, 23, 59, 59, tzinfo=UTC)
    assert properties["created"] == "2023-11-14T22:13:20Z" and properties["earthwords:datetime"] == "acquisition"
    assert (
        properties["earthwords:weights"].startswith(str(micro))
        and "building,roof" in properties["earthwords:vocabulary"]
    )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["outputs"]["item"] == str(out / "item.json") and UNKNOWN_DAY not in report["notes"]
    assert item.id.startswith("ortho-")


def test_assets_lie_beside_it(command: Command, micro: Path, make_scene: MakeScene, tmp_path: Path) -> None:
    found = run(command, micro, written(make_scene), tmp_path / "out")
    assets = {name: (each["href"], each["roles"]) for name, each in found["assets"].items()}
    assert assets == {
        "labels": ("./labels.tif", ["data"]), "polygons": ("./polygons.gpkg", ["data"]),
        "preview": ("./preview.png", ["overview"]), "report": ("./report.json", ["metadata"]),
    }  # fmt: skip
    item = pystac.Item.from_file(str(tmp_path / "out" / "item.json"))
    assert all(Path(asset.get_absolute_href()).is_file() for asset in item.assets.values())
    assert "self" not in {link["rel"] for link in found["links"]}
    classes = found["assets"]["labels"]["classification:classes"]
    with rasterio.open(item.assets["labels"].get_absolute_href()) as labels:
        colours = labels.colormap(1)
        assert item.assets["labels"].media_type == pystac.MediaType.COG
        assert labels.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        for row in classes[:2]:
            assert row["color_hint"] == "{:02X}{:02X}{:02X}".format(*colours[row["value"]][:3])
        assert classes[2] == {"value": labels.nodata, "name": "nodata", "title": "No class", "nodata": True}
    assert [(row["value"], row["name"], row["description"]) for row in classes[:2]] == [
        (0, "building", "building,roof"), (1, "road", "road"),
    ]  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert UNKNOWN_DAY in report["notes"] and found["properties"]["earthwords:datetime"] == "processing"
    assert abs(item.datetime - datetime.now(UTC)).total_seconds() < 3600


def test_an_item_that_is_not_asked_for_again_goes(
    command: Command, micro: Path, make_scene: MakeScene, tmp_path: Path
) -> None:
    scene, out = written(make_scene), tmp_path / "out"
    run(command, micro, scene, out)
    again = ["segment", scene, out, *WORDS, "--model", micro, "--tile-size", 64, "--device", "cpu", "--overwrite"]
    assert command(*again).code == 0
    assert not (out / "item.json").exists(), "it would tell of another map"


def test_names_of_classes_are_those_of_the_standard() -> None:
    words = Vocabulary(classes=tuple(ClassName(names=(name,), colour=(1, 2, 254)) for name in ("水体", "bare land")))
    rows = classes_of(words)
    assert [(row["name"], row["title"]) for row in rows[:2]] == [("class-0", "水体"), ("bare-land", "bare land")]
    assert rows[0]["color_hint"] == "0102FE"


def test_a_day_that_is_none() -> None:
    assert day_of("2021-02-31") is day_of(None) is None
    assert day_of("2024-02-29") == datetime(2024, 2, 29, tzinfo=UTC)


def test_what_is_refused(command: Command, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = written(make_scene)
    command("segment", scene, scene.parent / "a.tif", *WORDS, "--stac").failed(
        2, "--stac describes the files of a folder"
    )
    look = importlib.util.find_spec
    monkeypatch.setattr(destinations.importlib.util, "find_spec", lambda name: None if name == "pystac" else look(name))
    command("segment", scene, scene.parent / "out", *WORDS, "--stac").failed(2, 'pip install "earthwords[stac]"')
    assert not (scene.parent / "out").exists()
