"""`evaluate change` on folders of pairs, with a method whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score, f1_score

from earthwords.evaluation.metrics.change import SemanticChangeCounts
from earthwords.inference.change import methods
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from tests.conftest import Command

SECOND = ((255, 255, 255), (0, 0, 255), (128, 128, 128), (0, 128, 0), (0, 255, 0), (128, 0, 0), (255, 0, 0))
"""Colours of its labels: unchanged, and six classes."""


class ByBand(ChangeMethod):
    """Class 0, 1 or 2: the brightest band; so far a change is what has another one."""

    def margin(self, zoom: float) -> int:
        return 0

    def __call__(self, pair: PairWindow) -> Comparison:
        first, second = (rgb.argmax(axis=0) for rgb in pair.rgb)
        return Comparison(before=first, after=second, score=(first != second).astype(np.float32), seen=pair.valid)


@pytest.fixture
def measure(micro: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setitem(methods.METHODS, "dense", lambda options: ByBand())

    def run(*folders: Path, options: tuple[object, ...] = ()) -> dict[str, Any]:
        common = ["--model", micro, "--device", "cpu", "--offline", "--quiet", "--json"]
        done = command("evaluate", "change", *folders, "-o", tmp_path / "results", *common, *options)
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found

    return run


def picture(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    blocks = rng.integers(0, 255, (-(-shape[0] // 8), -(-shape[1] // 8), 3))
    return np.kron(blocks, np.ones((8, 8, 1), int))[: shape[0], : shape[1]].astype(np.uint8)


def save(folder: Path, name: str, data: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data).save(folder / f"{name}.png")


def test_folders_of_pairs(measure: Callable[..., Any], tmp_path: Path) -> None:
    rng, said, true = np.random.default_rng(4), [], []
    for name, shape in (("one", (40, 56)), ("two", (64, 48))):
        first, second = picture(rng, shape), picture(rng, shape)
        second[: shape[0] // 2] = first[: shape[0] // 2]
        truth = rng.random(shape) > 0.5
        for kind, data in (("A", first), ("B", second), ("label", truth.astype(np.uint8) * 255)):
            save(tmp_path / "mine" / kind, name, data)
        said.append((first.argmax(axis=2) != second.argmax(axis=2)).ravel())
        true.append(truth.ravel())
    result = measure(tmp_path / "mine", options=("-t", "building", "-t", "road", "-t", "water"))
    (entry,) = result["results"]
    assert (entry["dataset"], entry["task"]) == ("mine", "change")
    found, truth = np.concatenate(said), np.concatenate(true)
    assert entry["figures"]["F1"] == pytest.approx(100 * f1_score(truth, found), abs=1e-3)
    assert entry["figures"]["kappa"] == pytest.approx(100 * cohen_kappa_score(truth, found), abs=1e-3)
    assert "SeK" not in entry["figures"] and entry["figures"]["images"] == "2"
    page = (tmp_path / "results" / "report.html").read_text()
    assert "The pixels that changed between two dates" in page and f"{entry['figures']['F1']:.2f}" in page
    assert measure(tmp_path / "mine", options=("-t", "building", "-t", "road", "-t", "water"))["reused"] == 1
    assert measure(tmp_path / "mine", options=("-t", "building", "-t", "grass"))["reused"] == 0


def test_from_class_to_class(measure: Callable[..., Any], tmp_path: Path) -> None:
    """SECOND's own classes, both dates; unchanged pixels have none."""
    rng, shape, root = np.random.default_rng(9), (48, 72), tmp_path / "second" / "test"
    first, second = picture(rng, shape), picture(rng, shape)
    second[:20] = first[:20]
    truth = [rng.integers(1, 4, shape) for _ in range(2)]
    for part in truth:
        part[:30] = 0
    palette = np.array(SECOND, np.uint8)
    named = (("im1", first), ("im2", second), ("label1", palette[truth[0]]), ("label2", palette[truth[1]]))
    for kind, data in named:
        save(root / kind, "a", data)
    (entry,) = measure(tmp_path / "second")["results"]
    dates = [image.argmax(axis=2) for image in (first, second)]
    changed = dates[0] != dates[1]
    counts = SemanticChangeCounts(classes=6)
    for labels, known in zip(dates, truth, strict=True):
        counts.add(np.where(changed, labels + 1, 0), known)
    expected = counts.figures()
    assert entry["figures"]["SeK"] == pytest.approx(100 * expected["sek"], abs=1e-3)
    assert entry["figures"]["Fscd"] == pytest.approx(100 * expected["fscd"], abs=1e-3)
    assert entry["figures"]["F1"] == pytest.approx(100 * f1_score((truth[1] > 0).ravel(), changed.ravel()), abs=1e-3)


def test_no_words_and_no_pairs(command: Command, micro: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for kind in ("A", "B", "label"):
        save(tmp_path / "plain" / kind, "a", picture(rng, (32, 40)))
    out = ["-o", tmp_path / "out", "--model", micro, "--offline", "--quiet"]
    command("evaluate", "change", tmp_path / "plain", *out).failed(2, "has no classes of its own", "-t")
    (tmp_path / "empty").mkdir()
    command("evaluate", "change", tmp_path / "empty", "-t", "road", *out).failed(2, "does not hold any known layout")
    assert not (tmp_path / "out").exists()
