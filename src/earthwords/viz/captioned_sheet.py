"""A sheet of pictures of one size in rows, with lines of text below each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont

MARGIN, LINE = 8, 16
PAPER, INK, EMPTY = (255, 255, 255), (34, 38, 43), (240, 240, 242)


def captioned_sheet(
    cells: Iterable[tuple[Image.Image, Sequence[str]]], *, count: int, columns: int, cell: tuple[int, int], top: int
) -> Image.Image:
    """The pictures, drawn as they come.

    Args:
        cells: a picture and the lines below it.
        count: of the pictures.
        columns: at most.
        cell: pixels across and down from one picture to the next.
        top: pixels from the top of a picture to its text.
    """
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    across, down = cell
    canvas = Image.new("RGB", (columns * across + MARGIN, rows * down + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for i, (picture, lines) in enumerate(cells):
        x, y = MARGIN + i % columns * across, MARGIN + i // columns * down
        canvas.paste(picture, (x, y))
        for row, line in enumerate(lines):
            draw.text((x, y + top + 2 + row * LINE), line, fill=INK, font=font)
    return canvas
