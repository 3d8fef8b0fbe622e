"""YOLO: a text file an image, one object a line: class number, then centre x, centre y, width, height, or the corners
of a polygon, in parts of the image's sides (https://docs.ultralytics.com/datasets/detect/).

Class names come from `--classes`, `classes.txt`, `obj.names` or the `names` of a `data.yaml`. No file: no objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from earthwords.data.annotations.boxes._common import (
    How,
    Images,
    Item,
    annotated,
    annotation_folder,
    files_of,
    read_classes,
    read_text,
    set_name,
)
from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.data.annotations.image_io import size_of
from earthwords.errors import SourceError, UsageError

FOLDERS = ("labels", "obj_train_data")
NAMES = ("classes.txt", "obj.names")


def fits(source: Path) -> bool:
    """A folder with text files whose first object is numbers only."""
    for path in _label_files(source)[:50] if source.is_dir() else []:
        for line in read_text(path).splitlines()[:1]:
            return _numbers(line) is not None
    return False


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a file; the note has the names."""
    folder, table = annotation_folder(source, *FOLDERS), _names(source, how)
    images = Images(source, how)
    for path in _label_files(source):
        stem = str(path.relative_to(folder).with_suffix(""))
        yield Item(name=stem, set=set_name(source), image=images.find(stem, path), note=(str(path), table))


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The image, or its tiles."""
    path, table = item.note
    boxes, labels = [], []
    for line in read_text(path).splitlines():
        found = _numbers(line)
        if not line.strip():
            continue
        if found is None:
            raise SourceError(f"{path}: {line[:60]!r} is not a class number and a box in parts of the image.")
        number, places = found
        boxes.append(_box(places))
        labels.append(table.get(str(number), ""))
        if str(number) not in table:
            raise SourceError(f"{path} has the class {number}, which has no name; complete --classes.")
    height, width = size_of(item.image)
    scaled = np.array(boxes) * (width, height, width, height) if boxes else no_boxes()
    return annotated(item, scaled, labels, replace(how, classes=None))


def _label_files(source: Path) -> list[Path]:
    return [path for path in files_of(annotation_folder(source, *FOLDERS), ".txt") if path.name not in NAMES]


def _names(source: Path, how: How) -> dict[str, str]:
    if how.classes is not None:
        return dict(how.classes)
    for folder in (source, annotation_folder(source, *FOLDERS), source.parent):
        for name in NAMES:
            if (folder / name).is_file():
                return read_classes(folder / name)
        for path in sorted(folder.glob("*.yaml")):
            if found := names_of_yaml(read_text(path)):
                return found
    raise UsageError(f"The class numbers of {source} have no names: give --classes FILE, one name a line.")


def names_of_yaml(text: str) -> dict[str, str]:
    """The `names` of a data.yaml: `[a, b]`, `- a` or `0: a` below it; empty if there are none."""
    found = re.search(r"^names:[ \t]*(?:\[(.*?)\]|\{(.*?)\}|((?:\n[ \t-].*)+))", text, re.MULTILINE | re.DOTALL)
    if not found:
        return {}
    flow, table, block = found.groups()
    if flow is not None:
        return {str(i): _bare(word) for i, word in enumerate(flow.split(","))}
    lines = table.split(",") if table is not None else block.strip("\n").splitlines()
    pairs = [re.fullmatch(r"\s*(?:-|(\d+)\s*:)\s*(.+?)\s*", line) for line in lines]
    return {pair[1] or str(i): _bare(pair[2]) for i, pair in enumerate(pairs) if pair}


def _bare(word: str) -> str:
    return word.partition(" #")[0].strip().strip("'\"")


def _numbers(line: str) -> tuple[int, list[float]] | None:
    try:
        number, *places = (float(word) for word in line.split())
    except ValueError:
        return None
    if number != int(number) or not (len(places) == 4 or (len(places) >= 6 and len(places) % 2 == 0)):
        return None
    return int(number), places


def _box(places: list[float]) -> list[float]:
    if len(places) == 4:
        x, y, width, height = places
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(places[::2]), min(places[1::2]), max(places[::2]), max(places[1::2])]
