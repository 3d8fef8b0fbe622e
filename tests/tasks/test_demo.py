"""`earthwords demo`: a scene rendered on the spot, segmented, compared with its truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import rasterio

from earthwords.synthetic import CLASSES
from earthwords.tasks.demo import WORDS, ChangeDemo, _agreement_of_changes, demo
from tests.conftest import Command

if TYPE_CHECKING:
    from earthwords.inference.change.dates.report import ChangeReport


@pytest.fixture(scope="module")
def preset(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("presets") / "toy.toml"
    file.write_text(f'base = "tiny"\nweights = "{micro.as_posix()}"\ntile_size = 64\noverlap = 32\n')
    return file


def test_with_any_preset(command: Command, preset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = command("demo", folder, "--size", 160, "--preset", preset, "--quiet", "--json")
    assert (done.code, done.err) == (0, "")
    result = json.loads(done.out)
    with rasterio.open(folder / "scene.tif") as scene, rasterio.open(folder / "truth.tif") as truth:
        assert scene.shape == truth.shape == (160, 200) and scene.count == 3
        assert scene.transform == truth.transform and scene.crs == truth.crs
        expected = truth.read(1)
        shape, crs = scene.shape, scene.crs
    with rasterio.open(folder / "labels.tif") as labels:
        assert (labels.shape, labels.crs) == (shape, crs)
        found = labels.read(1)
    titles = [c.title for c in CLASSES]
    meant = [np.isin(expected, [titles.index(t) for t in words.split(",") if t in titles]) for words in WORDS]
    known = np.any(meant, axis=0)
    asked = [words.split(",")[0] for words in WORDS]
    for title, iou in result["iou"].items():
        mine, is_it = (found == asked.index(title)) & known, meant[asked.index(title)]
        assert is_it.any()
        assert iou == pytest.approx((mine & is_it).sum() / (mine | is_it).sum(), abs=1e-4)
    assert result["miou"] == pytest.approx(np.mean(list(result["iou"].values())), abs=1e-3)
    assert result["report"]["source"] == str(folder / "scene.tif")


def test_an_older_demo_is_kept(command: Command, preset: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.tif").write_text("mine")
    command("demo", tmp_path, "--size", 96, "--preset", preset, "--quiet").failed(2, "exists; pass --overwrite")
    assert (tmp_path / "labels.tif").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.tif"], "told before anything is rendered"


@pytest.mark.parametrize(
    ("options", "code"), [(["--preset", "tinny"], 2), (["--size", 0], 2), (["--size", 96, "--preset", "x.toml"], 1)]
)
def test_a_demo_that_fails_leaves_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[object], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text('base = "tiny"\nweights = "./no/model.pt"\n')
    command("demo", "new", "--quiet", *options).failed(code)
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]


def test_with_the_embedded_model(tiny: Path, tmp_path: Path) -> None:
    result = demo(tmp_path / "demo", size=384, quiet=True)
    assert result.miou > 0.25 and result.seconds > 0
    assert (tmp_path / "demo" / "preview.png").exists()


def test_what_is_nowhere_has_no_figure() -> None:
    truth, found = np.zeros((2, 6, 9), np.uint8)
    truth[1, 2:5], found[1, 3:8] = 2, 2
    f1 = _agreement_of_changes(truth, found)
    assert f1 == {"gone": None, "new": 0.5, "both": 0.5}
    found[5, 5] = 1
    assert _agreement_of_changes(truth, found)["gone"] == 0
    shown = ChangeDemo(folder=Path("x"), f1=f1, seconds=1.0, report=cast("ChangeReport", None)).table()
    assert shown[2] == [["gone", "-"], ["new", "50.0%"], ["both", "50.0%"]]


def test_two_dates(command: Command, preset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changes"
    done = command("demo", folder, "--change", "--size", 200, "--seed", 3, "--preset", preset, "--quiet", "--json")
    assert (done.code, done.err) == (0, "")
    result = json.loads(done.out)
    with rasterio.open(folder / "truth.tif") as truth, rasterio.open(folder / "change.tif") as made:
        assert truth.shape == made.shape == (200, 250)
        assert (truth.crs, truth.transform) == (made.crs, made.transform)
        true, found = truth.read(1), made.read(1)
    assert set(np.unique(true)) == {0, 1, 2}
    for name, labels in (("gone", [1]), ("new", [2]), ("both", [1, 2])):
        mine, is_it = np.isin(found, labels), np.isin(true, labels)
        assert is_it.any()
        assert result["f1"][name] == pytest.approx(2 * (mine & is_it).sum() / (mine.sum() + is_it.sum()), abs=1e-4)
    assert result["report"]["after"] == str(folder / "after.tif")
    command("demo", folder, "--change", "--preset", preset, "--quiet").failed(2, "exists; pass --overwrite")
