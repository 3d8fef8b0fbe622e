"""DOTA: a text file an image, one object a line: four corners, class, difficulty (https://captain-whu.github.io/DOTA/).

An oriented box becomes the horizontal one around it. Lines such as `gsd:0.15` are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from earthwords.data.annotations.boxes._common import (
    How,
    Images,
    Item,
    annotated,
    annotation_folder,
    files_of,
    read_text,
    set_name,
)
from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.errors import SourceError

FOLDERS = ("labelTxt", "labelTxt-v1.0", "labelTxt-v1.5", "annfiles", "labels")


def fits(source: Path) -> bool:
    """A folder with text files whose first object is eight numbers and a word."""
    paths = files_of(annotation_folder(source, *FOLDERS), ".txt") if source.is_dir() else []
    lines = (line for path in paths[:50] for line in _objects(path))
    return _is_object(next(lines, "").split())


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a file."""
    folder = annotation_folder(source, *FOLDERS)
    images = Images(source, how)
    for path in files_of(folder, ".txt"):
        stem = str(path.relative_to(folder).with_suffix(""))
        yield Item(name=stem, set=set_name(source), image=images.find(stem, path), note=str(path))


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The image, or its tiles."""
    corners, names = [], []
    for line in _objects(Path(item.note)):
        words = line.split()
        if not _is_object(words):
            raise SourceError(f"{item.note}: {line[:60]!r} is not four corners, a class and a difficulty.")
        corners.append([float(word) for word in words[:8]])
        names.append(words[8])
    points = np.array(corners, dtype=np.float64).reshape(-1, 4, 2)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1) if len(points) else no_boxes()
    return annotated(item, boxes, names, how)


def _objects(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if line.strip() and ":" not in line.split()[0]]


def _is_object(words: list[str]) -> bool:
    return len(words) in (9, 10) and all(map(_is_number, words[:8])) and not _is_number(words[8])


def _is_number(word: str) -> bool:
    try:
        return abs(float(word)) < 1e9
    except ValueError:
        return False
