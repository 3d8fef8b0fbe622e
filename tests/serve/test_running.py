"""What a server has ready before it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import write_raster
from tests.serve.conftest import PLACE, finish, picture, start


def test_what_the_threads_of_tiles_import_is_there_before_they_begin(tmp_path: Path) -> None:
    """Threads that import a library at the same time may find half of it: the first tiles were errors."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from earthwords.serve.app import create_app, new_state\n"
        "from earthwords.serve.state import ServeSettings\n"
        "create_app(new_state(ServeSettings(folder=Path('.'), workspace=Path('.'))))\n"
        "sys.exit(0 if 'rio_tiler.io' in sys.modules else 1)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=tmp_path).returncode == 0


def test_a_workspace_has_one_server_and_a_dead_one_leaves_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    first = start(root)
    try:
        second = start(root)
        said = second.process.communicate(timeout=60)[1]
        assert second.process.returncode == 2 and second.address == ""
        assert f"Another server works in {root / '.earthwords'}" in said and "--workspace" in said
        assert first.ask("/healthz")[0] == 200
    finally:
        first.process.kill()
        first.process.communicate(timeout=30)
    third = start(root)
    finish(third)
    assert third.address.startswith("http://127.0.0.1:")


def test_a_model_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, by `/readyz` and by every view."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    root = tmp_path / "root"
    root.mkdir()
    write_raster(root / "town.tif", picture(60, 80), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    server = start(root, "--preset", "siglip2", "--offline")
    why = "The model of siglip2 cannot be loaded: "
    deadline, pause = time.monotonic() + 120, threading.Event()
    try:
        while why not in (detail := json.loads(server.ask("/readyz")[1])["detail"]):
            assert time.monotonic() < deadline, detail
            pause.wait(0.2)
        assert "is not in the cache" in detail
        source = json.loads(server.ask("/api/sources")[1])["sources"][0]
        asked = {"source": source["id"], "bounds": source["bounds"], "words": ["road"]}
        status, body = server.ask("/api/views", asked)
        assert status == 503 and json.loads(body)["detail"].startswith(why)
    finally:
        said = finish(server)
    assert said.count(why) == 1, said
