"""Masks: a folder of images and one of masks with the same stems. Values, palette indices or colours are classes.

The table of classes is `--classes` or a `classes.json` in the folder. What is not in the table belongs to no class.
Tiles are cut from the mask before its components are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.data.annotations.boxes._common import (
    How,
    Images,
    Item,
    annotation_folder,
    files_of,
    read_classes,
    renamed,
    set_name,
)
from earthwords.data.annotations.example import Annotated, no_boxes, part, tiles
from earthwords.data.annotations.image_io import SUFFIXES, opened, size_of
from earthwords.data.captions.mask_to_box import mask_to_boxes, ranked
from earthwords.errors import SourceError, UsageError

FOLDERS = ("masks", "mask", "masks_png", "labels", "label", "annotations", "gt")
TABLE = "classes.json"


def fits(source: Path) -> bool:
    """A folder with one of masks."""
    if not source.is_dir():
        return False
    folder = annotation_folder(source, *FOLDERS)
    return folder != source and bool(files_of(folder, *SUFFIXES))


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a mask; the note has its path and the table."""
    folder = annotation_folder(source, *FOLDERS)
    if how.classes is None and not (source / TABLE).is_file():
        raise UsageError(
            f"What the values of {folder} mean is not said: give --classes FILE or write {source / TABLE}."
        )
    table = dict(how.classes) if how.classes is not None else read_classes(source / TABLE)
    images = Images(source, how)
    for path in files_of(folder, *SUFFIXES):
        stem = str(path.relative_to(folder).with_suffix(""))
        yield Item(name=stem, set=set_name(source), image=images.find(stem, path), note=(str(path), table))


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The image, or its tiles."""
    path, table = item.note
    mask, names = indexed(read_mask(path), replace(how, classes=table))
    size = size_of(item.image)
    if mask.shape != size:
        raise SourceError(
            f"{path} is {mask.shape[0]} x {mask.shape[1]} pixels, its image {item.image} {size[0]} x {size[1]}."
        )
    with_no_boxes = Annotated(name=item.name, set=item.set, image=item.image, size=size, boxes=no_boxes(), classes=())
    for window in tiles(size, how.tile):
        found = mask_to_boxes(mask[window.slices], range(1, len(names)), least=how.least)
        boxes = np.concatenate([no_boxes(), *found.values()])
        classes = tuple(names[value] for value, part_of in found.items() for _ in part_of)
        yield part(replace(with_no_boxes, boxes=boxes, classes=classes), window)


def read_mask(path: str) -> NDArray[Any]:
    """`(row, col)` values or palette indices, or `(row, col, 3)` colours. Raises `SourceError`."""
    with opened(path) as image:
        if image.mode in ("1", "L", "P", "I", "I;16", "I;16B", "F"):
            return np.asarray(image).astype(np.int64)
        if image.mode in ("RGB", "RGBA"):
            return np.asarray(image.convert("RGB"))
        mode = image.mode
    raise SourceError(f"{path} is a mask of mode {mode}; values, palette indices and colours can be read.")


def indexed(mask: NDArray[Any], how: How) -> tuple[NDArray[np.int64], list[str]]:
    """A mask of indices `(row, col)`, 0 for no class, and the name of each index; values of one name are one class."""
    colours = mask.ndim == 3
    values = mask.astype(np.int64) @ (1 << 16, 1 << 8, 1) if colours else mask
    found, inverse = ranked(values)
    names = [""]
    index = np.zeros(len(found), dtype=np.int64)
    for i, value in enumerate(found.tolist()):
        name = renamed(f"#{value:06x}" if colours else str(value), how, listed=True)
        if name and name not in names:
            names.append(name)
        index[i] = names.index(name) if name else 0
    return index[inverse], names
