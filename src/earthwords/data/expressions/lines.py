"""What is written about an image: a line of the list, a mask, maybe a tile; and its bytes in the journal."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.image_io import is_raster, jpeg, read_rgb
from earthwords.data.annotations.instances import Expression, Ids, Marked
from earthwords.data.annotations.masks import _of_boxes
from earthwords.data.expressions.generate import express
from earthwords.errors import SourceError
from earthwords.files.reading import parse_json
from earthwords.plugins import load, names

OUTLINES = "earthwords.data.annotations.masks"


@dataclass(frozen=True, kw_only=True)
class ExpressionOptions:
    """What decides the expressions of an image."""

    how: How
    count: int = 8
    negatives: float = 0.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ExpressionTask:
    """Some images for one worker."""

    format: str
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is written about an image."""

    line: dict[str, Any]
    """As JSON has it, without the paths of mask and tile."""
    image: str
    mask: bytes
    """A PNG file."""
    tile: bytes | None
    """A JPEG file; None: the image is a file already."""
    sizes: dict[int, float]
    """Number of a thing -> its share of the image's pixels."""
    refused: int


def examine(options: ExpressionOptions, unit: ExpressionTask) -> bytes:
    """The lines of some images, for `unpacked`.

    Raises:
        SourceError: an image or a mask is damaged.
    """
    own = (
        load(OUTLINES, unit.format, kind="format").load
        if unit.format in names(OUTLINES)
        else partial(_of_boxes.load, unit.format)
    )
    return packed([_line(_marked(found, options)) for item in unit.items for found in own(item, options.how)])


def packed(lines: Sequence[Line]) -> bytes:
    """A line of JSON with the lengths of the files that follow."""
    about = [
        {**vars(each), "mask": len(each.mask), "tile": None if each.tile is None else len(each.tile)} for each in lines
    ]
    return json.dumps(about).encode() + b"\n" + b"".join(each.mask + (each.tile or b"") for each in lines)


def unpacked(data: bytes) -> Iterator[Line]:
    """What was packed."""
    head, _, _ = data.partition(b"\n")
    files = io.BytesIO(data[len(head) + 1 :])
    for about in parse_json(head):
        about["mask"] = files.read(about["mask"])
        about["tile"] = None if about["tile"] is None else files.read(about["tile"])
        about["sizes"] = {int(number): share for number, share in about["sizes"].items()}
        yield Line(**about)


def _marked(found: Any, options: ExpressionOptions) -> Marked:
    found = replace(found, example=replace(found.example, bands=options.how.bands))
    if isinstance(found, Marked):
        return found
    rgb = read_rgb(found.example.image, found.example.window, found.example.bands)
    return express(found, rgb, count=options.count, negatives=options.negatives, seed=options.seed)


def _line(marked: Marked) -> Line:
    example = marked.example
    meant = sorted({number for each in marked.expressions for number in each.ids})
    sizes = np.bincount(marked.ids.ravel(), minlength=max(meant, default=0) + 1)
    line: dict[str, Any] = {
        "expressions": [_as_json(each) for each in marked.expressions],
        "set": example.set,
        "name": example.name,
        "classes": {str(number): name for number, name in marked.classes.items()},
        **({"split": marked.split} if marked.split else {}),
    }
    needed = example.window is not None or is_raster(example.image)
    return Line(
        line=line,
        image=example.image,
        mask=png(marked.ids),
        tile=jpeg(example) if needed and marked.expressions else None,
        sizes={number: float(sizes[number] / marked.ids.size) for number in meant},
        refused=marked.refused,
    )


def _as_json(expression: Expression) -> dict[str, Any]:
    said = {"text": expression.text, "ids": list(expression.ids), "kind": expression.kind}
    return {**said, "class": expression.category} if expression.category else said


def png(ids: Ids) -> bytes:
    """Numbers of things as a PNG file of 8, or from 256 things on 16 bits."""
    buffer = io.BytesIO()
    most = int(ids.max(initial=0))
    if most > np.iinfo(np.uint16).max:
        raise SourceError(f"An image has {most:,} things, more than a mask holds; use --tile-size.")
    Image.fromarray(ids.astype(np.uint8 if most < 256 else np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()
