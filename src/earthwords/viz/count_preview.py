"""A picture of counted things: the image, and every thing on it in the colour of its class, with a legend of counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthwords.types import Colour, Grid
from earthwords.viz.panels import INK, Averages, draw_scale, panel, to_bytes
from earthwords.viz.preview import LegendEntry, compose, muted

Array: TypeAlias = NDArray[Any]

SMALLEST_BOX = 7
"""Pixels of the picture; smaller things are dots."""
DOT = 3


class CountPreview:
    """Takes full-width rows of a scene, then the things on it."""

    def __init__(self, grid: Grid, *, max_side: int = 1024) -> None:
        """
        Args:
            grid: of the rows to come.
            max_side: longest side of a panel in pixels; a larger scene is averaged down to it.
        """
        self.grid = grid
        self._rgb = Averages(grid, 3, max_side=max_side)

    def add(self, row: int, rgb: Array, valid: Array) -> None:
        """Rows from `row` on: `(3, row, col)` 0..1, and `(row, col)` True where something was observed."""
        self._rgb.add(row, rgb, valid)

    def image(
        self,
        boxes: Array,
        centres: Array,
        classes: Array,
        *,
        titles: Sequence[str],
        colours: Sequence[Colour],
        points: bool = False,
    ) -> Image.Image:
        """The picture, RGB.

        Args:
            boxes: `(thing, 4)`: first row, first column, height, width in pixels of the grid.
            centres: `(thing, 2)`: x, y in pixels of the grid.
            classes: `(thing,)`: index into `titles`.
            points: things are drawn as dots, whatever their size.
        """
        rgb, observed, zoom = self._rgb.means, self._rgb.observed, self._rgb.zoom
        panels = [panel(to_bytes(rgb), observed, zoom), panel(to_bytes(muted(rgb)), observed, zoom)]
        scale = panels[1].width / self.grid.width, panels[1].height / self.grid.height
        draw = ImageDraw.Draw(panels[1])
        for box, centre, label in zip(boxes.tolist(), centres.tolist(), classes.tolist(), strict=True):
            _draw(draw, box, centre, scale, colours[label], point=points)
        if (sides := self.grid.ground_pixel_m) is not None:
            draw_scale(panels[0], sides[0] * self.grid.width / panels[0].width)
        numbers = np.bincount(classes, minlength=len(titles))
        entries = [
            LegendEntry(title=title, share=f"{number:,}", colour=colour)
            for title, number, colour in zip(titles, numbers.tolist(), colours, strict=True)
        ]
        return compose(panels, entries)


def _draw(
    draw: ImageDraw.ImageDraw,
    box: Sequence[int],
    centre: Sequence[float],
    scale: tuple[float, float],
    colour: Colour,
    *,
    point: bool,
) -> None:
    row, col, height, width = box
    left, top, right, bottom = col * scale[0], row * scale[1], (col + width) * scale[0], (row + height) * scale[1]
    if point or max(right - left, bottom - top) < SMALLEST_BOX:
        x, y = centre[0] * scale[0], centre[1] * scale[1]
        draw.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=colour, outline=INK)
        return
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=INK)
    draw.rectangle((left, top, right, bottom), outline=colour, width=2)
