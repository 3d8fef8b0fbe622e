"""`change` by masks: AnyChange and DynamicEarth on scenes, with small random SAMs and DINOs, or without any."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from safetensors.torch import save_file

from earthwords.inference.change import by_masks
from earthwords.inference.change.by_masks import ByMasks
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.load import load_sam
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


@pytest.mark.parametrize(
    ("method", "theta"), [("dynamicearth-mci", 179), pytest.param("dynamicearth-imc", 179.9, marks=pytest.mark.slow)]
)
def test_a_change_across_a_seam(
    method: str, theta: float, make_scene: Callable[..., Path], micro: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Found once and whole, as in one block, though either block sees part of it with a margin of its own.

    Elsewhere masks near the angle may differ: features come from squares that begin where a block's picture does.
    """
    first = patchwork(200, 460)
    second = first.copy()
    second[70:110, 110:154] = patchwork(40, 44, seed=8)
    dates = [make_scene(np.moveaxis(image, -1, 0), name=name) for image, name in ((first, "a.tif"), (second, "b.tif"))]
    common = (*WORDS, "--model", micro, "--tile-size", 64, "--device", "cpu", "--offline", "--quiet", *OFFLINE)

    def made(out: str) -> tuple[np.ndarray, geopandas.GeoDataFrame]:
        done = command("change", *dates, tmp_path / out, *common, "--method", method, "--theta", theta)
        assert done.code == 0, done.err
        return labels(tmp_path / out), geopandas.read_file(tmp_path / out / "changes.gpkg")

    whole, every = made("whole")
    monkeypatch.setattr(ByMasks, "sides", (128,))
    monkeypatch.setattr(by_masks, "MARGIN", 48)
    parts, cut = made("parts")
    across = (whole[:, 127] > 0) & (whole[:, 127] == whole[:, 128])
    assert across[70:110].sum() >= 10  # a change of this size lies on the seam
    around = np.s_[66:114, 106:158]
    assert np.array_equal(whole[around], parts[around])
    with rasterio.open(dates[0]) as file:
        seam = shapely.LineString([file.transform @ (128, row) for row in (66, 114)])
    assert sorted(every.area[every.crosses(seam)]) == pytest.approx(sorted(cut.area[cut.crosses(seam)]))
    both = (whole > 0) | (parts > 0)
    assert (whole == parts)[both].mean() > 0.85


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


def write_sure_sam(folder: Path) -> None:
    """Random weights that are sure of sharp masks, so that the paper's filters keep some."""
    model = published.write_sam(folder)
    with torch.no_grad():
        for name, weights in model.mask_decoder.named_parameters():
            if name.startswith("output_hypernetworks_mlps") and "proj_out" in name:
                weights *= 1_000_000
            if name == "iou_prediction_head.proj_out.bias":
                weights += 1
    state = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_angle_that_otsu_finds(change: Change) -> None:
    """Told with the map; the same as an option makes the same map."""
    report, found = change("dynamicearth-mci", *OFFLINE, "--theta", "auto")
    assert report["settings"]["theta"] == "auto"
    (angle,) = (re.search(r"--theta auto: ([\d.]+) degrees", note) for note in report["notes"] if "--theta" in note)
    assert angle is not None and 90 < float(angle[1]) < 180
    _, told = change("dynamicearth-mci", *OFFLINE, "--theta", angle[1], out="told")
    assert np.array_equal(labels(found), labels(told)) and (labels(told) > 0).any()


def test_a_click(change: Change, dates: tuple[Path, Path], tmp_path: Path) -> None:
    """The mask that SAM draws there in that date's own picture says how large things are and what they look like."""
    write_sure_sam(tmp_path / "sam")
    sam = ("--segmenter", tmp_path / "sam", "--theta", 179.99)
    generator = MaskGenerator(load_sam(str(tmp_path / "sam")), "anychange")
    with rasterio.open(dates[0]) as first, rasterio.open(dates[1]) as second:
        image, seen = np.moveaxis(first.read(), 0, -1), second.read().any(axis=0)
        places = {(col, row): first.transform @ (col + 0.5, row + 0.5) for col in (20, 80, 140) for row in (20, 60)}
    image = np.where(seen[..., None], image, np.rint(image[seen].mean(axis=0))).astype(np.uint8)
    embedding = generator.encode(image)
    drawn = {place: generator.of_points(embedding, [place]) for place in places}
    place, own = next((place, found) for place, found in drawn.items() if len(found))
    x, y = places[place]
    report, _ = change("anychange", *sam, "--click", f"{x},{y},before")
    assert report["settings"]["clicks"].endswith(",before")
    area = int(own.areas[0])
    assert any(f"only masks of {area / 4:.0f} to {area * 4:.0f} pixels" in note for note in report["notes"])


def test_clicks_that_find_nothing(dates: tuple[Path, Path], micro: Path, command: Command, tmp_path: Path) -> None:
    more = (*WORDS, "--model", micro, "--tile-size", 64, "--offline", "--method", "anychange", "--segmenter", "none")
    command("change", *dates, tmp_path / "out", *more, "--click", "1,2").failed(2, "not on the ground that both dates")
    assert not list(tmp_path.glob("*out*"))


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
