"""A picture of two dates: before, after, and what changed over a pale picture of the second one."""

from __future__ import annotations

import numpy as np
from PIL import Image

from earthwords.types import Grid, Vocabulary
from earthwords.viz.panels import Array, Averages, draw_scale, panel, to_bytes
from earthwords.viz.preview import compose, legend, middles, muted, overlay

OPACITY = 0.85
CAPTIONS = ("before", "after", "change")


class ChangePreview:
    """Takes full-width rows of both dates and makes one picture, holding only the picture's pixels."""

    def __init__(self, grid: Grid, vocabulary: Vocabulary, *, max_side: int = 1024) -> None:
        """
        Args:
            grid: of the rows to come.
            vocabulary: titles and colours of the labels; the first one is that nothing changed.
            max_side: longest side of a panel in pixels; larger scenes are averaged down to it.
        """
        self.grid = grid
        self.vocabulary = vocabulary
        self._dates = [Averages(grid, 3, max_side=max_side) for _ in range(2)]
        height, width = self._dates[0].height, self._dates[0].width
        self._middle_rows, self._middle_cols = middles(height, grid.height), middles(width, grid.width)
        self._labels = np.full((height, width), vocabulary.nodata, vocabulary.label_dtype)
        self._pixels = np.zeros(len(vocabulary), np.int64)

    def add(self, row: int, before: Array, after: Array, labels: Array, valid: Array) -> None:
        """Rows from `row` on, in any order: pictures `(3, row, col)` 0..1, labels and valid `(row, col)`."""
        for date, rgb in zip(self._dates, (before, after), strict=True):
            date.add(row, rgb, valid)
        here = (self._middle_rows >= row) & (self._middle_rows < row + len(labels))
        shown = np.where(valid, labels, self.vocabulary.nodata)
        self._labels[here] = shown[self._middle_rows[here] - row][:, self._middle_cols]
        known = labels[valid & (labels < len(self.vocabulary))]
        self._pixels += np.bincount(known.ravel(), minlength=len(self.vocabulary))

    def image(self) -> Image.Image:
        """The picture, RGB."""
        before, after = self._dates
        changed = np.where(self._labels == 0, self.vocabulary.nodata, self._labels)
        pictures = [
            to_bytes(before.means),
            to_bytes(after.means),
            overlay(muted(after.means), changed, self.vocabulary, opacity=OPACITY),
        ]
        panels = [panel(pixels, after.observed, after.zoom) for pixels in pictures]
        sides = self.grid.ground_pixel_m
        if sides is not None:
            draw_scale(panels[0], sides[0] * self.grid.width / (after.width * after.zoom))
        shares = self._pixels / max(1, self._pixels.sum())
        there = [i for i, share in enumerate(shares) if share]
        classes = tuple(self.vocabulary.classes[i] for i in there)
        entries = legend(Vocabulary(classes=classes), shares[there])
        return compose(panels, entries, captions=CAPTIONS)
