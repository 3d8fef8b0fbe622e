"""`teach` and its presets refuse what cannot be, each in one sentence."""

# ruff: noqa: F811  (fixtures of another file are arguments here)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import earthwords
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import load_preset
from tests.conftest import Command, write_raster
from tests.tasks.test_teach import _marks, ground, preset, taught  # noqa: F401, fixtures


@pytest.mark.parametrize(
    ("titles", "options", "said"),
    [
        (("moss",), (), "All marks are 'moss'"),
        (("moss", "sand"), ("--column", "kind"), "has no column 'kind'"),
        (("moss", "sand"), ("--onto", "nowhere"), "is not a folder of `teach`"),
        (("moss", "sand"), ("--preset", "tinny"), "Did you mean 'tiny'"),
    ],
)
def test_refusals(
    command: Command, ground: Path, preset: Path, tmp_path: Path, titles: tuple[str, ...], options: tuple[str, ...],
    said: str,
) -> None:  # fmt: skip
    marks = _marks(tmp_path / "marks.gpkg", ground, titles=titles)
    chosen = () if "--preset" in options or "--onto" in options else ("--preset", preset)
    done = command("teach", marks, tmp_path / "out", "--scenes", ground, *chosen, *options)
    assert done.code in (1, 2) and said in done.err
    assert not (tmp_path / "out").exists()


def test_scenes_and_weights_must_fit(
    command: Command, taught: Path, ground: Path, preset: Path, tmp_path: Path
) -> None:
    three = write_raster(tmp_path / "three.tif", np.full((3, 70, 80), 100, np.uint8) + np.arange(80, dtype=np.uint8))
    done = command("segment", three, tmp_path / "m.tif", "--preset", taught)
    assert done.code == 2 and "taught with 4 bands" in done.err and "three.tif has 3" in done.err
    assert not (tmp_path / "m.tif").exists()
    command("teach", tmp_path / "no.gpkg", tmp_path / "o", "--scenes", ground).failed(1, "does not exist")
    (tmp_path / "empty").mkdir()
    command("teach", tmp_path / "empty", tmp_path / "o", "--scenes", ground).failed(2, "is an empty folder")
    marks = _marks(tmp_path / "marks.gpkg", ground)
    command("teach", marks, tmp_path / "o", "--preset", preset).failed(2, "--scenes")
    (tmp_path / "taken").write_text("mine")
    command("teach", marks, tmp_path / "taken", "--scenes", ground).failed(2, "is a file")
    with pytest.raises(earthwords.UsageError, match="was taught with the weights"):
        Segmenter.from_preset(load_preset(str(taught)), model="tiny")
    other = replace(load_preset(str(taught)), weights="tiny")
    with pytest.raises(earthwords.WeightsError, match="taught with other weights"):
        Segmenter.from_preset(other)
