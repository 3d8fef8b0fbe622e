"""A folder of rendered images, and a client that speaks with the server over its standard streams."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest

from earthwords.synthetic import render_pair, render_scene
from tests.conftest import ROOT, TRANSFORM, write_raster

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult

MISSING = importlib.util.find_spec("mcp") is None
collect_ignore_glob = ["test_*.py"] if MISSING else []

Found = TypeVar("Found")


def pytest_report_header() -> list[str]:
    """Why these tests are left out, where they are."""
    return ["tests/serve/mcp is left out: mcp is missing; pip install 'earthwords[dev]'"] if MISSING else []


def write_picture(path: Path, image: np.ndarray) -> Path:
    """An image of rows, columns and colours as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_raster(path, np.moveaxis(image, -1, 0), photometric="RGB", transform=TRANSFORM)


@cache
def pictures() -> dict[str, np.ndarray]:
    """Rendered once."""
    pair = render_pair(height=96, width=130, gsd=0.5, theme="town", seed=5, changes=("buildings built",))
    town = render_scene(height=150, width=200, gsd=0.5, theme="town", seed=3)
    return {"town": town.image, "dates/before": pair.before.image, "dates/after": pair.after.image}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `town.tif`, `dates/before.tif` and `dates/after.tif`; beside it `outside.tif`."""
    root = tmp_path / "root"
    for name, image in pictures().items():
        write_picture(root / f"{name}.tif", image)
    write_picture(tmp_path / "outside.tif", pictures()["town"])
    return root


def talk(folder: Path, words: Callable[[Client], Awaitable[Found]], *, mode: str = "auto") -> Found:
    """What comes of speaking with `earthwords mcp` by the client of the SDK."""
    import anyio
    from mcp import Client, StdioServerParameters

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    argv = ["-P", "-m", "earthwords", "mcp", str(folder), "--offline", "--device", "cpu"]

    async def speak() -> Found:
        server = StdioServerParameters(command=sys.executable, args=argv, env=environment)
        async with Client(server, mode=mode, read_timeout_seconds=300) as client:
            return await words(client)

    return anyio.run(speak)


def text_of(result: CallToolResult) -> str:
    """The text of an answer."""
    return str(getattr(result.content[0], "text", ""))


def data_of(result: CallToolResult) -> dict[str, Any]:
    """The data of an answer that is no error."""
    assert not result.is_error, text_of(result)
    found: dict[str, Any] = result.structured_content
    return found
