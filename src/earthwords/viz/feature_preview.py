"""A picture of features: the image, and colours of its tokens and of its pixels, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from earthwords.types import Grid
from earthwords.viz.panels import Array, Averages, arrange, draw_scale, panel, to_bytes


class FeaturePicture:
    """Takes full-width rows of several images of the same pixels, holding only the picture's pixels."""

    def __init__(self, grid: Grid, captions: Sequence[str], *, max_side: int = 1024) -> None:
        """
        Args:
            grid: of the rows to come.
            captions: one for every panel, from the left.
            max_side: longest side of a panel in pixels; a larger scene is averaged down to it.
        """
        self.grid = grid
        self.captions = tuple(captions)
        self._averages = Averages(grid, 3 * len(self.captions), max_side=max_side)

    def add(self, row: int, panels: Sequence[Array], valid: Array) -> None:
        """Rows from `row` on: one `(3, row, col)` in 0..1 a panel, and `(row, col)` valid."""
        self._averages.add(row, np.concatenate(panels), valid)

    def image(self) -> Image.Image:
        """The picture, RGB."""
        means, zoom = self._averages.means, self._averages.zoom
        panels = [panel(to_bytes(part), self._averages.observed, zoom) for part in np.split(means, len(self.captions))]
        sides = self.grid.ground_pixel_m
        if sides is not None:
            draw_scale(panels[0], sides[0] * self.grid.width / (self._averages.width * zoom))
        return arrange(panels, captions=self.captions)[0]
