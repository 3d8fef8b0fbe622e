"""A contact sheet: small pictures in rows, a title and a name under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthwords.viz.panels import EMPTY, FAINT, GAP, INK, LINE, MARGIN, PAPER, TEXT_SIZE, Font, font

MOST_COLUMNS = 5
LINE_HEIGHT = TEXT_SIZE + 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Thumbnail:
    """A picture of the sheet."""

    image: NDArray[np.uint8] | None
    """`(row, col, 3)`; None: there is none."""
    title: str
    name: str
    problem: str = ""
    """Why there is no image."""


def contact_sheet(prints: Sequence[Thumbnail], *, side: int, heading: str) -> Image.Image:
    """Prints from left to right and from top to bottom.

    Args:
        prints: images of at most `side` pixels a side; small ones are enlarged by a whole number.
        side: of the place of a picture, pixels.
        heading: a line above all.
    """
    columns = max(1, min(MOST_COLUMNS, len(prints)))
    rows = max(1, -(-len(prints) // columns))
    top = MARGIN + LINE_HEIGHT + GAP
    step = side + GAP, side + 2 * LINE_HEIGHT + GAP
    letters = font([heading])
    width = max(columns * step[0] - GAP, 2 * side)
    canvas = Image.new("RGB", (width + 2 * MARGIN, top + rows * step[1] + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN - 4), fitted(heading, width, letters, keep_end=False), fill=INK, font=letters)
    for i, item in enumerate(prints):
        x, y = MARGIN + i % columns * step[0], top + i // columns * step[1]
        _place(canvas, draw, item, x, y, side)
        draw.text((x, y + side + 4), item.title, fill=INK, font=font([item.title]))
        face = font([item.name])
        draw.text((x, y + side + 4 + LINE_HEIGHT), fitted(item.name, side, face), fill=FAINT, font=face)
    return canvas


def _place(canvas: Image.Image, draw: ImageDraw.ImageDraw, item: Thumbnail, x: int, y: int, side: int) -> None:
    if item.image is None:
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=EMPTY, outline=LINE)
        draw.text((x + side / 2, y + side / 2), item.problem, fill=FAINT, font=font([item.problem]), anchor="mm")
        return
    image = Image.fromarray(item.image)
    zoom = max(1, side // max(image.size))
    image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    left, above = x + (side - image.width) // 2, y + (side - image.height) // 2
    canvas.paste(image, (left, above))
    draw.rectangle((left - 1, above - 1, left + image.width, above + image.height), outline=LINE)


def fitted(text: str, width: int, letters: Font, *, keep_end: bool = True) -> str:
    """`text`, shortened to `width` pixels; of a name the end tells more."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"...{text}") > width:
        text = text[1:] if keep_end else text[:-1]
    return f"...{text}" if keep_end else f"{text}..."
