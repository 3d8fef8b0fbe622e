"""A tiny fake of every set for change, as its publisher lays it out, to try loading and training without the data.

The paths are written from the publishers' descriptions, not derived from `data/change/sets`: one checks the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.errors import unknown

Rgb = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class FakeChangeSet:
    """Files of a fake: `{}` stands for the name of a pair."""

    before: str
    after: str
    labels: str
    names: Mapping[str, tuple[str, ...]]
    """Part -> names of its pairs; `%` in a path stands for the part."""
    colours: tuple[Rgb, ...] = ()
    """Of labels with classes, unchanged first; else masks of 0 and 255."""
    texts: Mapping[str, str] = field(default_factory=dict)


def make_fake_change(
    name: str, folder: Path, *, size: tuple[int, int] = (72, 104), squares: int = 6
) -> dict[str, NDArray[np.uint8]]:
    """Write the fake of a set into a folder, as it would be unpacked; the mask `(row, col)` of each pair, 0 or 1, by
    `part/name`.

    Bright squares stand on both dates of a grey ground; some of them come or go, and that is the change.

    Raises:
        UsageError: there is no such set.
    """
    if name not in FAKES:
        raise unknown("set for change", name, FAKES)
    fake, truths = FAKES[name], {}
    rng = np.random.default_rng(11)
    for part, names in fake.names.items():
        for item in names:
            before, after, classes = _pair(rng, size, squares)
            for pattern, pixels in ((fake.before, before), (fake.after, after)):
                _save(folder / pattern.replace("%", part).format(item), pixels)
            shown = np.array(fake.colours, np.uint8)[classes] if fake.colours else (classes > 0).astype(np.uint8) * 255
            _save(folder / fake.labels.replace("%", part).format(item), shown)
            if fake.colours:
                earlier = fake.labels.replace("label2", "label1").replace("%", part).format(item)
                _save(folder / earlier, shown)
            truths[f"{part}/{item}"] = (classes > 0).astype(np.uint8)
    for path, text in fake.texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return truths


def _pair(
    rng: np.random.Generator, size: tuple[int, int], squares: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Two images and the class of what changed, 0 where nothing did; squares lie on JPEG's blocks."""
    height, width = size
    ground = rng.normal(110, 6, (height, width, 1)) + np.array([0, 8, -12])
    images = [ground + rng.normal(0, 3, ground.shape) + shift for shift in (0, rng.uniform(-12, 12))]
    classes, taken = np.zeros(size, np.uint8), np.zeros(size, bool)
    for i in range(squares):
        row, col = 8 * rng.integers(0, height // 8 - 1), 8 * rng.integers(0, width // 8 - 1)
        part = slice(row, row + 16), slice(col, col + 16)
        if taken[part].any():
            continue
        taken[part] = True
        fate = i % 3  # stays, comes, goes
        for date in {0: (0, 1), 1: (1,), 2: (0,)}[fate]:
            images[date][part] = rng.normal(215, 6, images[date][part].shape)
        if fate:
            classes[part] = 1 + i % 6
    before, after = (np.clip(image, 0, 255).astype(np.uint8) for image in images)
    return before, after, classes


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


_PARTS = {"train": ("train_1", "train_2"), "val": ("val_1",), "test": ("test_1", "test_2", "test_10")}

FAKES: dict[str, FakeChangeSet] = {
    "levir-cd": FakeChangeSet(
        before="%/A/{}.png", after="%/B/{}.png", labels="%/label/{}.png", names=_PARTS
    ),
    "whu-cd": FakeChangeSet(
        before="A/{}.png", after="B/{}.png", labels="label/{}.png", names=_PARTS,
        texts={f"list/{part}.txt": "\n".join(f"{n}.png" for n in names) for part, names in _PARTS.items()},
    ),
    "s2looking": FakeChangeSet(
        before="%/Image1/{}.png", after="%/Image2/{}.png", labels="%/label/{}.png",
        names={"train": ("1", "2"), "val": ("3",), "test": ("4", "5")},
    ),
    "second": FakeChangeSet(
        before="%/im1/{}.png", after="%/im2/{}.png", labels="%/label2/{}.png",
        names={"train": ("00003", "00013"), "test": ("00001",)},
        colours=((255, 255, 255), (0, 0, 255), (128, 128, 128), (0, 128, 0), (0, 255, 0), (128, 0, 0), (255, 0, 0)),
    ),
    "dsifn": FakeChangeSet(
        before="%/t1/{}.jpg", after="%/t2/{}.jpg", labels="%/mask/{}.png",
        names={"train": ("0", "1"), "val": ("0",), "test": ("0", "1")},
    ),
    "oscd": FakeChangeSet(
        before="Onera Satellite Change Detection dataset - Images/{}/pair/img1.png",
        after="Onera Satellite Change Detection dataset - Images/{}/pair/img2.png",
        labels="Onera Satellite Change Detection dataset - Train Labels/{}/cm/cm.png",
        names={"any": ("abudhabi", "aguasclaras")},
    ),
    "clcd": FakeChangeSet(
        before="%/time1/{}.png", after="%/time2/{}.png", labels="%/label/{}.png",
        names={"train": ("00001", "00004"), "val": ("00002",), "test": ("00003",)},
    ),
    "folders": FakeChangeSet(before="A/{}.tif", after="B/{}.tif", labels="label/{}.tif", names={"any": ("x1", "x2")}),
}  # fmt: skip
