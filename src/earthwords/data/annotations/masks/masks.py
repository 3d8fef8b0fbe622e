"""Masks of classes, as `readers.masks`; things are their components.

With a folder `instances` beside that of the masks, what has a number (not 0) there is a thing of its own, although it
may touch others or lie in parts. Its class is that of the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from earthwords.data.annotations.boxes import masks
from earthwords.data.annotations.boxes._common import How, Item, annotation_folder
from earthwords.data.annotations.boxes.masks import fits
from earthwords.data.annotations.example import Annotated, no_boxes, part, tiles
from earthwords.data.annotations.image_io import size_of
from earthwords.data.annotations.instances import Instances, from_classes
from earthwords.data.captions.mask_to_box import IGNORED
from earthwords.errors import SourceError

__all__ = ["fits", "items", "load"]

APART = "instances"


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a mask; the note has its path, the table, and the path of the numbers of things or None."""
    folder, apart = annotation_folder(source, *masks.FOLDERS), source / APART
    for item in masks.items(source, how):
        path, table = item.note
        other = apart / Path(path).relative_to(folder).with_suffix(".png")
        yield replace(item, note=(path, table, str(other) if other.is_file() else None))


def load(item: Item, how: How) -> Iterator[Instances]:
    """The image, or its tiles."""
    path, table, apart_path = item.note
    raw = masks.read_mask(path)
    mask, names = masks.indexed(raw, replace(how, classes=table))
    names += dict.fromkeys(name for name in table.values() if name and name not in names)
    if raw.ndim == 2 and str(IGNORED) not in table:
        mask = np.where(raw == IGNORED, -1, mask)
    size = size_of(item.image)
    apart = None if apart_path is None else masks.read_mask(apart_path)
    for what, found in ((path, mask), (apart_path, apart)):
        if found is not None and found.shape != size:
            shape = " x ".join(map(str, found.shape))
            raise SourceError(f"{what} is {shape} pixels, its image {item.image} {size[0]} x {size[1]}.")
    bare = Annotated(name=item.name, set=item.set, image=item.image, size=size, boxes=no_boxes(), classes=())
    for window in tiles(size, how.tile):
        numbers = None if apart is None else apart[window.slices].astype(np.int32)
        yield from_classes(part(bare, window), mask[window.slices], names, least=how.least, apart=numbers)
