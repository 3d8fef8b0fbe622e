"""The Python of docs/serve.md does what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest

from tests.conftest import ROOT, write_raster
from tests.serve.conftest import PLACE, finish, picture, start


def namespace() -> dict[str, Any]:
    """What the client of the page defines."""
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    assert 60 < len(code.splitlines()) < 125, "about a hundred lines"
    found: dict[str, Any] = {"__name__": "client"}
    exec(compile(code, "docs/serve.md", "exec"), found)
    return found


def test_the_client_of_the_page_maps_a_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_raster(root / "town.tif", picture(), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    monkeypatch.chdir(tmp_path)
    running = start(root, "--offline", "--device", "cpu")
    try:
        client = namespace()
        address = f"{running.address}/#token={running.token}"
        client["main"](address, "town.tif", "road,street", "trees", "water")
        said = capsys.readouterr().out.splitlines()
        assert any(line.startswith(("note: ", "caution: ")) for line in said)
        areas = {line.partition(":")[0]: line for line in said if line.endswith(" m2")}
        assert set(areas) == {"road", "trees", "water"} and said[-1] == "map.gpkg"
        table = geopandas.read_file("map.gpkg")
        shown = {title: float(line.split()[1].replace(",", "")) for title, line in areas.items()}
        job = json.loads(running.ask("/api/jobs")[1])["jobs"][0]
        scale = 0.25
        mapped = table.groupby("class")["area_m2"].sum()
        for title, area in shown.items():
            assert area >= mapped.get(title, 0) - 1, "small polygons are left out of the file"
        assert sum(shown.values()) <= 300 * 460 * scale * 1.001 and np.isfinite(mapped).all()
        one = client["Client"](address)
        with pytest.raises(SystemExit, match="no class of this map"):
            one.export(job["result"], "png", "x.png", thresholds={"lake": 0.5})
        with pytest.raises(SystemExit, match="no raster"):
            one.source("nothing.tif")
    finally:
        finish(running)
