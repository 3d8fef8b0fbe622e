"""A preview: the image, the classes over the image, a legend with shares, a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthwords.errors import UsageError
from earthwords.types import Colour, Grid, Vocabulary
from earthwords.viz.panels import (
    FAINT,
    GAP,
    INK,
    MARGIN,
    TEXT_SIZE,
    Array,
    Averages,
    Font,
    arrange,
    draw_scale,
    font,
    panel,
    to_bytes,
)

OPACITY = 0.55
SWATCH = 15
MOST_CLASSES = 24
"""Longer legends end with the number of classes left out."""
NO_CLASS: Colour = (224, 224, 224)
"""In the legend; in the picture the muted image shows through."""
LONGEST_TITLE = 40
"""Letters of a class shown in the legend."""


def overlay(rgb: Array, labels: Array, vocabulary: Vocabulary, *, opacity: float = OPACITY) -> NDArray[np.uint8]:
    """Classes in their colours over an image.

    Args:
        rgb: `(3, row, col)` float 0..1.
        labels: `(row, col)`; labels without a class, such as nodata, let the image through.
        vocabulary: gives the colours.
        opacity: of the colours, 0..1.

    Returns:
        `(row, col, rgb)` uint8.
    """
    image = np.moveaxis(np.clip(rgb, 0, 1), 0, -1) * 255.0
    colours = np.array([entry.colour for entry in vocabulary.classes], np.float64).reshape(-1, 3)
    known = labels < len(colours)
    blended = image.copy()
    blended[known] = (1 - opacity) * image[known] + opacity * colours[labels[known]]
    return np.rint(blended).astype(np.uint8)


class PreviewBuilder:
    """Takes full-width rows of a segmentation and makes one picture, holding only the picture's pixels."""

    def __init__(self, grid: Grid, vocabulary: Vocabulary, *, max_side: int = 1024) -> None:
        """
        Args:
            grid: of the rows to come.
            vocabulary: titles and colours.
            max_side: longest side of a panel in pixels; a larger scene is averaged down to it.
        """
        self.grid = grid
        self.vocabulary = vocabulary
        self._rgb = Averages(grid, 3, max_side=max_side)
        self.height, self.width = self._rgb.height, self._rgb.width
        self._middle_rows = middles(self.height, grid.height)
        self._middle_cols = middles(self.width, grid.width)
        self._labels = np.full((self.height, self.width), vocabulary.nodata, vocabulary.label_dtype)
        self._pixels = np.zeros(len(vocabulary), np.int64)
        self._observed = 0

    def add(self, row: int, rgb: Array, labels: Array, valid: Array) -> None:
        """Rows from `row` on, in any order: image `(3, row, col)` 0..1, labels and valid `(row, col)`."""
        if labels.shape != valid.shape or rgb.shape != (3, *labels.shape) or labels.shape[1] != self.grid.width:
            raise UsageError(
                f"Rows of a picture must be (3, rows, {self.grid.width}) and twice (rows, {self.grid.width}), "
                f"got {rgb.shape}, {labels.shape} and {valid.shape}."
            )
        self._rgb.add(row, rgb, valid)
        self._sample(row, np.where(valid, labels, self.vocabulary.nodata))
        self._observed += int(valid.sum())
        known = labels[valid & (labels < len(self.vocabulary))]
        self._pixels += np.bincount(known.ravel(), minlength=len(self.vocabulary))

    @property
    def shares(self) -> NDArray[np.float64]:
        """`(class,)` share of the observed pixels added so far, 0..1."""
        return self._pixels / max(1, self._observed)

    def image(self) -> Image.Image:
        """The picture, RGB."""
        rgb, observed, zoom = self._rgb.means, self._rgb.observed, self._rgb.zoom
        panels = [
            panel(to_bytes(rgb), observed, zoom),
            panel(overlay(muted(rgb), self._labels, self.vocabulary), observed, zoom),
        ]
        sides = self.grid.ground_pixel_m
        if sides is not None:
            draw_scale(panels[0], sides[0] * self.grid.width / (self.width * zoom))
        entries = legend(self.vocabulary, self.shares)
        without = self._observed - int(self._pixels.sum())
        if without:
            entries.append(LegendEntry(title="no class", share=_percent(without / self._observed), colour=NO_CLASS))
        return compose(panels, entries)

    def _sample(self, row: int, labels: Array) -> None:
        """Keep the label in the middle of each pixel of the picture."""
        here = (self._middle_rows >= row) & (self._middle_rows < row + len(labels))
        self._labels[here] = labels[self._middle_rows[here] - row][:, self._middle_cols]


def middles(count: int, length: int) -> NDArray[np.int64]:
    """The pixels of an axis of `length` in the middle of each of `count` parts."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """A line of the legend."""

    title: str
    share: str
    """What follows the title: a share, or a number."""
    colour: Colour | None


def legend(vocabulary: Vocabulary, shares: Array) -> list[LegendEntry]:
    """Classes in their order; of too many, those with the largest shares."""
    order = np.sort(np.argsort(-shares, kind="stable")[:MOST_CLASSES])
    entries = [
        LegendEntry(title=vocabulary.classes[i].title, share=_percent(shares[i]), colour=vocabulary.classes[i].colour)
        for i in order.tolist()
    ]
    hidden = len(vocabulary) - len(entries)
    return [*entries, LegendEntry(title=f"and {hidden} more", share="", colour=None)] if hidden else entries


def _short(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def muted(rgb: Array) -> Array:
    """Light grey tones of an image, over which colours keep their hue."""
    grey = np.tensordot((0.299, 0.587, 0.114), rgb, axes=1)
    return np.broadcast_to(0.25 + 0.75 * grey, rgb.shape)


def compose(
    panels: Sequence[Image.Image], entries: Sequence[LegendEntry], *, captions: Sequence[str] = ()
) -> Image.Image:
    """Panels side by side, one above the other if they are wide, each with its caption, and the legend below."""
    width, height = panels[0].size
    letters = font([entry.title for entry in entries])
    columns, column_width = _columns(entries, letters, width if width > 1.6 * height else 2 * width + GAP)
    rows, line = math.ceil(len(entries) / columns), TEXT_SIZE + 11
    canvas, top = arrange(panels, captions=captions, below=rows * line, least_width=columns * column_width)
    draw = ImageDraw.Draw(canvas)
    for i, entry in enumerate(entries):
        _draw_entry(draw, (MARGIN + i // rows * column_width, top + i % rows * line), entry, letters)
    return canvas


def _columns(entries: Sequence[LegendEntry], font: Font, width: int) -> tuple[int, int]:
    """How many columns the legend has, and their width: as many as fit."""
    widest = max((font.getlength(entry.title) + font.getlength(f"  {entry.share}") for entry in entries), default=0)
    column = math.ceil(widest) + SWATCH + 9 + 2 * GAP
    count = max(1, min(len(entries), (width + 2 * GAP) // column))
    return count, max(column, min(width // count, column + 3 * GAP))


def _draw_entry(draw: ImageDraw.ImageDraw, place: tuple[int, int], entry: LegendEntry, font: Font) -> None:
    x, y = place
    if entry.colour is not None:
        box = (x, y + 1, x + SWATCH, y + 1 + SWATCH)
        draw.rounded_rectangle(box, radius=3, fill=entry.colour, outline=_darker(entry.colour))
        x += SWATCH + 9
    middle = y + 1 + SWATCH / 2
    draw.text((x, middle), entry.title, fill=INK if entry.colour else FAINT, font=font, anchor="lm")
    x += math.ceil(font.getlength(entry.title + "  "))
    draw.text((x, middle), entry.share, fill=FAINT, font=font, anchor="lm")


def _darker(colour: Colour) -> Colour:
    red, green, blue = (round(part * 0.75) for part in colour)
    return red, green, blue
