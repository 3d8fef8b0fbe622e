"""A folder of rasters, and the application in this process or as a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from tests.conftest import ROOT, write_raster

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from earthwords.serve.state import ServerState

NEEDED = ("fastapi", "uvicorn", "rio_tiler", "sse_starlette", "httpx")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> list[str]:
    """Why the tests of the server are left out, where they are."""
    return [f"tests/serve is left out: {', '.join(MISSING)} missing; pip install 'earthwords[dev]'"] if MISSING else []


TOKEN = "a-token-of-the-tests"
PLACE = Affine(0.5, 0, 452_300.0, 0, -0.5, 5_411_800.0)
"""Pixels of half a metre, off the origin, in EPSG:32632."""


def picture(height: int = 300, width: int = 460) -> np.ndarray:
    """`(3, row, col)` bytes: three bands that differ, with a red block."""
    rows, cols = np.mgrid[0:height, 0:width]
    image = np.stack([rows * 255 // height, cols * 255 // width, (rows + cols) % 256]).astype(np.uint8)
    image[:, 40:80, 100:180] = np.array([250, 10, 20], np.uint8)[:, None, None]
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `town.tif` (georeferenced), `deep/sixteen.tif` (16 bit, nodata), `plain.png` (no place), `other.txt`."""
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    write_raster(root / "town.tif", picture(), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    sixteen = picture(200, 150).astype(np.uint16) * 40 + 500
    sixteen[:, :, :30] = 0
    write_raster(root / "deep" / "sixteen.tif", sixteen, transform=PLACE, crs="EPSG:32632", nodata=0)
    Image.fromarray(np.moveaxis(picture(90, 120), 0, -1)).save(root / "plain.png")
    (root / "other.txt").write_text("no raster")
    return root


@pytest.fixture
def state(folder: Path) -> ServerState:
    """What the routes share, with a workspace beside the folder."""
    from earthwords.serve.app import new_state
    from earthwords.serve.state import ServeSettings

    workspace = folder.parent / "workspace"
    workspace.mkdir()
    settings = ServeSettings(
        folder=folder, workspace=workspace, port=80, token=TOKEN, hosts=("testserver",), writes_per_s=1e6
    )
    return new_state(settings)


@pytest.fixture
def client(state: ServerState, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Knows the token; without views, whose process loads a model at every start."""
    from fastapi.testclient import TestClient

    from earthwords.serve import app
    from earthwords.serve.app import create_app

    monkeypatch.setattr(app, "ROUTERS", tuple(name for name in app.ROUTERS if ".views." not in name))
    with TestClient(create_app(state), headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    token: str

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.address + path, data=data, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])


def start(folder: Path, *options: str) -> Running:
    """`earthwords serve` in a process; end it."""
    argv = [sys.executable, "-m", "earthwords", "serve", str(folder), "--port", "0", "--no-open", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    )
    assert process.stdout is not None
    address, _, token = process.stdout.readline().strip().partition("/#token=")
    return Running(process, address.rstrip("/"), token)


def finish(running: Running) -> str:
    """End a server; what it said on stderr."""
    running.process.terminate()
    try:
        return running.process.communicate(timeout=30)[1]
    except subprocess.TimeoutExpired:
        running.process.kill()
        raise
