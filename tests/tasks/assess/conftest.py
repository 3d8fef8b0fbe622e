"""A map with known errors, its truth, and what a person who interprets points would fill in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from numpy.typing import NDArray

import earthwords
from tests.conftest import TRANSFORM, write_raster
from tests.micro import patchwork

HEIGHT, WIDTH = 150, 210
NAMES = {"1": "forest,trees", "2": "water", "4": "built up,buildings"}
TRUE_NAMES = {"1": "forest", "2": "water", "4": "buildings", "9": "sand"}

Fill = Callable[[Path, Path], Path]


@pytest.fixture(scope="module")
def truth() -> NDArray[np.uint8]:
    """Forest, a wide river of water, blocks of buildings, and a bank of sand that no map knows."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    truth = np.ones((HEIGHT, WIDTH), np.uint8)
    truth[np.abs(cols - 60 - rows // 4) < 25] = 2
    truth[(rows // 12 % 2 == 0) & (cols // 15 % 2 == 0) & (cols > 140)] = 4
    truth[np.abs(cols - 90 - rows // 4) < 4] = 9
    return truth


@pytest.fixture(scope="module")
def mapped(truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The truth with an error at every sixth pixel or so, sand as water, and a corner without a class."""
    rng = np.random.default_rng(11)
    found = np.where(truth == 9, 2, truth).astype(np.uint8)
    wrong = rng.random(truth.shape) < 0.15
    found[wrong] = rng.choice(np.array([1, 2, 4], np.uint8), truth.shape)[wrong]
    found[:20, :33] = 0
    return found


@pytest.fixture
def folder(
    truth: NDArray[np.uint8], mapped: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """map.tif, truth.tif, names.json, true.json and an image, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path, truth, mapped)
    return tmp_path


def write_inputs(folder: Path, truth: NDArray[np.uint8], mapped: NDArray[np.uint8]) -> None:
    write_raster(folder / "map.tif", mapped[None], nodata=0)
    write_raster(folder / "truth.tif", truth[None])
    write_raster(folder / "image.tif", np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), photometric="RGB")
    (folder / "names.json").write_text(json.dumps(NAMES))
    (folder / "true.json").write_text(json.dumps(TRUE_NAMES))


@pytest.fixture
def fill(truth: NDArray[np.uint8]) -> Fill:
    """What a person does: say what is there, point by point."""

    def run(source: Path, target: Path) -> Path:
        frame = geopandas.read_file(source)
        there = frame.to_crs("EPSG:32640")
        cols, rows = ~TRANSFORM @ (there.geometry.x.to_numpy(), there.geometry.y.to_numpy())
        frame["class"] = [TRUE_NAMES[str(truth[int(r), int(c)])] for r, c in zip(rows, cols, strict=True)]
        frame.to_file(target)
        return target

    return run


def assess(*args: Any, **options: Any) -> Any:
    return earthwords.assess(*args, quiet=True, **options)
