"""Words that are offered and judged, marks that are saved, overviews that are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient
from PIL import Image

from earthwords.serve import library as serve_library
from earthwords.serve.overviews import prepare
from earthwords.serve.state import ServerState
from tests.conftest import ROOT, write_raster
from tests.serve.conftest import PLACE, picture


def source_id(client: TestClient, name: str = "town.tif") -> str:
    return next(s["id"] for s in client.get("/api/sources").json()["sources"] if s["name"] == name)


def offered(client: TestClient, typed: str, limit: int = 8) -> list[str]:
    found = client.get("/api/words", params={"q": typed, "limit": limit}).json()
    return [one["word"] for one in found["suggestions"]]


def test_words_are_offered_by_their_beginning() -> None:
    from earthwords.serve.words import suggestions

    found = suggestions("ro", 5, "tiny")
    assert len(found) == 5 and {"road", "roof"} <= {word for word, _ in found}
    assert all(word.startswith("ro") and known for word, known in found[:2])


def test_words_in_chinese_come_in_chinese(client: TestClient) -> None:
    found = client.get("/api/words", params={"q": "建筑"}).json()
    assert found["language"] == "zh" and "建筑" in {one["word"] for one in found["suggestions"]}
    assert client.get("/api/words", params={"q": "qqqqqq"}).json()["suggestions"] == []
    assert client.get("/api/words", params={"q": "x", "limit": 0}).status_code == 422


def test_words_are_judged_as_segment_does(client: TestClient) -> None:
    body = {"words": ["建筑,屋顶", "zebra crossing quux"], "source": source_id(client, "plain.png")}
    found = client.post("/api/words/check", json=body).json()
    assert found["classes"][0]["title"] == "建筑" and found["classes"][0]["queries"][0] == "building"
    assert all(one["colour"].startswith("#") and len(one["colour"]) == 7 for one in found["classes"])
    texts = " ".join(note["text"] for note in found["notes"])
    assert "Read as English" in texts and "'zebra crossing quux'" in texts and "No CRS" in texts
    assert any(note["kind"] == "caution" for note in found["notes"])
    alone = client.post("/api/words/check", json={"words": ["road"]}).json()
    assert [one["title"] for one in alone["classes"]] == ["road", "background"], "what is asked for gets rivals"
    assert [one["background"] for one in alone["classes"]] == [False, True]
    unknown = client.post("/api/words/check", json={"words": ["咕咕鸟窝窝"]})
    assert unknown.status_code == 422 and "glossary" in unknown.json()["detail"]


def feature(shape: dict[str, Any], name: str) -> dict[str, Any]:
    return {"type": "Feature", "geometry": shape, "properties": {"class": name, "drawn": "today"}}


def test_marks_come_back_as_they_were_drawn(client: TestClient, state: ServerState) -> None:
    id = source_id(client)
    assert client.get(f"/api/sources/{id}/marks").json()["features"] == []
    point = {"type": "Point", "coordinates": [8.35, 48.855]}
    ring = [[8.35, 48.85], [8.351, 48.85], [8.351, 48.8507], [8.35, 48.85]]
    drawn = [feature(point, "road"), feature({"type": "Polygon", "coordinates": [ring]}, "水体")]
    saved = client.put(f"/api/sources/{id}/marks", json={"type": "FeatureCollection", "features": drawn})
    assert saved.status_code == 200 and saved.json()["saved"] == 2
    table = geopandas.read_file(saved.json()["file"])
    assert table["class"].tolist() == ["road", "水体"] and table.crs.to_epsg() == 4326
    assert Path(saved.json()["file"]).is_relative_to(state.settings.workspace)
    back = client.get(f"/api/sources/{id}/marks").json()["features"]
    assert back[0]["geometry"]["coordinates"] == [8.35, 48.855] and back[1]["properties"]["class"] == "水体"
    np.testing.assert_allclose(back[1]["geometry"]["coordinates"][0], ring)
    client.put(f"/api/sources/{id}/marks", json={"type": "FeatureCollection", "features": drawn[:1]})
    assert len(client.get(f"/api/sources/{id}/marks").json()["features"]) == 1


@pytest.mark.parametrize(
    "shape",
    [{"type": "Point", "coordinates": [181, 0]}, {"type": "Point", "coordinates": ["a", 0]},
     {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
     {"type": "Point", "coordinates": [1e999, 0]}],
)  # fmt: skip
def test_marks_that_are_none(client: TestClient, shape: dict[str, Any]) -> None:
    body = {"type": "FeatureCollection", "features": [feature(shape, "road")]}
    content = json.dumps(body)
    answer = client.put(
        f"/api/sources/{source_id(client)}/marks", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422 and answer.json()["status"] == 422


def test_a_copy_with_overviews_shows_the_same(
    client: TestClient, state: ServerState, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_library, "SMALL", 200)
    id = source_id(client)
    assert client.get(f"/api/sources/{id}").json()["ready"] is False
    raster = state.library.get(id)
    copy, told = state.library.copy_of(raster), []
    argv = [sys.executable, "-m", "earthwords.serve.overviews", str(raster.real), str(copy), "--progress", "json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(argv, capture_output=True, text=True, encoding="utf-8", env=environment, check=True)
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert told[-2]["done"] == told[-2]["total"] == 300 and told[-1]["event"] == "output"
    assert client.get(f"/api/sources/{id}").json()["ready"] is True
    with rasterio.open(copy) as mine, rasterio.open(folder / "town.tif") as its:
        np.testing.assert_array_equal(mine.read([1, 2, 3]), its.read())
        assert (mine.read(4) == 255).all() and mine.crs == its.crs and mine.transform == its.transform
    again = client.post(f"/api/sources/{id}/prepare")
    assert again.status_code == 200 and again.json() == {"job": None}


def test_a_copy_of_sixteen_bits_is_what_segment_sees(folder: Path, tmp_path: Path) -> None:
    from earthwords.geo.scene import open_scene

    ticks: list[tuple[int, int]] = []
    prepare(
        folder / "deep" / "sixteen.tif", tmp_path / "copy.tif", tick=lambda done, total: ticks.append((done, total))
    )
    with open_scene(str(folder / "deep" / "sixteen.tif")) as scene, rasterio.open(tmp_path / "copy.tif") as copy:
        whole = scene.read_rgb(scene.region)
        np.testing.assert_array_equal(copy.read([1, 2, 3]), np.rint(whole.data * 255).astype(np.uint8))
        np.testing.assert_array_equal(copy.read(4) > 0, whole.valid)
        assert not whole.valid.all() and copy.read(1).max() == 255
    assert ticks[-1] == (200, 200)


def test_what_leads_out_of_the_folder_is_not_there(client: TestClient, folder: Path, tmp_path: Path) -> None:
    outside = write_raster(tmp_path / "secret.tif", picture(60, 70), transform=PLACE, crs="EPSG:32632")
    (folder / "link.tif").symlink_to(outside)
    (folder / "inside.tif").symlink_to(folder / "town.tif")
    (tmp_path / "far").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "far" / "far.png")
    (folder / "away").symlink_to(tmp_path / "far")
    vrt = (
        f'<VRTDataset rasterXSize="70" rasterYSize="60"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{outside}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    (folder / "trap.tif").write_text(vrt)
    (folder / "trap.vrt").write_text(vrt)
    Image.fromarray(np.moveaxis(picture(30, 40), 0, -1)).save(folder / "sneaky.png")
    (folder / "sneaky.png.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{outside}</MDI></Metadata></PAMDataset>'
    )
    names = {source["name"] for source in client.get("/api/sources").json()["sources"]}
    assert names == {"deep/sixteen.tif", "plain.png", "town.tif", "inside.tif"}
    id = source_id(client, "inside.tif")
    (folder / "inside.tif").unlink()
    (folder / "inside.tif").symlink_to(outside)
    assert client.get(f"/api/sources/{id}").status_code == 404, "a link that leads elsewhere since"


def test_a_job_makes_the_overviews_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_library, "SMALL", 200)
    id = source_id(client)
    asked = client.post(f"/api/sources/{id}/prepare")
    assert asked.status_code == 202 and asked.json()["job"]["kind"] == "prepare"
    job = asked.json()["job"]["id"]
    again = client.post(f"/api/sources/{id}/prepare").json()["job"]
    assert again is None or again["id"] == job, "not twice"
    deadline = time.monotonic() + 120
    while client.get(f"/api/jobs/{job}").json()["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
    done = client.get(f"/api/jobs/{job}").json()
    assert done["state"] == "succeeded", done
    source = client.get(f"/api/sources/{id}").json()
    assert source["ready"] is True and source["preparing"] is False
