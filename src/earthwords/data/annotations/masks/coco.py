"""COCO: masks of instances (polygons or run lengths; a box where there is neither), as `readers.coco`.

A folder with `refs(...).p` beside `instances.json`, as RefCOCO has them, has expressions already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.data.annotations.boxes import coco
from earthwords.data.annotations.boxes._common import How, Item, read_json, renamed
from earthwords.data.annotations.example import Annotated, no_boxes, part, tiles
from earthwords.data.annotations.image_io import size_of
from earthwords.data.annotations.instances import Ids, Instances, Marked, painted
from earthwords.data.annotations.masks import _refs
from earthwords.data.annotations.masks._rle import Box, Mask, area_of, mask_of
from earthwords.errors import SourceError
from earthwords.types import Window


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
    known = tuple(dict.fromkeys(name for label in names.values() if (name := renamed(label, how))))
    for item in bare:
        yield Item(name=item.name, set=item.set, image=item.image, note=(tuple(masks.get(item.name, ())), known))


def load(item: Item, how: How) -> Iterator[Instances | Marked]:
    """The image or its tiles, or the image with the sentences of people."""
    if isinstance(item.note[0], str):
        yield from _refs.load(item, how)
        return
    entries, known = item.note
    size = size_of(item.image)
    kept = [(mask, name) for mask, label in entries if (name := renamed(label, how))]
    try:
        masks = [Box.of(mask, *size) if _is_box(mask) else mask_of(mask, *size) for mask, _ in kept]
        areas = [area_of(mask) for mask in masks]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise SourceError(f"A mask of {item.image} cannot be read: {error}.") from error
    order = np.argsort(-np.array(areas, dtype=np.float64), kind="stable").tolist()
    solid = all(not _is_box(mask) for mask, _ in kept)
    classes = tuple(name for _, name in kept)
    bare = Annotated(name=item.name, set=item.set, image=item.image, size=size, boxes=no_boxes(), classes=classes)
    for row, windows in groupby(tiles(size, how.tile), key=lambda window: window.row):
        side_by_side = list(windows)
        band = Window(row=row, col=0, height=side_by_side[0].height, width=size[1])
        ids, shown = _painted(masks, order, band, side_by_side)
        for window, whole in zip(side_by_side, shown, strict=True):
            tile = replace(part(bare, window), classes=classes)
            own = ids if len(side_by_side) == 1 else ids[:, window.col : window.col_stop].copy()
            yield painted(tile, own, whole=whole, least=how.least, known=known, solid=solid)


def _painted(
    masks: Sequence[Mask], order: Sequence[int], band: Window, windows: Sequence[Window]
) -> tuple[Ids, NDArray[np.float64]]:
    """Numbers of masks painted one over the other, in this order, one held at a time.

    Returns:
        ids: `(row, col)` of the band.
        shown: `(window, mask)` pixels that a window would show of a mask if there were no other.
    """
    ids = np.zeros((band.height, band.width), dtype=np.int32)
    shown = np.zeros((len(windows), len(masks)))
    for i in order:
        whole = masks[i].window
        seen = None if whole is None else band.intersect(whole)
        if seen is None:
            continue
        inside = masks[i].inside(seen)
        ids[seen.slices_in(band)][inside] = i + 1
        for number, window in enumerate(windows):
            if (common := seen.intersect(window)) is not None:
                shown[number, i] = np.count_nonzero(inside[common.slices_in(seen)])
    return ids, shown


def _is_box(mask: Any) -> bool:
    return isinstance(mask, list) and len(mask) == 4 and all(isinstance(side, float) for side in mask)
