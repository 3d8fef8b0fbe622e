"""Panels of pictures: averages of rows that stream by, drawn side by side with captions and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from earthwords.errors import UsageError
from earthwords.types import Colour, Grid

Array: TypeAlias = NDArray[Any]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER: Colour = (255, 255, 255)
EMPTY: Colour = (240, 240, 242)
"""Pixels without an observation."""
INK: Colour = (34, 38, 43)
FAINT: Colour = (118, 124, 132)
LINE: Colour = (208, 211, 216)

MARGIN = 24
GAP = 16
TEXT_SIZE = 15
SMALLEST_SIDE = 480
"""Small scenes are enlarged by a whole number up to about this many pixels."""

WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
)
"""Fonts of common systems, tried for titles beyond Latin letters."""


class Averages:
    """Takes full-width rows and holds their means over the pixels of a smaller picture."""

    def __init__(self, grid: Grid, channels: int, *, max_side: int) -> None:
        """
        Args:
            grid: of the rows to come.
            channels: of their values.
            max_side: longest side of the picture in pixels; a larger scene is averaged down to it.
        """
        if max_side < 16:
            raise UsageError(f"A picture needs a side of at least 16 pixels, got {max_side}.")
        shrink = min(1.0, max_side / max(grid.shape))
        self.height, self.width = (max(1, round(length * shrink)) for length in grid.shape)
        self._row_bin = np.arange(grid.height) * self.height // grid.height
        self._col_starts = -(-np.arange(self.width) * grid.width // self.width)
        self._sum = np.zeros((channels, self.height, self.width))
        self._count = np.zeros((self.height, self.width))

    def add(self, row: int, values: Array, valid: Array) -> None:
        """Rows from `row` on, in any order: `(channel, row, col)`, and `(row, col)` True where they count."""
        bins = self._row_bin[row : row + len(valid)]
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        self._sum[:, bins[starts]] += self._binned(np.where(valid, values, 0), starts)
        self._count[bins[starts]] += self._binned(valid, starts)

    @property
    def observed(self) -> NDArray[np.bool_]:
        """`(row, col)` of the picture: True where anything counted."""
        return self._count > 0

    @property
    def means(self) -> NDArray[np.float64]:
        """`(channel, row, col)` of the picture, 0 where nothing counted."""
        return self._sum / np.maximum(self._count, 1)

    @property
    def zoom(self) -> int:
        """What a small picture is enlarged by."""
        return max(1, SMALLEST_SIDE // max(self.height, self.width))

    def _binned(self, values: Array, row_starts: Array) -> Array:
        """Sums over the pixels of each pixel of the picture, given the first row of each of its rows."""
        rows = np.add.reduceat(values, row_starts, axis=-2, dtype=np.float64)
        return np.add.reduceat(rows, self._col_starts, axis=-1)


def to_bytes(rgb: Array) -> NDArray[np.uint8]:
    """`(3, row, col)` 0..1 to `(row, col, 3)` 0..255."""
    return np.rint(np.moveaxis(np.clip(rgb, 0, 1), 0, -1) * 255.0).astype(np.uint8)


def panel(pixels: NDArray[np.uint8], observed: Array, zoom: int) -> Image.Image:
    """Pixels `(row, col, 3)`, grey where `observed` `(row, col)` is False, enlarged by a whole number."""
    image = Image.fromarray(np.where(observed[..., None], pixels, np.array(EMPTY, np.uint8)))
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def arrange(
    panels: Sequence[Image.Image], *, captions: Sequence[str] = (), below: int = 0, least_width: int = 0
) -> tuple[Image.Image, int]:
    """Panels of one size side by side, or one above the other if they are wide.

    Args:
        captions: a line under each of them.
        below: pixels left free under all of them.
        least_width: of the picture without its margins.

    Returns:
        The picture, and the row at which the free part begins.
    """
    width, height = panels[0].size
    line = TEXT_SIZE + 11 if captions else 0
    wide = max([width, *(math.ceil(font([caption]).getlength(caption)) for caption in captions)])
    step = (0, height + line + GAP) if width > 1.6 * height else (wide + GAP, 0)
    across, down = (side * (len(panels) - 1) for side in step)
    top = MARGIN + height + line + down + GAP + 4
    canvas = Image.new("RGB", (max(wide + across, least_width) + 2 * MARGIN, top + below + MARGIN - 8), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, image in enumerate(panels):
        x, y = MARGIN + i * step[0], MARGIN + i * step[1]
        canvas.paste(image, (x, y))
        draw.rectangle((x - 1, y - 1, x + width, y + height), outline=LINE)
        for caption in captions[i : i + 1]:
            draw.text((x, y + height + 8), caption, fill=INK, font=font([caption]))
    return canvas, top


def draw_scale(panel: Image.Image, metres_per_pixel: float) -> None:
    """A bar of a round number of metres, white on a dark edge, at the bottom left."""
    length = round_length(0.3 * panel.width * metres_per_pixel)
    x, y = 14, panel.height - 16
    end = x + round(length / metres_per_pixel)
    draw = ImageDraw.Draw(panel)
    letters = font([])
    for colour, grow in ((INK, 2), ((255, 255, 255), 0)):
        draw.rectangle((x - grow, y - 1 - grow, end + grow, y + 1 + grow), fill=colour)
        for tick in (x, end):
            draw.rectangle((tick - 1 - grow, y - 6 - grow, tick + 1 + grow, y + 1 + grow), fill=colour)
        draw.rectangle((x, y - 1, end, y + 1), fill=colour)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    place = ((x + end) / 2, y - 10)
    draw.text(place, text, fill="white", font=letters, anchor="ms", stroke_width=2, stroke_fill=INK)


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... (and 0.5, 0.2, ...) that does not exceed `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    digit = next(digit for digit in (5, 2, 1) if digit * power <= most * (1 + 1e-9))
    return float(f"{digit * power:g}")


def font(texts: Sequence[str]) -> Font:
    """PIL's own font, or one of the system's where a title goes beyond Latin letters."""
    if any(ord(letter) > 0x24F for text in texts for letter in text):
        for name in WIDE_FONTS:
            try:
                return ImageFont.truetype(name, TEXT_SIZE)
            except OSError:
                continue
    return ImageFont.load_default(TEXT_SIZE)
