"""A whole scene on the page: it grows, stops, survives the death of its server, and ends with the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from tests.web.conftest import write
from tests.web.running import Shown, expect
from tests.web.serving import Server, start, until

pytestmark = pytest.mark.slow


@pytest.fixture
def tall(tmp_path: Path) -> Iterator[tuple[Path, list[Server]]]:
    """A folder with a scene of several blocks, and the servers of it, the last of which is ended.

    Its pixels of 5 cm are worked at much coarser ones, so that many of them cost little.
    """
    write(tmp_path / "part.tif", seed=5, theme="harbour", height=256, width=256)
    with rasterio.open(tmp_path / "part.tif") as part:
        data, profile = np.kron(np.tile(part.read(), (1, 4, 1)), np.ones((1, 8, 8), np.uint8)), part.profile
    (tmp_path / "part.tif").unlink()
    fine = profile["transform"] @ Affine.scale(0.1)
    sides = {"height": data.shape[1], "width": data.shape[2], "transform": fine}
    with rasterio.open(tmp_path / "tall.tif", "w", **{**profile, **sides}) as whole:
        whole.write(data)
        whole.build_overviews([4, 8])
    servers = [start(tmp_path, "--no-token", "--device", "cpu")]
    yield tmp_path, servers
    servers[-1].stop()


def done_so_far(server: Server, job: str) -> float:
    """Windows that a running job has done."""
    told = server.ask(f"/api/jobs/{job}")
    return (told["progress"] or {}).get("done") or 0.0 if told["state"] == "running" else 0.0


def test_a_whole_scene_grows_stops_survives_and_ends_with_the_same_bytes(
    tall: tuple[Path, list[Server]], browser: Any
) -> None:
    folder, servers = tall
    with browser.new_context(viewport={"width": 1100, "height": 700}, locale="en-GB") as context:
        shown = Shown(context.new_page(), servers[-1]).go().open("tall.tif")
        bare = shown.picture()
        shown.say("building; road; water")
        with shown.page.expect_response(lambda each: "/scores/" in each.url and each.status == 200):
            shown.page.locator("#whole").click()
        expect(shown.page.get_by_role("heading", name="In the scene so far")).to_be_visible()
        until(lambda: not np.array_equal(bare, shown.picture()), "what is done is painted", page=shown.page)
        job = servers[-1].ask("/api/jobs")["jobs"][0]["id"]
        assert servers[-1].ask(f"/api/results/{job}")["complete"] is False
        shown.job_strip("running").get_by_role("button", name="Cancel").click()
        expect(shown.job_strip("cancelled")).to_contain_text("What was done is kept")
        shown.job_strip("cancelled").get_by_role("button", name="Resume").click()
        until(lambda: done_so_far(servers[-1], job) > 0, "the job goes on", page=shown.page)
        servers[-1].kill()
        expect(shown.page.get_by_text("The server does not answer")).to_be_visible()
        servers.append(start(folder, "--no-token", "--device", "cpu", port=servers[-1].port))
        expect(shown.page.get_by_text("The server does not answer")).to_have_count(0)
        expect(shown.page.get_by_role("heading", name="In the whole scene")).to_be_visible()
    ended = servers[-1].ask(f"/api/jobs/{job}")
    assert (ended["state"], ended["error"]) == ("succeeded", None)
    asked = {"kind": ended["kind"], "arguments": {k: v for k, v in ended["arguments"].items() if v is not None}}
    quiet = servers[-1].ask("/api/jobs", asked)["id"]
    until(lambda: servers[-1].ask(f"/api/jobs/{quiet}")["state"] == "succeeded", "the same without a disturbance")
    for name in ("labels.tif", "probabilities.tif"):
        first, second = (servers[-1].ask(f"/api/results/{id}/files/{name}") for id in (job, quiet))
        assert first == second and len(first) > 1000, name
