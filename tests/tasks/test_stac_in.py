"""STAC as SRC: Items, Collections and ItemCollections, from files, from a server and from pystac."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest

import earthwords
from earthwords.errors import SourceError, UsageError
from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.geo.sources.network import Network
from earthwords.geo.sources.plain_files import SETTING
from earthwords.geo.sources.stac import StacSource, located, located_all
from earthwords.inference.segment.segmenter import Segmenter
from tests.conftest import HEIGHT, WIDTH, Command, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import WORDS, Segment, labels_of

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
FIND = partial(located, network=Network.NAMED)


def an_item(name: str, day: str | None, assets: dict[str, Any], **more: Any) -> dict[str, Any]:
    properties = {"datetime": None if day is None else f"{day}T10:00:00Z"}
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": name, "geometry": None, "properties": properties,
        "links": [], "assets": assets, **more,
    }  # fmt: skip


def raster(href: str, **more: Any) -> dict[str, Any]:
    return {"href": href, "type": COG, "roles": ["data"], **more}


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Two Items with two rasters, a thumbnail and metadata each, a Collection, and all Items in one file."""
    root = tmp_path / "catalogue"
    items = []
    for name, day, seed in (("late", "2023-05-04", 1), ("early", "2019-06-01", 2)):
        (root / name / "files").mkdir(parents=True)
        data = np.maximum(np.moveaxis(patchwork(HEIGHT, WIDTH, seed=seed), -1, 0), 1)
        write_raster(root / name / "files" / "rgb.tif", data, photometric="RGB")
        write_raster(root / name / "files" / "other.tif", data[::-1], photometric="RGB")
        assets = {
            "preview": {"href": "files/none.png", "type": "image/png", "roles": ["thumbnail"]},
            "visual": raster("./files/rgb.tif"), "other": raster("files/other.tif"),
            "about": {"href": "about.json", "type": "application/json"},
        }  # fmt: skip
        item = an_item(name, day, assets)
        (root / name / "item.json").write_text(json.dumps(item), encoding="utf-8")
        for asset in assets.values():
            asset["href"] = f"{name}/{asset['href'].removeprefix('./')}"
        items.append(an_item(name, day, assets))
    (root / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    links = [{"rel": "item", "href": f"./{name}/item.json"} for name in ("late", "early")]
    collection = {"type": "Collection", "stac_version": "1.1.0", "id": "all", "links": links}
    (root / "collection.json").write_text(json.dumps(collection), encoding="utf-8")
    return root


@pytest.fixture
def address(catalogue: Path) -> Iterator[str]:
    """Where a server has the catalogue."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(catalogue))
    handler.log_message = lambda *words: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_which_raster_an_item_means(catalogue: Path) -> None:
    file = catalogue / "late" / "item.json"
    found = FIND(str(file))
    assert found == str(catalogue / "late" / "files" / "rgb.tif") and found.days == {found: "2023-05-04"}
    assert FIND(file, asset="other") == str(catalogue / "late" / "files" / "other.tif")
    for name in ("items.json", "collection.json"):
        several = FIND(str(catalogue / name), asset="other")
        assert several.listed == [str(catalogue / day / "files" / "other.tif") for day in ("early", "late")]
        assert list(several.listed.names.values()) == ["early", "late"] and str(several) == str(catalogue / name)
        assert FIND(str(catalogue / name), item="late") == found
    flat = located_all([str(catalogue / "items.json"), "else.tif"], network=Network.NAMED)
    assert [Path(name).name for name in flat] == ["rgb.tif", "rgb.tif", "else.tif"]
    assert sorted(flat[0].days.values()) == ["2019-06-01", "2023-05-04"]
    assert FIND("ortho.tif") == "ortho.tif" and not isinstance(FIND("ortho.tif"), StacSource)


def test_the_only_raster_with_data_needs_no_name(tmp_path: Path) -> None:
    assets = {"labels": raster("labels.tif"), "shown": {"href": "a.png", "type": "image/png", "roles": ["overview"]}}
    assets["plain"] = {"href": "polygons.gpkg", "roles": ["data"]}
    (tmp_path / "one.json").write_text(json.dumps(an_item("one", None, assets)), encoding="utf-8")
    found = FIND(str(tmp_path / "one.json"))
    assert found == str(tmp_path / "labels.tif") and found.days == {}


@pytest.mark.parametrize(
    ("document", "how", "said"),
    [
        (an_item("one", None, {"a": raster("a.tif"), "b": raster("b.tif")}), {}, "Say by --asset which.*: a, b"),
        (an_item("one", None, {}), {}, "Say by --asset.*it has none"),
        (an_item("one", None, {"a": raster("a.tif")}), {"asset": "c"}, "has no asset 'c'; there are: a"),
        (an_item("one", None, {"a": raster("a.tif")}), {"item": "two"}, "has no STAC Item 'two'; there are: 'one'"),
        ({"type": "Catalog", "stac_version": "1.0.0", "links": []}, {}, "is a STAC Catalog"),
        ({"type": "Collection", "stac_version": "1.0.0", "links": []}, {}, "names no Items"),
        ({"type": "Feature", "stac_version": "1.0.0", "id": 3}, {}, "without an id or assets"),
        ({"type": "FeatureCollection", "features": []}, {"asset": "a"}, "--asset chooses from a STAC Item"),
        (an_item("one", None, {"a": raster("https://a.example/a.tif")}), {}, "--allow-remote-parts"),
        (an_item("one", None, {"a": raster("/vsicurl/https://a.example/a.tif")}), {}, "--allow-remote-parts"),
        (an_item("one", None, {"a": raster("/vsizip//vsicurl/https://a.example/a.zip")}), {}, "--allow-remote-parts"),
        (an_item("one", None, {"a": raster("/vsizip//vsistdin/")}), {}, "neither a file nor in one"),
        (an_item("one", None, {"a": raster("http://[")}), {}, "which is no address"),
        (an_item("one", None, {}, links=5), {}, "Say by --asset.*it has none"),
        ({"type": "Collection", "stac_version": "1.0.0", "links": {"rel": "item"}}, {}, "names no Items"),
        (
            {"type": "FeatureCollection", "features": [an_item("one", None, {"a": raster("a.tif")})] * 2},
            {"item": "one"},
            "has 2 STAC Items of the id 'one'",
        ),
    ],
)
def test_refusals(document: dict[str, Any], how: dict[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises((SourceError, UsageError), match=said):
        FIND(str(tmp_path / "a.json"), **how)


def test_servers(catalogue: Path, address: str, tmp_path: Path) -> None:
    found = FIND(f"{address}/collection.json", item="late")
    assert found == f"{address}/late/files/rgb.tif" and found.days == {found: "2023-05-04"}
    with pytest.raises(UsageError, match="--offline"):
        located(f"{address}/items.json", network=Network.NONE)
    with pytest.raises(SourceError, match="Cannot read STAC from"):
        FIND(f"{address}/nothing.json")
    (catalogue / "local.json").write_text(json.dumps(an_item("a", None, {"a": raster("file:///etc/hosts")})))
    with pytest.raises(SourceError, match="on a server that names the local"):
        FIND(f"{address}/local.json")
    (tmp_path / "far.json").write_text(json.dumps(an_item("a", None, {"a": raster(f"{address}/late/files/rgb.tif")})))
    allowed = located(str(tmp_path / "far.json"), network=Network.PARTS)
    assert allowed == found
    with open_scene(f"{address}/late/item.json") as scene, open_scene(str(catalogue / "late/files/rgb.tif")) as local:
        np.testing.assert_array_equal(scene.read(scene.region).data, local.read(local.region).data)
        assert scene.date() == "2023-05-04"


def test_no_stac_where_only_plain_files_may_be_read(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "1")
    name = str(catalogue / "items.json")
    assert FIND(name) == name


def test_segment(segment: Segment, catalogue: Path, tmp_path: Path) -> None:
    scene = catalogue / "late" / "files" / "other.tif"
    assert segment(scene, tmp_path / "plain.tif").code == 0
    done = segment(catalogue / "late" / "item.json", tmp_path / "out", "--asset", "other", "--stac")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(labels_of(tmp_path / "out" / "labels.tif"), labels_of(tmp_path / "plain.tif"))
    found = json.loads((tmp_path / "out" / "item.json").read_text(encoding="utf-8"))
    assert found["properties"]["datetime"] == "2023-05-04T00:00:00Z"
    assert found["properties"]["earthwords:datetime"] == "acquisition"
    done = segment(catalogue / "items.json", tmp_path / "many")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == ["batch.json", "early", "late"]
    assert segment(catalogue / "items.json", tmp_path / "a.tif", "--item", "late").code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), labels_of(tmp_path / "many" / "late" / "labels.tif"))
    item = catalogue / "late" / "item.json"
    segment(item, item.parent, "--stac", "--overwrite").failed(2, "item.json is read as STAC")
    segment(scene, tmp_path / "b.tif", "--item", "late").failed(2, "--item chooses from a STAC Item")


def test_change_takes_items_in_their_order(command: Command, micro: Path, catalogue: Path, tmp_path: Path) -> None:
    how = ("-t", "building", "-t", "water", "--model", micro, "--tile-size", 64, "--scales", 1, "--quiet", "--json")
    done = command("change", catalogue / "items.json", tmp_path / "in_order", *how)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert "early" in report["before"] and "late" in report["after"]
    assert not any("are the dates swapped" in note for note in report["notes"])
    late, early = (catalogue / name / "item.json" for name in ("late", "early"))
    done = command("change", late, early, tmp_path / "swapped", *how)
    notes = " ".join(json.loads(done.out)["notes"])
    assert "is of 2019-06-01, before" in notes and "are the dates swapped?" in notes


def test_index_and_classify(micro: Path, catalogue: Path, tmp_path: Path) -> None:
    how = {"model": str(micro), "quiet": True}
    earthwords.index(str(catalogue / "collection.json"), str(tmp_path / "index"), tile_size=64, **how)
    tiles = geopandas.read_parquet(tmp_path / "index" / "tiles.parquet")
    assert set(zip([Path(name).parts[-3] for name in tiles.source], tiles["date"], strict=True)) == {
        ("early", "2019-06-01"), ("late", "2023-05-04"),
    }  # fmt: skip
    found = earthwords.classify(str(catalogue / "items.json"), text=["road", "water"], image_size=32, **how)
    plain = [str(catalogue / name / "files" / "rgb.tif") for name in ("early", "late")]
    assert [row.source for row in found.rows] == plain
    with pytest.raises(UsageError, match="--asset chooses from a STAC Item"):
        earthwords.classify(plain[0], text=["road", "water"], asset="visual", **how)


def test_pystac(segmenter: Segmenter, catalogue: Path, micro: Path, tmp_path: Path) -> None:
    pystac = pytest.importorskip("pystac", reason="pystac is missing; pip install 'earthwords[stac]'")
    item = pystac.Item.from_file(str(catalogue / "late" / "item.json"))
    plain = segmenter.predict(catalogue / "late" / "files" / "rgb.tif", WORDS)
    np.testing.assert_array_equal(segmenter.predict(item, WORDS).labels, plain.labels)
    assert FIND(item, asset="other") == str(catalogue / "late" / "files" / "other.tif")
    every = pystac.ItemCollection([item])
    assert FIND(every, asset="visual") == str(catalogue / "late" / "files" / "rgb.tif")
    item.set_self_href(None)
    with pytest.raises(SourceError, match="lies nowhere"):
        FIND(item, asset="visual")
    with pytest.raises(UsageError, match="holds 2 STAC Items"):
        open_scene(str(catalogue / "items.json"))
    assert SceneSpec(source="a", days=(("a", "2020-01-01"),)).settings() == SceneSpec(source="a").settings()
    item.set_self_href(str(catalogue / "late" / "item.json"))
    report = earthwords.segment(
        item, tmp_path / "out.tif", text=["building", "water"], model=str(micro), tile_size=64, quiet=True
    )
    assert report.outputs["labels"].is_file()
