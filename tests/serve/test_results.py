"""Results of `segment`: scores, areas, places, and exports that equal what `segment --threshold` writes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import geopandas.testing
import morecantile
import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient
from PIL import Image
from pyproj import Transformer

from earthwords.inference.segment.stored import open_stored
from earthwords.serve.result_store import begin_result, remove_result
from earthwords.serve.state import ServerState
from tests.conftest import Command, write_raster
from tests.serve.conftest import PLACE, picture

GRID = morecantile.tms.get("WebMercatorQuad")
WORDS = ("building,roof", "road", "water", "other")
Made = Callable[..., str]


@pytest.fixture
def made(state: ServerState, folder: Path, micro: Path, command: Command) -> Made:
    """Maps `town.tif` with other options; the id of the result."""
    image = picture()
    image[:, :60, :90] = 0
    write_raster(folder / "town.tif", image, photometric="RGB", transform=PLACE, crs="EPSG:32632", nodata=0)

    def make(id: str, *options: object, words: tuple[str, ...] = WORDS, source: str = "town.tif") -> str:
        source_id = next(r.id for r in state.library.all() if r.name == source)
        out = begin_result(state.settings.workspace, id, kind="segment", job=id, sources=[source_id], words=words)
        texts = [part for word in words for part in ("-t", word)]
        argv = ["segment", folder / source, out, "--model", micro, "--tile-size", 64, *texts, "--device", "cpu"]
        done = command(*map(str, argv), "--offline", "--quiet", *map(str, options))
        assert done.code == 0, done.err
        return id

    return make


def labels_of(path: Path | io.BytesIO) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def exported(client: TestClient, id: str, format: str, **asked: Any) -> bytes:
    answer = client.post(f"/api/results/{id}/export", json={"format": format, **asked})
    assert answer.status_code == 200, answer.text
    assert "attachment" in answer.headers["content-disposition"]
    return answer.content


@pytest.mark.parametrize("threshold", [pytest.param(0.0, marks=pytest.mark.slow), 0.3, 0.26])
def test_an_export_equals_what_segment_writes_with_that_threshold(
    client: TestClient, made: Made, state: ServerState, tmp_path: Path, threshold: float
) -> None:
    made("from-zero", "--threshold", 0, "--probabilities", "float32", "--min-area", 2)
    made("at-once", "--threshold", threshold, "--min-area", 2)
    ours = tmp_path / "export.tif"
    titles = [word.split(",")[0] for word in WORDS]
    levels = dict.fromkeys(titles, threshold)
    ours.write_bytes(exported(client, "from-zero", "geotiff", thresholds=levels))
    theirs = state.settings.workspace / "results" / "at-once" / "labels.tif"
    np.testing.assert_array_equal(labels_of(ours), labels_of(theirs))
    with rasterio.open(ours) as mine, rasterio.open(theirs) as its:
        assert mine.profile == its.profile and mine.colormap(1) == its.colormap(1)
        assert mine.tags() == its.tags()
        assert len(set(labels_of(theirs).ravel().tolist())) > 2, "the map says something"
    vectors = tmp_path / "export.gpkg"
    vectors.write_bytes(exported(client, "from-zero", "gpkg", thresholds=levels, min_area=2))
    mine, its = geopandas.read_file(vectors), geopandas.read_file(theirs.with_name("polygons.gpkg"))
    assert len(mine) > 3 and mine.crs == its.crs
    geopandas.testing.assert_geodataframe_equal(mine, its)


def test_from_bytes_only_what_is_next_to_the_threshold_may_differ(
    client: TestClient, made: Made, state: ServerState
) -> None:
    results = state.settings.workspace / "results"
    made("in-bytes", "--threshold", 0.2, "--probabilities", "uint8")
    made("in-floats", "--threshold", 0.2, "--probabilities", "float32")
    np.testing.assert_array_equal(
        labels_of(io.BytesIO(exported(client, "in-bytes", "geotiff"))), labels_of(results / "in-bytes" / "labels.tif")
    )
    levels = dict.fromkeys([word.split(",")[0] for word in WORDS], 0.31)
    rough = labels_of(io.BytesIO(exported(client, "in-bytes", "geotiff", thresholds=levels)))
    exact = labels_of(io.BytesIO(exported(client, "in-floats", "geotiff", thresholds=levels)))
    with rasterio.open(results / "in-floats" / "probabilities.tif") as dataset:
        best = np.nan_to_num(dataset.read()).max(axis=0)
    near = np.abs(best - 0.31) <= 0.0021
    assert (rough == exact)[~near].all() and not (exact == labels_of(results / "in-bytes" / "labels.tif")).all()


def test_a_threshold_of_one_class_moves_that_class_alone(client: TestClient, made: Made, state: ServerState) -> None:
    made("own-levels", "--threshold", 0, "--probabilities", "uint8")
    folder = state.settings.workspace / "results" / "own-levels"
    before = labels_of(folder / "labels.tif")
    after = labels_of(io.BytesIO(exported(client, "own-levels", "geotiff", thresholds={"road": 1.0})))
    assert (before == 1).any() and not (after == 1).any()
    np.testing.assert_array_equal(after[before != 1], before[before != 1])
    assert (after[before == 1] == 3).all(), "other takes what is below"
    wrong = client.post("/api/results/own-levels/export", json={"format": "geotiff", "thresholds": {"lake": 0.1}})
    assert wrong.status_code == 422 and "'lake' is no class" in wrong.json()["detail"]


def test_scores_and_areas_are_those_of_the_probabilities(client: TestClient, made: Made, state: ServerState) -> None:
    made("score-map", "--threshold", 0, "--probabilities", "uint8")
    folder = state.settings.workspace / "results" / "score-map"
    with rasterio.open(folder / "probabilities.tif") as dataset:
        stored = dataset.read()
    labels = labels_of(folder / "labels.tif")
    seen = stored[0] != 255
    found = client.get("/api/results/score-map/histogram").json()
    assert found["unit"] == "m2" and [c["title"] for c in found["classes"]] == ["building", "road", "water", "other"]
    assert found["observed"] == pytest.approx(seen.sum() * 0.25, rel=1e-3)
    for index, one in enumerate(found["classes"]):
        mine = seen & (labels == index)
        score = stored[index][mine]
        expected = np.bincount(score, minlength=251) * 0.25
        np.testing.assert_allclose(one["areas"], expected, rtol=1e-3, atol=1e-3)
    body = client.get("/api/results/score-map").json()
    assert body["complete"] and body["thresholds"] == {"building": 0, "road": 0, "water": 0, "other": 0}
    assert {file["name"] for file in body["files"]} >= {"labels.tif", "probabilities.tif", "report.json"}


def test_score_tiles_show_the_classes_where_they_are(client: TestClient, made: Made, state: ServerState) -> None:
    made("score-tile", "--threshold", 0, "--probabilities", "uint8")
    folder = state.settings.workspace / "results" / "score-tile"
    with rasterio.open(folder / "probabilities.tif") as dataset:
        stored, transform = dataset.read(), dataset.transform
    labels = labels_of(folder / "labels.tif")
    bounds = client.get("/api/results/score-tile").json()["bounds"]
    tile = GRID.tile((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, 19)
    answer = client.get(f"/api/results/score-tile/scores/19/{tile.x}/{tile.y}.png")
    assert answer.status_code == 200
    image = Image.open(io.BytesIO(answer.content))
    assert image.mode == "RGB" and image.size == (256, 256)
    planes = np.asarray(image)
    west, south, east, north = GRID.xy_bounds(tile)
    x = west + (np.arange(256) + 0.5) * (east - west) / 256
    y = north - (np.arange(256) + 0.5) * (north - south) / 256
    own = Transformer.from_crs(3857, 32632, always_xy=True).transform(*np.meshgrid(x, y))
    cols, rows = _pixels(transform, *own)
    inside = (rows >= 0) & (rows < labels.shape[0]) & (cols >= 0) & (cols < labels.shape[1])
    at = rows.clip(0, labels.shape[0] - 1), cols.clip(0, labels.shape[1] - 1)
    top = np.where(inside & (stored[0][at] != 255), labels[at] + 1, 0)
    assert (planes[..., 0] == top).mean() > 0.97, "but for places on the edges of pixels"
    same = (planes[..., 0] == top) & (top > 0)
    score = stored[np.maximum(top - 1, 0), at[0], at[1]]
    assert (planes[..., 1] == score)[same].mean() > 0.97
    assert (planes[..., 1] >= planes[..., 2]).all()
    tag = answer.headers["etag"]
    path = f"/api/results/score-tile/scores/19/{tile.x}/{tile.y}.png"
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    lng, lat = Transformer.from_crs(3857, 4326, always_xy=True).transform(x[100], y[90])
    point = client.get("/api/results/score-tile/point", params={"lng": lng, "lat": lat}).json()
    expected = None if not top[90, 100] else WORDS[top[90, 100] - 1].split(",")[0]
    assert point["class"] == expected and point["score"] == pytest.approx(score[90, 100] / 250, abs=1e-3)
    nowhere = client.get("/api/results/score-tile/point", params={"lng": 0, "lat": 0}).json()
    assert nowhere["class"] is None


def _pixels(transform: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = ~transform
    cols, rows = t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f
    return np.floor(cols).astype(int), np.floor(rows).astype(int)


def test_pictures_polygons_tiles_and_files(client: TestClient, made: Made, state: ServerState) -> None:
    made("all-files", "--threshold", 0, "--probabilities", "uint8", "--min-area", 1)
    picture = Image.open(io.BytesIO(exported(client, "all-files", "png")))
    assert picture.width > 460 and len(picture.convert("RGB").getcolors(10**7)) > 200, "image, map, legend"
    collection = client.get("/api/results/all-files/polygons.geojson").json()
    assert len(collection["features"]) > 3
    lon, lat = np.array(collection["features"][0]["geometry"]["coordinates"][0]).reshape(-1, 2)[0]
    bounds = client.get("/api/results/all-files").json()["bounds"]
    assert bounds[0] <= lon <= bounds[2] and bounds[1] <= lat <= bounds[3]
    far = client.get("/api/results/all-files/polygons.geojson", params={"bounds": "0,0,1,1"}).json()
    assert far["features"] == []
    first = client.get("/api/results/all-files/polygons.pmtiles", headers={"Range": "bytes=0-6"})
    assert (first.status_code, first.content) == (206, b"PMTiles")
    raw = client.get("/api/results/all-files/files/report.json")
    assert raw.status_code == 200 and raw.headers["content-disposition"].startswith("attachment")
    for name in ("..%2F..%2Fall-files.json", ".labels.tif.journal", "nothing.tif", "%2Fetc%2Fpasswd"):
        assert client.get(f"/api/results/all-files/files/{name}").status_code == 404
    left = state.settings.workspace / "made" / "all-files" / "exports"
    assert list(left.iterdir()) == [], "what was sent is gone"
    remove_result(state.settings.workspace, "all-files")
    assert client.get("/api/results/all-files").status_code == 404


def test_a_result_of_an_image_without_a_place_lies_on_the_image(
    client: TestClient, made: Made, state: ServerState
) -> None:
    made("no-place", "--threshold", 0, "--probabilities", "uint8", source="plain.png")
    source = next(s for s in client.get("/api/sources").json()["sources"] if s["name"] == "plain.png")
    np.testing.assert_allclose(client.get("/api/results/no-place").json()["bounds"], source["bounds"], atol=1e-7)
    features = client.get("/api/results/no-place/polygons.geojson").json()["features"]
    points = np.concatenate([np.array(f["geometry"]["coordinates"][0]) for f in features])
    np.testing.assert_allclose([*points.min(0), *points.max(0)], source["bounds"], atol=1e-6)
    assert client.get("/api/results/no-place/histogram").json()["unit"] == "px"


def test_a_job_that_runs_has_no_figures_yet(client: TestClient, state: ServerState) -> None:
    begin_result(state.settings.workspace, "running", kind="segment", job="running", sources=[], words=["road"])
    assert client.get("/api/results/running").json()["complete"] is False
    for path in ("histogram", "polygons.geojson", "polygons.pmtiles"):
        assert client.get(f"/api/results/running/{path}").status_code == 409
    assert client.get("/api/results/running/scores/3/1/1.png").status_code == 204
    assert client.post("/api/results/running/export", json={"format": "png"}).status_code == 409
    assert client.get("/api/results/nothing-here").status_code == 404


def test_where_no_word_fits_stays_empty(client: TestClient, made: Made, state: ServerState) -> None:
    made("unfit-map", "--threshold", 0, "--probabilities", "uint8", words=("building,roof", "road"))
    folder = state.settings.workspace / "results" / "unfit-map"
    with rasterio.open(folder / "labels.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        labels = dataset.read(1)
        labels[100:140, 200:260] = 255  # as a run writes it where no word fits, though probabilities are there
        dataset.write(labels, 1)
    with open_stored(folder) as map:
        rows = map.rows(100, 40)
    assert (rows.top[:, 200:260] == -1).all() and rows.valid[:, 200:260].all()
    after = labels_of(io.BytesIO(exported(client, "unfit-map", "geotiff", thresholds={"road": 0.01})))
    assert (after[100:140, 200:260] == 255).all() and (after[150:, 100:] != 255).all()


def test_while_a_job_runs_the_blocks_that_are_done_are_shown(
    client: TestClient, made: Made, state: ServerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    import earthwords.inference.windows.blocks as blocks
    from earthwords.inference.segment.block_store import BlockStore

    monkeypatch.setattr(blocks, "PIXELS", 2**13)  # small blocks: many of them
    kept = BlockStore.save
    seen: list[tuple[Any, Any]] = []

    def save(self: BlockStore, index: int, result: Any) -> None:
        kept(self, index, result)
        if len(self.done) == 2:
            at = {"lng": west + 0.3 * (east - west), "lat": north - 0.02 * (north - south)}
            tile = GRID.tile(at["lng"], at["lat"], 19)
            seen.append((client.get("/api/results/half-done/point", params=at).json(),
                         client.get(f"/api/results/half-done/scores/19/{tile.x}/{tile.y}.png")))  # fmt: skip

    monkeypatch.setattr(BlockStore, "save", save)
    source = next(s for s in client.get("/api/sources").json()["sources"] if s["name"] == "town.tif")
    west, south, east, north = source["bounds"]
    made("half-done", "--threshold", 0, "--probabilities", "uint8")
    assert len(seen) == 1
    point, tile = seen[0]
    whole = client.get("/api/results/half-done/point", params={"lng": point["lng"], "lat": point["lat"]}).json()
    assert point["class"] == whole["class"] is not None and point["score"] == pytest.approx(whole["score"], abs=1e-3)
    assert tile.status_code == 200 and tile.headers["cache-control"] == "no-store"
    place = GRID.tile(point["lng"], point["lat"], 19)
    end = np.asarray(
        Image.open(io.BytesIO(client.get(f"/api/results/half-done/scores/19/{place.x}/{place.y}.png").content))
    )
    then = np.asarray(Image.open(io.BytesIO(tile.content)))
    done = then[..., 0] > 0
    assert 0.01 < done.mean() < 1 and (end[..., 0] > 0).sum() > done.sum(), "some rows are there, not all"
    assert (then[done] == end[done]).all(axis=-1).mean() > 0.97
