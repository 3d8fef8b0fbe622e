"""A page with a map that opens from the disk: picture, classes over it, figures and notes, all in one file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from affine import Affine
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from earthwords.mask_set import MaskSet
from earthwords.types import Colour, Grid
from earthwords.viz.count_preview import DOT, SMALLEST_BOX
from earthwords.viz.panels import Array, Averages, to_bytes
from earthwords.viz.preview import middles

MOST_SIDE = 2000
"""Pixels; a larger scene is averaged down to it."""
NONE = 65535
"""What pixels without a class are in the picture of labels."""
_FOLDER = Path(__file__).parent / "page"


@dataclass(frozen=True, kw_only=True)
class PageRow:
    """A line of the legend."""

    title: str
    cells: tuple[str, ...]
    label: int = NONE
    colour: Colour | None = None
    """None: it is not on the map."""


@dataclass(frozen=True, kw_only=True)
class PageText:
    """What the page says beside the map."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[PageRow, ...]
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = field(default=())
    """Lines below: how it was made."""


def file_name(source: str) -> str:
    """Of a path or a URL the last part: a page is sent to people whom folders do not concern."""
    return source.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or source


class MapPage:
    """Takes full-width rows of one or more pictures and of labels, and makes the page."""

    def __init__(self, grid: Grid, *, pictures: Sequence[str] = ("picture",), max_side: int = MOST_SIDE) -> None:
        """
        Args:
            grid: of the rows to come.
            pictures: names of what is below the labels, such as of two dates.
            max_side: longest side of the map, pixels.
        """
        self.grid = grid
        self.names = tuple(pictures)
        self._pictures = [Averages(grid, 3, max_side=max_side) for _ in pictures]
        self.height, self.width = self._pictures[0].height, self._pictures[0].width
        self._rows, self._cols = middles(self.height, grid.height), middles(self.width, grid.width)
        self.labels: NDArray[np.uint16] = np.full((self.height, self.width), NONE, np.uint16)
        """`(row, col)` of the map."""

    def add(self, row: int, pictures: Sequence[Array], valid: Array, labels: Array | None = None) -> None:
        """Rows from `row` on: pictures `(3, row, col)` 0..1, and `(row, col)` True where something was observed.

        Args:
            labels: `(row, col)`, `NONE` where nothing is drawn.
        """
        for picture, rgb in zip(self._pictures, pictures, strict=True):
            picture.add(row, rgb, valid)
        if labels is not None:
            here = (self._rows >= row) & (self._rows < row + len(labels))
            shown = np.where(valid, labels, NONE)
            self.labels[here] = shown[self._rows[here] - row][:, self._cols]

    @property
    def size_note(self) -> str | None:
        """How much smaller the map is than the raster; None: it is not."""
        if (self.height, self.width) == self.grid.shape:
            return None
        whole = f"{self.grid.height:,} x {self.grid.width:,}"
        return f"The page shows {whole} pixels as {self.height:,} x {self.width:,}; a .tif or a folder has all of them."

    def html(self, text: PageText) -> str:
        """The page."""
        from earthwords import __version__

        environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
        script, style = ((_FOLDER / name).read_text("utf-8") for name in ("map.js", "map.css"))
        tall, wide = self.grid.height / self.height, self.grid.width / self.width
        t = self.grid.transform @ Affine.scale(wide, tall)
        degrees = self.grid.crs is not None and self.grid.crs.is_geographic
        rows = [{**vars(row), "colour": None if row.colour is None else _hex(row.colour)} for row in text.rows]
        return environment.get_template("map.html").render(
            title=text.title, columns=text.columns, rows=rows, notes=text.notes, facts=text.facts,
            script=Markup(script), style=Markup(style), script_hash=_hash(script), style_hash=_hash(style),
            width=self.width, height=self.height, transform=json.dumps(list(t)[:6]), unit="degree" if degrees else "",
            version=__version__, labels=_uri(self._coded()),
            pictures=[(n, _uri(to_bytes(p.means))) for n, p in zip(self.names, self._pictures, strict=True)],
        )  # fmt: skip

    def _coded(self) -> NDArray[np.uint8]:
        """Labels as colours `(row, col, 3)`: red the low byte, green the high one."""
        low, high = self.labels & 255, self.labels >> 8
        return np.stack([low, high, np.zeros_like(low)], axis=-1).astype(np.uint8)


def draw_things(page: MapPage, masks: MaskSet, centres: Array, *, points: bool) -> None:
    """Put things on a page: their pixels, or a dot where they are small.

    Args:
        centres: `(thing, 2)`: x, y in pixels of the grid.
        points: dots all of them, whatever their size.
    """
    across, down = page.width / page.grid.width, page.height / page.grid.height
    for (row, col, mask), (x, y), label in zip(masks, centres.tolist(), masks.classes.tolist(), strict=True):
        height, width = mask.shape
        top, left = int(row * down), int(col * across)
        bottom, right = int(np.ceil((row + height) * down)), int(np.ceil((col + width) * across))
        if points or max(bottom - top, right - left) < SMALLEST_BOX:
            _dot(page.labels, y * down, x * across, label)
            continue
        r = np.clip(((np.arange(top, bottom) + 0.5) / down - row).astype(np.int64), 0, height - 1)
        c = np.clip(((np.arange(left, right) + 0.5) / across - col).astype(np.int64), 0, width - 1)
        part = page.labels[top:bottom, left:right]
        part[mask[np.ix_(r, c)][: part.shape[0], : part.shape[1]]] = label


def _dot(labels: NDArray[np.uint16], row: float, col: float, label: int) -> None:
    top, left = max(0, int(row) - DOT), max(0, int(col) - DOT)
    part = labels[top : int(row) + DOT + 1, left : int(col) + DOT + 1]
    rows, cols = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    part[(rows + 0.5 - row) ** 2 + (cols + 0.5 - col) ** 2 <= DOT**2] = label


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
