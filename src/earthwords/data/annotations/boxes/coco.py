"""COCO: one JSON with `images`, `annotations` and `categories` (https://cocodataset.org/#format-data).

Boxes are left, top, width, height from the corner of the image. Crowds are left out: how many they are is not known.
An annotation without a box takes that of its polygons.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.data.annotations.boxes._common import IMAGE_FOLDERS, How, Item, annotated, has_json, read_json, set_name
from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.errors import SourceError
from earthwords.files.reading import read_bytes


def fits(source: Path) -> bool:
    """A `.json` file, which is not GeoJSON."""
    if not has_json(source) or source.suffix.lower() != ".json":
        return False
    text = read_bytes(source)
    return b'"images"' in text and b'"annotations"' in text


def items(source: Path, how: How) -> Iterator[Item]:
    """Every image, with its boxes and class names as the note, by file name."""
    found = read_json(source)
    try:
        names = {category["id"]: str(category["name"]) for category in found["categories"]}
        boxes: dict[Any, list[tuple[list[float], str]]] = {}
        for entry in found["annotations"]:
            if not entry.get("iscrowd"):
                boxes.setdefault(entry["image_id"], []).append((_box(entry), names[entry["category_id"]]))
        images = sorted((str(image["file_name"]), image["id"]) for image in found["images"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise SourceError(f"{source} is not COCO: images, annotations and categories do not fit ({what}).") from error
    folder = _folder(source, images[0][0], how) if images else Path()
    for name, number in images:
        image = str(folder / name)
        yield Item(name=str(Path(name).with_suffix("")), set=set_name(source), image=image, note=boxes.get(number, []))


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The image, or its tiles."""
    boxes = np.array([box for box, _ in item.note], dtype=np.float64) if item.note else no_boxes()
    return annotated(item, boxes, [name for _, name in item.note], how)


def _box(entry: dict[str, Any]) -> list[float]:
    if entry.get("bbox"):
        left, top, width, height = map(float, entry["bbox"])
        return [left, top, left + width, top + height]
    points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in entry["segmentation"]])
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def _folder(source: Path, name: str, how: How) -> Path:
    """Where the images are: as told, or the first usual place that has this one."""
    if how.images is not None:
        return Path(how.images)
    roots = (source.parent, source.parent.parent)
    split = source.stem.removeprefix("instances_")
    places = [root / inside for root in roots for inside in (*IMAGE_FOLDERS, split, f"images/{split}")]
    found = next((place for place in places if (place / name).is_file()), None)
    if found is None:
        raise SourceError(f"The images of {source}, such as {name}, were not found; name their folder with --images.")
    return found
