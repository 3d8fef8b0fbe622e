"""Views over HTTP: what they say is what the product says, and what goes wrong in their process stays there."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.serve.app import create_app, new_state
from earthwords.serve.state import ServerState, ServeSettings
from earthwords.serve.views.process import GoneError, ViewProcess
from earthwords.synthetic.render import render_scene
from tests.conftest import write_raster
from tests.serve.conftest import PLACE, TOKEN

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

WORDS = ["building,roof,house", "road", "trees,grass"]
HEIGHT, WIDTH = 250, 300


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """`(row, col, 3)`, rendered."""
    return render_scene(height=HEIGHT, width=WIDTH, seed=3, conditions=()).image


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray) -> Path:
    """With `town.tif` in EPSG:32632, and `plain.png` of the same pixels without a place."""
    folder = tmp_path_factory.mktemp("served")
    data = np.moveaxis(picture, -1, 0)
    write_raster(folder / "town.tif", data, photometric="RGB", transform=PLACE, crs="EPSG:32632")
    Image.fromarray(picture).save(folder / "plain.png")
    return folder


@pytest.fixture(scope="module")
def settings(root: Path) -> ServeSettings:
    workspace = root.parent / f"{root.name}-workspace"
    workspace.mkdir(exist_ok=True)
    return ServeSettings(
        folder=root, workspace=workspace, port=80, token=TOKEN, hosts=("testserver",), writes_per_s=1e6, device="cpu"
    )


@pytest.fixture(scope="module")
def served(settings: ServeSettings) -> Iterator[tuple[TestClient, ServerState]]:
    """One application with one process of views for all tests."""
    from fastapi.testclient import TestClient

    state = new_state(settings)
    with TestClient(create_app(state), headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client, state


@pytest.fixture(scope="module")
def client(served: tuple[TestClient, ServerState]) -> TestClient:
    return served[0]


@pytest.fixture(scope="module")
def sources(client: TestClient) -> dict[str, dict[str, Any]]:
    return {source["name"]: source for source in client.get("/api/sources").json()["sources"]}


@pytest.fixture(scope="module")
def tiny_model() -> Segmenter:
    return Segmenter.from_preset("tiny", device="cpu")


def asked(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"source": source["id"], "bounds": source["bounds"], "words": WORDS, **more}


@pytest.fixture(scope="module")
def town(client: TestClient, sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A view of all of `town.tif`."""
    answer = client.post("/api/views", json=asked(sources["town.tif"], against="none"))
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


def pixels_of(client: TestClient, view: dict[str, Any]) -> np.ndarray:
    answer = client.get(view["scores_url"])
    assert answer.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(answer.content))
    assert image.mode == "RGB" and image.size == (view["width"], view["height"])
    return np.asarray(image)


def test_the_score_picture_is_the_map_in_web_mercator(
    client: TestClient, town: dict[str, Any], root: Path, tiny_model: Segmenter
) -> None:
    """Against GDAL's own warp of what `predict` gives."""
    wanted = tiny_model.predict(root / "town.tif", WORDS, against="none", threshold=0.0, probabilities=True)
    assert wanted.probabilities is not None
    order = np.sort(np.rint(wanted.probabilities * 250), axis=0)
    seen = wanted.labels != 255
    planes = np.where(seen, np.stack([wanted.labels + 1, order[-1], order[-2]]), 0).astype(np.uint8)
    to = Transformer.from_crs(4326, 3857, always_xy=True)
    (west, north), (east, south) = (to.transform(*town["corners"][i]) for i in (0, 2))
    transform = Affine((east - west) / town["width"], 0, west, 0, (south - north) / town["height"], north)
    expected = np.zeros((3, town["height"], town["width"]), np.uint8)
    reproject(
        planes, expected, src_transform=PLACE, src_crs="EPSG:32632", dst_transform=transform, dst_crs="EPSG:3857",
        resampling=Resampling.nearest, init_dest_nodata=False,
    )  # fmt: skip
    found = np.moveaxis(pixels_of(client, town), -1, 0)
    assert (found == expected).all(axis=0).mean() > 0.98
    assert 0.5 < (found[0] > 0).mean() < 1, "a rectangle in UTM is none in Web Mercator"
    assert [c["title"] for c in town["classes"]] == ["building", "road", "trees"]
    assert town["gsd_m"] == pytest.approx(0.5, rel=0.01)


def test_areas_by_score_add_up(client: TestClient, town: dict[str, Any], root: Path, tiny_model: Segmenter) -> None:
    wanted = tiny_model.predict(root / "town.tif", WORDS, against="none", threshold=0.6)
    histogram = town["histogram"]
    assert histogram["unit"] == "m2" and all(len(entry["areas"]) == 251 for entry in histogram["classes"])
    for label, entry in enumerate(histogram["classes"]):
        pixels = (wanted.labels == label).sum()
        assert sum(entry["areas"][150:]) == pytest.approx(pixels * 0.25, rel=0.03, abs=10)
    assert sum(sum(entry["areas"]) for entry in histogram["classes"]) == pytest.approx(histogram["observed"])


def test_a_place_tells_its_classes(client: TestClient, town: dict[str, Any]) -> None:
    picture = pixels_of(client, town)
    (west, north), (east, south) = town["corners"][0], town["corners"][2]
    row, col = town["height"] // 3, town["width"] // 2
    lng = west + (east - west) * (col + 0.5) / town["width"]
    lat = north + (south - north) * (row + 0.5) / town["height"]
    told = client.get(f"/api/views/{town['id']}/point", params={"lng": lng, "lat": lat}).json()
    top, score, second = picture[row, col].tolist()
    assert told["class"] == town["classes"][top - 1]["title"] and told["second"] != told["class"]
    assert (told["score"], told["second_score"]) == pytest.approx((score / 250, second / 250), abs=1e-9)
    away = client.get(f"/api/views/{town['id']}/point", params={"lng": lng + 1, "lat": lat}).json()
    assert away["class"] is None and away["score"] == 0


def test_new_words_on_the_same_view_need_no_image(client: TestClient, sources: dict[str, dict[str, Any]]) -> None:
    first = client.post("/api/views", json=asked(sources["town.tif"])).json()
    other = client.post("/api/views", json=asked(sources["town.tif"], words=["water", "sand"])).json()
    again = client.post("/api/views", json=asked(sources["town.tif"])).json()
    assert other["cached"] and other["id"] != first["id"] and again == first
    assert any("compete" in note["text"] for note in first["notes"])
    assert first["classes"][-1]["background"] and not first["classes"][0]["background"]


def test_a_fast_view_is_coarse_and_says_so(client: TestClient, sources: dict[str, dict[str, Any]]) -> None:
    view = client.post("/api/views", json=asked(sources["plain.png"], fast=True)).json()
    assert view["fast"] and any("coarse" in note["text"] for note in view["notes"])
    assert view["gsd_m"] is None and view["histogram"]["unit"] == "px"
    assert view["histogram"]["observed"] == HEIGHT * WIDTH
    assert (pixels_of(client, view)[..., 0] > 0).mean() > 0.99


def test_a_large_part_is_shrunk_and_a_part_of_the_source_is_not(
    client: TestClient, sources: dict[str, dict[str, Any]]
) -> None:
    source = sources["town.tif"]
    small = client.post("/api/views", json=asked(source, max_side=100, fast=True)).json()
    assert max(small["width"], small["height"]) <= 110 and small["gsd_m"] == pytest.approx(1.5, rel=0.05)
    west, south, east, north = source["bounds"]
    part = [west + (east - west) * 0.3, south + (north - south) * 0.2, east, north - (north - south) * 0.1]
    view = client.post("/api/views", json={**asked(source, fast=True), "bounds": part}).json()
    assert view["gsd_m"] == pytest.approx(0.5, rel=0.01)
    for have, want in zip(view["bounds"], part, strict=True):
        assert abs(have - want) < 60 * 0.5 / 70_000, "moved by half a step of the windows at most"


@pytest.mark.parametrize("format", ["geotiff", "gpkg", "geojson", "png"])
def test_exports_are_decided_at_the_thresholds_asked_for(
    client: TestClient, town: dict[str, Any], root: Path, tiny_model: Segmenter, tmp_path: Path, format: str
) -> None:
    body = {"format": format, "thresholds": {"road": 0.7}}
    answer = client.post(f"/api/views/{town['id']}/export", json=body)
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    if format == "geotiff":
        wanted = tiny_model.predict(root / "town.tif", WORDS, against="none")
        expected = np.where((wanted.labels == 1) & (wanted.score < 0.7), 255, wanted.labels)
        assert (expected != wanted.labels).any()
        (tmp_path / "view.tif").write_bytes(answer.content)
        with rasterio.open(tmp_path / "view.tif") as dataset:
            np.testing.assert_array_equal(dataset.read(1), expected)
            assert dataset.crs.to_epsg() == 32632 and dataset.transform == PLACE
    elif format == "geojson":
        assert {f["properties"]["class"] for f in answer.json()["features"]} <= {"building", "road", "trees"}
    else:
        assert answer.content[:6] == (b"SQLite" if format == "gpkg" else b"\x89PNG\r\n")


def marks(source: dict[str, Any], picture: np.ndarray) -> dict[str, Any]:
    """Points named after what is bright and what is dark."""
    west, south, east, north = source["bounds"]
    rng = np.random.default_rng(4)
    features = []
    for row, col in zip(rng.integers(30, 220, 30), rng.integers(30, 270, 30), strict=True):
        place = [west + (east - west) * (col + 0.5) / WIDTH, north - (north - south) * (row + 0.5) / HEIGHT]
        name = "bright" if picture[row, col].mean() > 100 else "dark"
        point = {"type": "Point", "coordinates": place}
        features.append({"type": "Feature", "geometry": point, "properties": {"class": name}})
    return {"type": "FeatureCollection", "features": features}


def test_marks_teach_a_view_and_are_kept(
    client: TestClient, sources: dict[str, dict[str, Any]], picture: np.ndarray, settings: ServeSettings
) -> None:
    source = sources["plain.png"]
    part = {"source": source["id"], "bounds": source["bounds"]}
    body = {**part, "words": ["bright,roof", "dark,trees"], "marks": marks(source, picture)}
    answer = client.post("/api/teach", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert {row["class"] for row in told["report"]["rows"]} == {"bright", "dark"} and told["report"]["method"]
    assert {entry["title"] for entry in told["view"]["classes"]} >= {"bright", "dark"}
    further = client.post("/api/teach", json={**body, "words": [], "onto": told["taught"]})
    assert further.status_code == 200 and further.json()["taught"] != told["taught"]
    saved = client.post(f"/api/taught/{told['taught']}/save", json={"name": "light"})
    assert saved.status_code == 200
    again = Segmenter.from_preset(saved.json()["folder"], device="cpu")
    assert again.taught is not None and again.taught.vocabulary.titles[:2] == ("bright", "dark")
    assert client.post(f"/api/taught/{told['taught']}/save", json={"name": "light"}).status_code == 409
    assert client.delete(f"/api/taught/{told['taught']}").status_code == 204
    assert client.post("/api/views", json={**part, "taught": told["taught"]}).status_code == 404
    assert not (settings.workspace / "taught" / told["taught"]).exists()


def test_places_to_mark_lie_in_the_part(client: TestClient, sources: dict[str, dict[str, Any]]) -> None:
    source = sources["town.tif"]
    body = {"source": source["id"], "bounds": source["bounds"], "words": WORDS, "n": 3}
    answer = client.post("/api/suggest", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()["features"]
    west, south, east, north = source["bounds"]
    assert [feature["properties"]["rank"] for feature in found] == [1, 2, 3]
    assert all(feature["properties"]["reason"] for feature in found)
    for feature in found:
        lng, lat = feature["geometry"]["coordinates"]
        assert west <= lng <= east and south <= lat <= north


@pytest.mark.parametrize(
    "change, status, said",
    [
        ({"source": "nothing-here"}, 404, "no source"),
        ({"bounds": [10, 10, 10.1, 10.1]}, 422, "bounds"),
        ({"bounds": [9, 48, 8, 49]}, 422, "west must be less"),
        ({"words": []}, 422, "one word"),
        ({"words": ["x"] * 65}, 422, "words"),
        ({"words": ["x" * 201]}, 422, "words"),
        ({"max_side": 2000}, 422, "max_side"),
        ({"taught": "nothing-here"}, 404, "no teaching"),
        ({"more": 1}, 422, "more"),
    ],
)
def test_what_cannot_be_is_refused(
    client: TestClient, sources: dict[str, dict[str, Any]], change: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/api/views", json={**asked(sources["town.tif"]), **change})
    assert answer.status_code == status and said in answer.json()["detail"], answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_process_that_dies_is_started_again(
    served: tuple[TestClient, ServerState], sources: dict[str, dict[str, Any]], town: dict[str, Any]
) -> None:
    client, state = served
    process: ViewProcess = state.views.process
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    body = asked(sources["plain.png"], words=["river", "sand"])
    answer = client.post("/api/views", json=body)
    if answer.status_code == 503:  # it was asked before its death was noticed
        assert "ended" in answer.json()["detail"] and int(answer.headers["retry-after"]) > 0
        answer = client.post("/api/views", json=body)
    assert answer.status_code == 200, answer.text
    assert client.get(town["scores_url"]).status_code == 200, "what was made before is still there"
    metrics = client.get("/metrics").text
    assert "earthwords_view_restarts_total 1" in metrics
    assert 'earthwords_view_requests_total{what="look"}' in metrics and 'earthwords_jobs{state="queued"} 0' in metrics


def test_work_for_clients_that_have_gone_is_dropped(
    settings: ServeSettings, sources: dict[str, dict[str, Any]]
) -> None:
    """Three requests wait, the first two clients go: the third is answered, and the first two were not computed."""
    state = new_state(settings)
    source = sources["town.tif"]
    raster = state.library.get(source["id"])
    from earthwords.serve.views.parts import ViewPart

    part = ViewPart(raster=raster, window=state.library.window(raster, source["bounds"]), max_side=448)

    async def work() -> Any:
        process = ViewProcess(settings)
        await process.start()
        try:
            how = {"part": part, "fast": True, "taught": None, "against": "none"}

            async def gone() -> bool:
                return True

            async def lost() -> str:
                try:
                    await process.ask("look", {**how, "words": ["lost", "words"]}, gone=gone)
                except GoneError:
                    return "gone"
                return "answered"

            first, second = await asyncio.gather(lost(), lost())
            seen = await process.ask("look", {**how, "words": ["water", "sand"]})
            return first, second, seen, process.answered["look"][0], process.waiting
        finally:
            await process.stop()

    first, second, seen, answered, waiting = asyncio.run(work())
    assert (first, second) == ("gone", "gone") and answered == 1 and waiting == 0
    assert not seen.cached, "nothing was computed for those who had gone"
    assert seen.scores.top.shape == (HEIGHT, WIDTH)
