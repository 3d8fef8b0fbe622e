"""A preview: the image, the classes over the image, a legend with shares, a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from earthwords.errors import UsageError
from earthwords.types import Colour, Grid, Vocabulary

Array: TypeAlias = NDArray[Any]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

OPACITY = 0.55
PAPER: Colour = (255, 255, 255)
EMPTY: Colour = (240, 240, 242)
"""Pixels without an observation."""
INK: Colour = (34, 38, 43)
FAINT: Colour = (118, 124, 132)
LINE: Colour = (208, 211, 216)

MARGIN = 24
GAP = 16
TEXT_SIZE = 15
SWATCH = 15
SMALLEST_SIDE = 480
"""Small scenes are enlarged by a whole number up to about this many pixels."""
MOST_CLASSES = 24
"""Longer legends end with the number of classes left out."""
LONGEST_TITLE = 40
"""Letters of a class shown in the legend."""

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
        if max_side < 16:
            raise UsageError(f"A picture needs a side of at least 16 pixels, got {max_side}.")
        self.grid = grid
        self.vocabulary = vocabulary
        shrink = min(1.0, max_side / max(grid.shape))
        self.height, self.width = (max(1, round(length * shrink)) for length in grid.shape)
        self._row_bin = np.arange(grid.height) * self.height // grid.height
        self._col_starts = -(-np.arange(self.width) * grid.width // self.width)
        self._middle_rows = _middles(self.height, grid.height)
        self._middle_cols = _middles(self.width, grid.width)
        self._sum = np.zeros((3, self.height, self.width))
        self._seen = np.zeros((self.height, self.width))
        self._labels = np.full((self.height, self.width), vocabulary.nodata, vocabulary.label_dtype)
        self._pixels = np.zeros(len(vocabulary), np.int64)

    def add(self, row: int, rgb: Array, labels: Array, valid: Array) -> None:
        """Rows from `row` on, in any order: image `(3, row, col)` 0..1, labels and valid `(row, col)`."""
        if labels.shape != valid.shape or rgb.shape != (3, *labels.shape) or labels.shape[1] != self.grid.width:
            raise UsageError(
                f"Rows of a picture must be (3, rows, {self.grid.width}) and twice (rows, {self.grid.width}), "
                f"got {rgb.shape}, {labels.shape} and {valid.shape}."
            )
        bins = self._row_bin[row : row + len(labels)]
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        self._sum[:, bins[starts]] += self._binned(np.where(valid, rgb, 0), starts)
        self._seen[bins[starts]] += self._binned(valid, starts)
        self._sample(row, np.where(valid, labels, self.vocabulary.nodata))
        known = labels[valid & (labels < len(self.vocabulary))]
        self._pixels += np.bincount(known.ravel(), minlength=len(self.vocabulary))

    @property
    def shares(self) -> NDArray[np.float64]:
        """`(class,)` share of the labelled pixels added so far, 0..1."""
        return self._pixels / max(1, int(self._pixels.sum()))

    def image(self) -> Image.Image:
        """The picture, RGB."""
        seen = self._seen > 0
        rgb = self._sum / np.maximum(self._seen, 1)
        zoom = max(1, SMALLEST_SIDE // max(self.height, self.width))
        panels = [
            _panel(_to_bytes(rgb), seen, zoom),
            _panel(overlay(_muted(rgb), self._labels, self.vocabulary), seen, zoom),
        ]
        sides = self.grid.ground_pixel_m
        if sides is not None:
            _draw_scale(panels[0], sides[0] * self.grid.width / (self.width * zoom))
        return _compose(panels, _legend(self.vocabulary, self.shares))

    def _binned(self, values: Array, row_starts: Array) -> Array:
        """Sums over the pixels of each pixel of the picture, given the first row of each of its rows."""
        rows = np.add.reduceat(values, row_starts, axis=-2, dtype=np.float64)
        return np.add.reduceat(rows, self._col_starts, axis=-1)

    def _sample(self, row: int, labels: Array) -> None:
        """Keep the label in the middle of each pixel of the picture."""
        here = (self._middle_rows >= row) & (self._middle_rows < row + len(labels))
        self._labels[here] = labels[self._middle_rows[here] - row][:, self._middle_cols]


def _middles(count: int, length: int) -> NDArray[np.int64]:
    """The pixels of an axis of `length` in the middle of each of `count` parts."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A line of the legend."""

    title: str
    share: str
    colour: Colour | None


def _legend(vocabulary: Vocabulary, shares: Array) -> list[_Entry]:
    """Classes in their order; of too many, those with the largest shares."""
    order = np.sort(np.argsort(-shares, kind="stable")[:MOST_CLASSES])
    entries = [
        _Entry(title=vocabulary.classes[i].title, share=_percent(shares[i]), colour=vocabulary.classes[i].colour)
        for i in order.tolist()
    ]
    hidden = len(vocabulary) - len(entries)
    return [*entries, _Entry(title=f"and {hidden} more", share="", colour=None)] if hidden else entries


def _short(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def _muted(rgb: Array) -> Array:
    """Light grey tones of an image, over which colours keep their hue."""
    grey = np.tensordot((0.299, 0.587, 0.114), rgb, axes=1)
    return np.broadcast_to(0.25 + 0.75 * grey, rgb.shape)


def _to_bytes(rgb: Array) -> NDArray[np.uint8]:
    """`(3, row, col)` 0..1 to `(row, col, 3)` 0..255."""
    return np.rint(np.moveaxis(np.clip(rgb, 0, 1), 0, -1) * 255.0).astype(np.uint8)


def _panel(pixels: NDArray[np.uint8], seen: Array, zoom: int) -> Image.Image:
    image = Image.fromarray(np.where(seen[..., None], pixels, np.array(EMPTY, np.uint8)))
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def _compose(panels: Sequence[Image.Image], entries: Sequence[_Entry]) -> Image.Image:
    """Panels side by side, one above the other if they are wide, and the legend below."""
    width, height = panels[0].size
    stacked = width > 1.6 * height
    step = (0, height + GAP) if stacked else (width + GAP, 0)
    inner = width + step[0]
    font = _font([entry.title for entry in entries])
    columns, column_width = _columns(entries, font, inner)
    line = TEXT_SIZE + 11
    top = MARGIN + height + step[1] + GAP + 4
    bottom = top + math.ceil(len(entries) / columns) * line
    canvas = Image.new("RGB", (max(inner, columns * column_width) + 2 * MARGIN, bottom + MARGIN - 8), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, panel in enumerate(panels):
        x, y = MARGIN + i * step[0], MARGIN + i * step[1]
        canvas.paste(panel, (x, y))
        draw.rectangle((x - 1, y - 1, x + width, y + height), outline=LINE)
    rows = math.ceil(len(entries) / columns)
    for i, entry in enumerate(entries):
        _draw_entry(draw, (MARGIN + i // rows * column_width, top + i % rows * line), entry, font)
    return canvas


def _columns(entries: Sequence[_Entry], font: Font, width: int) -> tuple[int, int]:
    """How many columns the legend has, and their width: as many as fit."""
    widest = max((font.getlength(entry.title) + font.getlength(f"  {entry.share}") for entry in entries), default=0)
    column = math.ceil(widest) + SWATCH + 9 + 2 * GAP
    count = max(1, min(len(entries), (width + 2 * GAP) // column))
    return count, max(column, min(width // count, column + 3 * GAP))


def _draw_entry(draw: ImageDraw.ImageDraw, place: tuple[int, int], entry: _Entry, font: Font) -> None:
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


def _draw_scale(panel: Image.Image, metres_per_pixel: float) -> None:
    """A bar of a round number of metres, white on a dark edge, at the bottom left."""
    length = round_length(0.3 * panel.width * metres_per_pixel)
    x, y = 14, panel.height - 16
    end = x + round(length / metres_per_pixel)
    draw = ImageDraw.Draw(panel)
    font = _font([])
    for colour, grow in ((INK, 2), ((255, 255, 255), 0)):
        draw.rectangle((x - grow, y - 1 - grow, end + grow, y + 1 + grow), fill=colour)
        for tick in (x, end):
            draw.rectangle((tick - 1 - grow, y - 6 - grow, tick + 1 + grow, y + 1 + grow), fill=colour)
        draw.rectangle((x, y - 1, end, y + 1), fill=colour)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    place = ((x + end) / 2, y - 10)
    draw.text(place, text, fill="white", font=font, anchor="ms", stroke_width=2, stroke_fill=INK)


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... (and 0.5, 0.2, ...) that does not exceed `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    digit = next(digit for digit in (5, 2, 1) if digit * power <= most * (1 + 1e-9))
    return float(f"{digit * power:g}")


def _font(texts: Sequence[str]) -> Font:
    """PIL's own font, or one of the system's where a title goes beyond Latin letters."""
    if any(ord(letter) > 0x24F for text in texts for letter in text):
        for name in WIDE_FONTS:
            try:
                return ImageFont.truetype(name, TEXT_SIZE)
            except OSError:
                continue
    return ImageFont.load_default(TEXT_SIZE)
