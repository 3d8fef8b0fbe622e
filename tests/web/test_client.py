"""The Python client of docs/serve.md, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest

from tests.conftest import ROOT
from tests.web.serving import Server


@pytest.mark.slow
def test_the_client_of_the_page_maps_a_scene(server: Server, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Client" in block)
    (tmp_path / "client.py").write_text(code, encoding="utf-8")
    argv = [sys.executable, "client.py", server.address, "harbour.tif", "water,sea", "road", "qwertyuiop"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "caution: 'qwertyuiop'" in done.stdout
    areas = {
        title: float(area.replace(",", "")) for title, area in re.findall(r"^([\w]+): ([\d,]+) m2$", done.stdout, re.M)
    }
    assert set(areas) >= {"water", "road"} and 0 < sum(areas.values()) <= 336 * 448 * 0.25
    assert done.stdout.rstrip().endswith("map.gpkg")
    rows = geopandas.read_file(tmp_path / "map.gpkg")
    mapped = rows[rows["class"] == "water"]
    assert len(mapped) and mapped["area_m2"].min() >= 10
    assert mapped["area_m2"].sum() == pytest.approx(areas["water"], rel=0.1)
    lost = subprocess.run([*argv[:3], "nothing.tif", "road"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert lost.returncode == 1 and lost.stderr.strip() == "There is no raster nothing.tif."
