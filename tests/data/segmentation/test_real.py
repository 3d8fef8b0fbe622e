"""Real crops of LoveDA, Potsdam and Vaihingen, and the small sets, where the machine has them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthwords.data.segmentation.encoding import read_labels
from earthwords.data.segmentation.loader import open_set
from earthwords.data.segmentation.sets.potsdam import ISPRS
from tests.conftest import ROOT
from tests.data.segmentation.test_prepare import check, pixels, prepare


@pytest.fixture(scope="module")
def data() -> Path:
    folder = Path(os.environ.get("EARTHWORDS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "canonical_samples").is_dir():
        pytest.skip(f"no real samples in {folder}; set EARTHWORDS_DATA")
    return folder


@pytest.mark.parametrize(("name", "count"), [("loveda", 3), ("potsdam", 1), ("vaihingen", 1)])
def test_prepared_crops(name: str, count: int, data: Path, tmp_path: Path) -> None:
    for kind in ("img_dir", "ann_dir"):
        shutil.copytree(data / "canonical_samples" / f"mmseg_{name}" / kind, tmp_path / kind / "val")
    found = open_set(name, tmp_path)
    assert len(found) == count and check(name, tmp_path).exit_code == 0
    green: dict[str, list[np.ndarray]] = {title: [] for title in found.spec.titles}
    for pair, item in zip(found.pairs, found, strict=True):
        raw, image = pixels(pair.labels), pixels(item.image).astype(float)
        np.testing.assert_array_equal(item.labels == 255, raw == 0)
        np.testing.assert_array_equal(item.labels[raw > 0], raw[raw > 0] - 1)
        red, middle, blue = np.moveaxis(image, -1, 0)
        bands = red - middle if name == "vaihingen" else 2 * middle - red - blue  # near infrared comes first there
        for index, title in enumerate(found.spec.titles):
            green[title].append(bands[item.labels == index])
    mean = {title: float(np.concatenate(parts).mean()) for title, parts in green.items() if np.concatenate(parts).size}
    if name == "loveda":
        assert mean["forest"] > mean["building"] and mean["agricultural"] > mean["building"]
    else:
        assert min(mean["tree"], mean["low vegetation"]) > max(mean["building"], mean["car"])


def test_colours_of_potsdam_are_the_right_classes(data: Path) -> None:
    folder = data / "canonical_samples" / "potsdam"
    masks = sorted(folder.glob("masks_*.png"))
    assert len(masks) == 4
    for path in masks:
        labels = read_labels(path, ISPRS)
        building = pixels(folder / path.name.replace("masks_", "gt_")) == 255
        np.testing.assert_array_equal(labels == 1, building)
        image = pixels(folder / path.name.replace("masks_", "images_")).astype(float)
        excess = 2 * image[..., 1] - image[..., 0] - image[..., 2]
        assert excess[labels == 2].mean() > excess[labels == 0].mean()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("dubai", "dubai_mbrsc"),
        ("massachusetts-tiles", "massachusetts_roads_tiles"),
        ("buildings-mix", "buildings_mix"),
    ],
)
def test_small_sets_are_whole(name: str, folder: str, data: Path, tmp_path: Path) -> None:
    if not (data / folder).is_dir():
        pytest.skip(f"no {folder} in {data}")
    original = open_set(name, data / folder)
    assert len(original) == original.spec.count
    if name == "buildings-mix":  # the others are larger
        assert check(name, data / folder, partial=False).exit_code == 0
        made = prepare(name, data / folder, tmp_path / name)
        assert made.items == original.spec.count
        found = open_set(name, tmp_path / name)
        assert found.names == original.names
        for index in range(0, len(found), 17):
            np.testing.assert_array_equal(found[index].labels, original[index].labels)
    first = original[0]
    with Image.open(first.image) as image:
        assert first.labels.shape == (image.height, image.width)
    assert set(np.unique(first.labels)) <= {*range(len(original.spec.classes)), 255}
