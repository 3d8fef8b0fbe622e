"""One JSON line an image: what is found out about it before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.example import Annotated
from earthwords.data.annotations.image_io import read_rgb
from earthwords.data.captions import box_to_caption, perceptual_hash
from earthwords.errors import EarthwordsError, SourceError
from earthwords.files.plaintext import json_text
from earthwords.plugins import load
from earthwords.types import Window

READERS = "earthwords.data.annotations.boxes"


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """All that decides what the captions of an image are."""

    how: How
    captions: int = 5
    seed: int = 0
    on_error: str = "stop"
    hashes: bool = True


@dataclass(frozen=True, kw_only=True)
class CaptionTask:
    """Some images for one worker."""

    format: str
    items: tuple[Item, ...]
    test: bool = False
    """Images that must not be among the result: only their hashes are wanted."""


def examine(recipe: CaptionOptions, unit: CaptionTask) -> bytes:
    """A line of JSON for each image, or tile, of a unit.

    Raises:
        SourceError: an image or annotation is damaged, unless that may be skipped.
    """
    reader = load(READERS, unit.format, kind="format")
    lines: list[str] = []
    for item in unit.items:
        try:
            lines += [
                json_text(_record(recipe, replace(e, bands=recipe.how.bands), unit.test))
                for e in reader.load(item, recipe.how)
            ]
        except EarthwordsError as error:
            if recipe.on_error == "stop":
                raise SourceError(f"{error} (--on-error skip leaves such images out.)") from error
            lines.append(json_text({"name": item.name, "set": item.set, "image": item.image, "error": str(error)}))
    return "\n".join(lines).encode()


def _record(recipe: CaptionOptions, example: Annotated, test: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"name": example.name, "set": example.set, "image": example.image}
    if example.window is not None:
        w = example.window
        record["window"] = [w.row, w.col, w.height, w.width]
    if example.bands is not None:
        record["bands"] = list(example.bands)
    if not test:
        record |= {
            "size": list(example.size),
            "boxes": np.round(example.boxes, 2).tolist(),
            "classes": list(example.classes),
            "captions": list(box_to_caption.captions(example, count=recipe.captions, seed=recipe.seed)),
        }
    if test or record["captions"]:
        rgb = read_rgb(example.image, example.window, example.bands)  # a damaged image is noticed here, hash or not
        if recipe.hashes:
            value, flat = perceptual_hash.perceptual_hash(rgb)
            record |= {"hash": f"{value:016x}", "flat": flat}
    return record


def example_of(record: dict[str, Any]) -> Annotated:
    """The image that a record tells of."""
    window, bands = record.get("window"), record.get("bands")
    return Annotated(
        name=record["name"],
        set=record["set"],
        image=record["image"],
        size=tuple(record.get("size", (0, 0))),
        boxes=np.array(record.get("boxes", []), dtype=np.float64).reshape(-1, 4),
        classes=tuple(record.get("classes", ())),
        window=None if window is None else Window(row=window[0], col=window[1], height=window[2], width=window[3]),
        bands=None if bands is None else tuple(bands),
    )
