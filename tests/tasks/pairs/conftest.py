"""Boxes over images, and what became of them."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

HEIGHT, WIDTH = 48, 72


def picture(seed: int) -> Image.Image:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3)), (4, 4, 0))
    return Image.fromarray(np.clip(noise * 250 + 120, 0, 255).astype(np.uint8))


def make(folder: Path, seeds: dict[str, int], suffix: str = ".jpg") -> Path:
    """A YOLO set: name -> seed of the picture; each has a ship in the middle and two planes, but `empty` nothing."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name, seed in seeds.items():
        picture(seed).save(folder / "images" / f"{name}{suffix}", quality=92)
        boxes = "" if "empty" in name else "0 0.5 0.5 0.1 0.1\n1 0.1 0.1 0.1 0.1\n1 0.9 0.1 0.1 0.1\n"
        (folder / "labels" / f"{name}.txt").write_text(boxes)
    (folder / "classes.txt").write_text("ship\nplane\n")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine images: two are alike, one is empty."""
    seeds = {f"i{n}": n for n in range(7)}
    return make(tmp_path / "town", {**seeds, "again": 3, "empty": 99})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        found = tar.getmembers()
        assert all((m.mtime, m.uid, m.gid, m.uname, m.gname) == (0, 0, 0, "", "") for m in found)
        return {m.name: tar.extractfile(m).read() for m in found}  # type: ignore[union-attr]
