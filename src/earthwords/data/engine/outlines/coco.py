"""COCO: masks of instances (polygons or run lengths; a box where there is neither), as `readers.coco`.

A folder with `refs(...).p` beside `instances.json`, as RefCOCO has them, has expressions already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.data.engine.annotated import Annotated, no_boxes, part, tiles
from earthwords.data.engine.outlines import _refs
from earthwords.data.engine.outlines._rle import mask_of
from earthwords.data.engine.pictures import size_of
from earthwords.data.engine.readers import coco
from earthwords.data.engine.readers._common import How, Item, read_json, renamed
from earthwords.data.engine.things import Marked, Things, painted
from earthwords.errors import SourceError


def fits(source: Path) -> bool:
    """A `.json` file of annotations, or a folder of references."""
    return coco.fits(source) or (_refs.list_of(source) is not None and (source / _refs.INSTANCES).is_file())


def items(source: Path, how: How) -> Iterator[Item]:
    """Every image, with its masks and class names as the note, by file name."""
    if source.is_dir():
        places = [folder / name for folder in (source, source.parent) for name in ("images", "train2014", "JPEGImages")]
        yield from _refs.items(source, _refs.images_at(how, *places), how)
        return
    bare = list(coco.items(source, how))
    found = read_json(source)
    names = {category["id"]: str(category["name"]) for category in found["categories"]}
    stems = {image["id"]: str(Path(str(image["file_name"])).with_suffix("")) for image in found["images"]}
    masks: dict[str, list[tuple[Any, str]]] = {}
    for entry in found["annotations"]:
        if not entry.get("iscrowd"):
            mask = entry.get("segmentation") or [float(side) for side in entry["bbox"]]
            masks.setdefault(stems[entry["image_id"]], []).append((mask, names[entry["category_id"]]))
    known = tuple(dict.fromkeys(name for said in names.values() if (name := renamed(said, how))))
    for item in bare:
        yield Item(name=item.name, set=item.set, image=item.image, note=(tuple(masks.get(item.name, ())), known))


def load(item: Item, how: How) -> Iterator[Things | Marked]:
    """The image or its tiles, or the image with the sentences of people."""
    if isinstance(item.note[0], str):
        yield from _refs.load(item, how)
        return
    entries, known = item.note
    height, width = size = size_of(item.image)
    kept = [(mask, name) for mask, said in entries if (name := renamed(said, how))]
    try:
        masks = [_mask(mask, height, width) for mask, _ in kept]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise SourceError(f"A mask of {item.image} cannot be read: {error}.") from error
    sizes = np.array([np.count_nonzero(mask) for mask in masks], dtype=np.float64)
    ids = np.zeros(size, dtype=np.int32)
    for i in np.argsort(-sizes, kind="stable"):
        ids[masks[i]] = i + 1
    solid = all(not _is_box(mask) for mask, _ in kept)
    classes = tuple(name for _, name in kept)
    bare = Annotated(name=item.name, set=item.set, image=item.image, size=size, boxes=no_boxes(), classes=())
    for window in tiles(size, how.tile):
        shown = np.array([np.count_nonzero(mask[window.slices]) for mask in masks], dtype=np.float64)
        tile = replace(part(bare, window), classes=classes)
        yield painted(tile, ids[window.slices], whole=shown, least=how.least, known=known, solid=solid)


def _is_box(mask: Any) -> bool:
    return isinstance(mask, list) and len(mask) == 4 and all(isinstance(side, float) for side in mask)


def _mask(mask: Any, height: int, width: int) -> Any:
    if not _is_box(mask):
        return mask_of(mask, height, width)
    left, top, across, down = mask
    found = np.zeros((height, width), dtype=bool)
    found[max(0, round(top)) : max(0, round(top + down)), max(0, round(left)) : max(0, round(left + across))] = True
    return found
