"""Jobs of `refer` and `index` on small scenes: they succeed, leave the files they promise, and can be asked about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from earthwords.synthetic.render import render_scene
from tests.conftest import write_raster
from tests.serve.conftest import PLACE, Running, finish, start
from tests.serve.test_jobs import state_is

SIDE = 160


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Of a harbour and, at the same place, a town."""
    root = tmp_path_factory.mktemp("pair")
    for name, seed, theme in (("harbour.tif", 3, "harbour"), ("town.tif", 4, "town")):
        image = np.asarray(render_scene(height=SIDE, width=SIDE, gsd=0.5, theme=theme, seed=seed).image)
        write_raster(root / name, np.moveaxis(image, -1, 0), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    running = start(root, "--device", "cpu", "--offline")
    yield running
    said = finish(running)
    assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def ids(server: Running) -> dict[str, str]:
    return {each["name"]: each["id"] for each in json.loads(server.ask("/api/sources")[1])["sources"]}


def done(server: Running, kind: str, **arguments: Any) -> dict[str, Any]:
    """The job, when it has succeeded."""
    status, body = server.ask("/api/jobs", {"kind": kind, "arguments": arguments})
    assert status == 202, body
    job = state_is(server, json.loads(body)["id"], "succeeded", "failed")
    assert job["state"] == "succeeded", job
    return job


def told(server: Running, path: str, body: Any = None) -> Any:
    status, data = server.ask(path, body)
    assert status == 200, data
    return json.loads(data)


@pytest.mark.parametrize(
    ("kind", "arguments", "kinds", "classes"),
    [
        ("refer", {"sentences": ["the ship", "--debug"]}, {"labels", "polygons", "report"}, {"the ship", "--debug"}),
    ],
)
def test_a_job_leaves_a_result(
    server: Running, ids: dict[str, str], kind: str, arguments: dict[str, Any], kinds: set[str], classes: set[str]
) -> None:
    job = done(server, kind, **arguments, source=ids["harbour.tif"])
    result = told(server, f"/api/results/{job['result']}")
    assert result["kind"] == kind and result["complete"]
    assert kinds <= {each["kind"] for each in result["files"]}
    features = told(server, f"/api/results/{job['result']}/polygons.geojson")["features"]
    assert features and {each["properties"]["class"] for each in features} <= classes
    exported = told(server, f"/api/results/{job['result']}/export", {"format": "geojson"})["features"]
    assert len(exported) == len(features)
    status, detail = server.ask(f"/api/results/{job['result']}/histogram")
    assert status == 404 and b"has no probabilities" in detail


def test_an_index_is_made_and_searched(server: Running, ids: dict[str, str]) -> None:
    done(server, "index", sources=list(ids.values()), name="archive")
    again = {"kind": "index", "arguments": {"sources": list(ids.values()), "name": "archive"}}
    assert server.ask("/api/jobs", again)[0] == 409
    assert [each["name"] for each in told(server, "/api/sources")["indexes"]] == ["archive"]
    west, south, east, north = told(server, f"/api/sources/{ids['town.tif']}")["bounds"]
    place = {"source": ids["town.tif"], "lng": (west + east) / 2, "lat": (south + north) / 2}
    found = told(server, "/api/similar", {"index": "archive", "point": place})["features"]
    assert found[0]["properties"]["source"] == ids["town.tif"], "a place is most like itself"
    assert {each["properties"]["name"] for each in found} <= set(ids)
    scores = [each["properties"]["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    worded = told(server, "/api/similar", {"index": "archive", "words": "ship", "limit": 1})["features"]
    assert len(worded) == 1 and worded[0]["properties"]["source"] in ids.values()
    assert server.ask("/api/similar", {"index": "archive"})[0] == 422
    assert server.ask("/api/similar", {"index": "no-index", "words": "ship"})[0] == 404
