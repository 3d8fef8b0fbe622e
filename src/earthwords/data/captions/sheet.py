"""A contact sheet: what was left out as a copy, beside what it is a copy of."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from earthwords.data.annotations.example import Annotated
from earthwords.data.annotations.image_io import read_rgb
from earthwords.errors import SourceError

SIDE, MARGIN, LINE = 128, 8, 16
COLUMNS = 4
MOST = 48
"""Pairs on a sheet."""
PAPER, INK, EMPTY = (255, 255, 255), (34, 38, 43), (240, 240, 242)


def contact_sheet(pairs: Sequence[tuple[Annotated, Annotated, str]]) -> Image.Image:
    """Up to `MOST` pairs of thumbnails, each with a line of text below."""
    pairs = pairs[:MOST]
    columns = max(1, min(COLUMNS, len(pairs)))
    rows = -(-len(pairs) // columns)
    across, down = 2 * SIDE + 2 * MARGIN, SIDE + LINE + 2 * MARGIN
    canvas = Image.new("RGB", (columns * across + MARGIN, max(1, rows) * down + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for i, (one, other, text) in enumerate(pairs):
        x, y = MARGIN + i % columns * across, MARGIN + i // columns * down
        canvas.paste(_thumbnail(one), (x, y))
        canvas.paste(_thumbnail(other), (x + SIDE + 2, y))
        draw.text((x, y + SIDE + 2), text, fill=INK, font=font)
    return canvas


def _thumbnail(example: Annotated) -> Image.Image:
    """Squeezed into a square, as the hash sees it; grey where it cannot be read any more."""
    try:
        rgb = read_rgb(example.image, example.window, example.bands)
        return Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except SourceError:
        return Image.new("RGB", (SIDE, SIDE), EMPTY)
