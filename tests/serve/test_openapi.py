"""Everything that `/openapi.json` promises, tried by schemathesis on a real server; streams of events excepted."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_raster
from tests.serve.conftest import PLACE, finish, picture, start

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed: pip install schemathesis"
)


def test_the_server_keeps_its_promises(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_raster(root / "town.tif", picture(), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    running = start(root, "--offline")
    try:
        argv = [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "run", f"{running.address}/openapi.json", "--url", running.address,
            "--header", f"Authorization: Bearer {running.token}", "--checks", "all",
            "--exclude-checks", "positive_data_acceptance,ignored_auth", "--exclude-path", "/api/events",
            "--max-examples", "8", "--phases", "coverage,fuzzing", "--seed", "5", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(
            argv, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "COLUMNS": "120"},
            cwd=tmp_path, check=False,
        )  # fmt: skip
    finally:
        said = finish(running)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "Traceback" not in said, said
