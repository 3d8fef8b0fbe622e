"""A folder that holds files of others, of the names that a verb writes, is left as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command, write_raster

THEIRS = {"batch.json": '{"mine": 1}', "index.json": '{"stac": "mine"}', "log.csv": "a,b\n", "report.html": "<p>mine"}
LINES = [
    ("segment scenes theirs -t road", "batch.json"),
    ("index scenes theirs --overwrite", "index.json"),
    ("train clip list.jsonl theirs --steps 1", "log.csv"),
    ("train upsampler scenes theirs --steps 1 --no-resume", "log.csv"),
]


@pytest.mark.parametrize(("line", "name"), LINES)
def test_files_of_others_stay(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("theirs", "scenes"):
        Path(folder).mkdir()
    rng = np.random.default_rng(7)
    write_raster(Path("scenes/a.tif"), rng.integers(1, 255, (3, 40, 60)).astype(np.uint8))
    Image.fromarray(rng.integers(1, 255, (40, 60, 3)).astype(np.uint8)).save("a.png")
    Path("list.jsonl").write_text(json.dumps({"image": "a.png", "set": "a", "captions": ["a roof"]}) + "\n")
    for theirs, text in THEIRS.items():
        Path("theirs", theirs).write_text(text)
    command(*line.split(), "--quiet").failed(2, f"theirs/{name} was not written by earthwords and would be lost")
    assert {path.name: path.read_text() for path in Path("theirs").iterdir()} == THEIRS
