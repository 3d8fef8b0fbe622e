"""`earthwords segment` with the toy model and small windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.conftest import Command, Outcome

WORDS = ["building,roof", "road", "water", "trees"]
TEXT = [part for words in WORDS for part in ("-t", words)]
BUNDLE = {"labels.tif", "labels.tif.aux.xml", "labels.qml", "polygons.gpkg", "polygons.qml", "preview.png"} | {
    "report.json"
}

Segment = Callable[..., Outcome]


@pytest.fixture
def segment(command: Command, micro: Path) -> Segment:
    """`segment(src, dst, ...)` with the toy model, small windows and nothing said."""

    def run(src: object, dst: object, *options: object, words: list[str] = TEXT) -> Outcome:
        return command("segment", src, dst, "--model", micro, "--tile-size", 64, "--quiet", *words, *options)

    return run


def labels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def names(folder: Path) -> set[str]:
    """All that is in a folder, hidden things included; empty where there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
