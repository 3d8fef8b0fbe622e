"""Runs that are interrupted, and runs over many scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from earthwords.geo.destinations import FEATURE_FILES
from earthwords.inference.features.job import FeatureJob
from tests.conftest import write_raster
from tests.micro import patchwork
from tests.tasks.conftest import names
from tests.tasks.upsample.conftest import Upsample
from tests.verbs import contents


def test_an_interrupted_run_leaves_nothing(
    upsample: Upsample, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FeatureJob.run

    def interrupted(self: FeatureJob, *, tick: object = None, **options: Any) -> object:
        done = 0

        def count(windows: int) -> None:
            nonlocal done
            done += windows
            if done >= 5:
                raise KeyboardInterrupt

        return run(self, tick=count, **options)

    monkeypatch.setattr(FeatureJob, "run", interrupted)
    done = upsample(scene_file, tmp_path / "new" / "out")
    done.failed(130, "Interrupted. Nothing was kept.")
    assert names(tmp_path) == set()


# ---- long work


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`interrupted(windows)`: the next work on a scene is interrupted after so many windows."""
    run = FeatureJob.run

    def arrange(windows: int) -> None:
        def work(self: FeatureJob, *, tick: Callable[[float], None], **options: Any) -> object:
            done = 0.0

            def count(more: float) -> None:
                nonlocal done
                tick(more)
                done += more
                if done >= windows:
                    raise KeyboardInterrupt

            monkeypatch.setattr(FeatureJob, "run", run)
            return run(self, tick=count, **options)

        monkeypatch.setattr(FeatureJob, "run", work)

    return arrange


def test_an_interrupted_command_goes_on_with_two_workers(
    upsample: Upsample, interrupted: Callable[[int], None], scene_file: Path, tmp_path: Path
) -> None:
    assert upsample(scene_file, tmp_path / "whole").code == 0
    interrupted(16)
    upsample(scene_file, tmp_path / "out").failed(130, "The same command goes on from here: 5 of 20 windows are done.")
    assert names(tmp_path / "out") == {".features.tif.journal"}
    refused = upsample(scene_file, tmp_path / "out", "--components", 5)
    refused.failed(2, "but its components was 3 and is 5 now; run with what it was begun with, or begin anew with")
    assert upsample(scene_file, tmp_path / "out", "--workers", 2).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    interrupted(16)
    assert upsample(scene_file, tmp_path / "anew").code == 130
    assert upsample(scene_file, tmp_path / "anew", "--components", 5, "--no-resume").code == 0
    assert names(tmp_path / "anew") == set(FEATURE_FILES.values())
    upsample(scene_file, tmp_path / "none", "--workers", 0).failed(2, "At least one worker must do the work, got 0")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two scenes, one of another shape, and one that is damaged."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for i, name in enumerate("ab"):
        write_raster(folder / f"{name}.tif", np.moveaxis(patchwork(80, 100 + 20 * i, seed=i), -1, 0))
    (folder / "aa.tif").write_bytes(b"II*\0 no raster")
    return folder


def test_many_scenes(upsample: Upsample, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = upsample(archive, out)
    assert done.code == 1 and "3 scenes, 1 failed" in done.out and "Traceback" not in done.err
    assert names(out) == {"a", "b", "batch.json"}
    entries = {entry["source"]: entry for entry in json.loads((out / "batch.json").read_text())["scenes"]}
    assert {Path(source).stem: entry["status"] for source, entry in entries.items()} == {
        "a": "done", "aa": "failed", "b": "done"
    }  # fmt: skip
    for name in "ab":
        assert upsample(archive / f"{name}.tif", tmp_path / name).code == 0
        assert contents(out / name) == contents(tmp_path / name), "each scene has its own components"
    (archive / "aa.tif").unlink()
    (out / "b" / "features.tif").unlink()
    again = upsample(archive, out, "--overwrite")
    assert again.code == 0 and not again.out, "with --quiet nothing is told of what is in files"
    entries = {entry["source"]: entry for entry in json.loads((out / "batch.json").read_text())["scenes"]}
    assert entries[str(archive / "a.tif")]["status"] == "before" and entries[str(archive / "b.tif")]["status"] == "done"


def test_many_scenes_side_by_side_with_components_of_one(upsample: Upsample, archive: Path, tmp_path: Path) -> None:
    assert upsample(archive / "a.tif", tmp_path / "a.tif", "--components", 2).code == 0
    pca = ("--pca", tmp_path / "a.pca.safetensors", "--components", 2)
    pattern = str(archive / "?.tif")
    assert upsample(pattern, tmp_path / "one" / "{stem}.tif", *pca).code == 0
    assert upsample(pattern, tmp_path / "two" / "{stem}.tif", *pca, "--workers", 2).code == 0
    for name in ("a.tif", "b.tif"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with rasterio.open(tmp_path / "one" / "a.tif") as found, rasterio.open(tmp_path / "a.tif") as own:
        np.testing.assert_array_equal(found.read(), own.read())
