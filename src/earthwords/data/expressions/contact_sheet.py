"""A sheet of expressions with what they mean drawn on the images: to be looked at before anything learns from it."""

from __future__ import annotations

import random
import textwrap
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from earthwords.data.annotations.image_io import opened, read_rgb
from earthwords.files.reading import parse_json
from earthwords.viz.captioned_sheet import LINE, MARGIN, captioned_sheet

SIDE, COLUMNS = 256, 5
TINT, EDGE = (255, 0, 0), (255, 255, 0)
_LETTERS = 44
"""Of a line of text below a picture; two lines are shown."""

Chosen: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
"""A line of the list, and one of its expressions."""
Place: TypeAlias = Callable[[str], Path]
"""Where a path of the list leads."""


def choose(path: Path, count: int, *, seed: int = 0) -> list[Chosen]:
    """Expressions of a list, kinds in turns, drawn by the seed."""
    draw = random.Random(seed)
    kinds: dict[str, list[Chosen]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for line in map(parse_json, file):
            for expression in line["expressions"]:
                kinds[expression["kind"]].append((line, expression))
    for found in kinds.values():
        draw.shuffle(found)
    chosen: list[Chosen] = []
    while len(chosen) < count and any(kinds.values()):
        chosen += [found.pop() for _, found in sorted(kinds.items()) if found]
    return chosen[:count]


def sheet(place: Place, chosen: Sequence[Chosen]) -> Image.Image:
    """Their images, with what is meant in red and its border in yellow."""
    cells = (
        (
            _marked(place, line, expression["ids"]),
            textwrap.wrap(f"{expression['text']} [{expression['kind']}]", _LETTERS)[:2],
        )
        for line, expression in chosen
    )
    cell = SIDE + MARGIN, SIDE + 3 * LINE + MARGIN
    return captioned_sheet(cells, count=len(chosen), columns=COLUMNS, cell=cell, top=SIDE)


def _marked(place: Place, line: dict[str, Any], ids: Sequence[int]) -> Image.Image:
    """At most `SIDE` pixels high and wide."""
    picture = Image.fromarray(read_rgb(str(place(line["image"]))))
    scale = SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    with opened(str(place(line["mask"]))) as image:
        meant = Image.fromarray(np.isin(np.asarray(image), ids)).resize(size)
    rgb, mask = np.asarray(picture.resize(size)).astype(np.float32), np.asarray(meant)
    inner = mask.copy()
    for axis in (0, 1):
        inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    rgb[mask] = 0.65 * rgb[mask] + 0.35 * np.array(TINT)
    rgb[mask & ~inner] = EDGE
    return Image.fromarray(rgb.astype(np.uint8))
