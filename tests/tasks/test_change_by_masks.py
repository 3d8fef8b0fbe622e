"""`change` by masks: AnyChange and DynamicEarth on scenes, with small random SAMs and DINOs, or without any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from earthwords.inference.change.dates import block
from tests import published
from tests.conftest import Command
from tests.micro import patchwork

HEIGHT, WIDTH = 120, 170
WORDS = ("-t", "building,roof", "-t", "water", "-t", "trees")
OFFLINE = ("--segmenter", "regions", "--comparer", "clip")
Change = Callable[..., tuple[dict[str, Any], Path]]


@pytest.fixture
def dates(make_scene: Callable[..., Path]) -> tuple[Path, Path]:
    """The same ground with another part in the middle, and a corner that the second date does not show."""
    first = patchwork(HEIGHT, WIDTH)
    second = first.copy()
    second[40:80, 60:110] = patchwork(40, 50, seed=8)
    second[90:, :30] = 0
    return tuple(
        make_scene(np.moveaxis(image, -1, 0), name=name, nodata=0)
        for image, name in ((first, "before.tif"), (second, "after.tif"))
    )  # type: ignore[return-value]


@pytest.fixture
def change(dates: tuple[Path, Path], micro: Path, command: Command, tmp_path: Path) -> Change:
    def run(method: str, *options: object, out: str = "out") -> tuple[dict[str, Any], Path]:
        common = ["--model", micro, "--tile-size", 64, "--scales", 1, "--device", "cpu", "--offline", "--json"]
        done = command("change", *dates, tmp_path / out, *WORDS, "--method", method, *common, *options)
        assert done.code == 0, done.err
        return json.loads(done.out), tmp_path / out

    return run


def labels(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "change.tif") as made:
        return made.read(1)


@pytest.mark.parametrize("method", ["dynamicearth-mci", "dynamicearth-imc"])
def test_without_any_segmenter(method: str, change: Change) -> None:
    """Masks lie where something is different; what the second date does not show has no label."""
    report, out = change(method, *OFFLINE, "--theta", 179)
    settings = report["settings"]
    assert (settings["method"], settings["segmenter"], settings["comparer"]) == (method, "regions", "clip")
    assert settings["theta"] == "179"
    found = labels(out)
    assert (found[90:, :30] == 255).all() and (found[:80] != 255).all()
    same, _ = change(method, *OFFLINE, "--theta", 0, out="none")
    assert same["changed_share"] == 0 and same["settings"]["theta"] == "0"


def test_the_same_in_blocks(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a margin that reaches over everything, how a scene is cut makes no difference."""
    _, whole = change("dynamicearth-mci", *OFFLINE, "--theta", 178, out="whole")
    monkeypatch.setattr(block, "SIDE", 128)
    report, parts = change("dynamicearth-mci", *OFFLINE, "--theta", 178, out="parts")
    assert np.array_equal(labels(whole), labels(parts)) and report["changed_share"] > 0


def test_a_score_that_asks_for_more(change: Change) -> None:
    every, _ = change("dynamicearth-mci", *OFFLINE, "--theta", 179.9)
    fewer, _ = change("dynamicearth-mci", *OFFLINE, "--theta", 179.9, "--threshold", 1, out="fewer")
    assert fewer["changed_share"] == 0 < every["changed_share"]


@pytest.mark.parametrize("method", ["anychange", "dynamicearth-mci", "dynamicearth-imc"])
def test_with_a_sam(method: str, change: Change, tmp_path: Path) -> None:
    """Random networks: what counts is that every part is asked, and that classes and scores are told."""
    published.write_sam(tmp_path / "sam")
    published.write_dino(tmp_path / "dino")
    other = [] if method == "anychange" else ["--comparer", tmp_path / "dino"]
    report, out = change(method, "--segmenter", tmp_path / "sam", *other, "--theta", 179.99)
    assert report["settings"]["segmenter"] == str(tmp_path / "sam")
    assert report["settings"]["comparer"] == ("sam" if method == "anychange" else str(tmp_path / "dino"))
    assert set(np.unique(labels(out))) <= {*range(7), 255}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["anychange"], "sam-vit-b (facebook/sam-vit-base on Hugging Face) is not in the cache"),
        (
            ["dynamicearth-mci", "--segmenter", "regions"],
            "dinov2-vit-b-14 (facebook/dinov2-base on Hugging Face) is not",
        ),
    ],
)
def test_weights_that_are_not_there(
    options: list[str], sentence: str, dates: tuple[Path, Path], micro: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    more = ["--model", micro, "--tile-size", 64, "--offline"]
    told = "local copy with --segmenter PATH" if options == ["anychange"] else "local copy with --comparer PATH"
    command("change", *dates, tmp_path / "out", *WORDS, *more, "--method", *options).failed(1, sentence, told)
    assert not (tmp_path / "out").exists()


def test_anychange_needs_the_first_sam(dates: tuple[Path, Path], micro: Path, command: Command, tmp_path: Path) -> None:
    published.write_sam2(tmp_path / "sam2")
    more = ["--model", micro, "--tile-size", 64, "--offline", "--method", "anychange", "--segmenter", tmp_path / "sam2"]
    command("change", *dates, tmp_path / "out", *WORDS, *more).failed(2, "SAM 2.1's do not: name a SAM")
