"""From a mapped scene to candidates, never more than a bound: cells for points, or tiles of cells."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.inference.suggest import strategic
from earthwords.inference.suggest.lattice import CellFigures, Coverage, Lattice
from earthwords.inference.suggest.marked import MarkSet
from earthwords.inference.suggest.regions import TileView, tile_view
from earthwords.inference.suggest.sources import Mapped
from earthwords.jobs.job import Tick
from earthwords.types import Grid, Window

MOST = 2**15
"""Candidates of all scenes that are compared."""
MOST_TILES = 2**11
"""Tiles of all scenes."""
MOST_MARKS = 2**10
"""Marks of a scene whose features are looked at."""
TILES_AT_ONCE = 32
TILE_FEATURES = 16
"""Cells of a tile whose features are averaged."""


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """What candidates are."""

    tile: int | None
    """Pixels along the side of a tile; None: candidates are points."""
    most: int
    """Candidates of a scene."""
    key: str = "margin"
    """What thins candidates: the largest `margin`, `entropy`, or at `random`."""
    edges: bool = False
    """Tiles need the density of their edges."""
    regions: bool = False
    """Tiles need what FAST compares."""
    features: bool = True
    """Whether features are needed at all."""


@dataclass(kw_only=True)
class Scanned:
    """Candidates of a scene and what is known of it."""

    name: str
    grid: Grid
    titles: tuple[str, ...]
    side: int
    threshold: float
    coverage: Coverage
    cells: CellFigures
    """`(n,)`: a candidate each; of a tile its means, at the middle of its most uncertain cell."""
    windows: list[Window]
    """Of tiles; empty for points."""
    features: NDArray[np.float32]
    """`(n, dim)`"""
    known: NDArray[np.float32]
    """`(m, dim)` of marked places."""
    known_classes: list[str]
    views: list[TileView] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)
    marks: int = 0
    """Marked places in the scene."""
    avoided: int = 0
    """Cells or tiles left out because something is marked there."""
    empty_tiles: int = 0
    """Tiles of which too little was observed."""
    thinned: int = 0
    """Cells along the side of the block that gives one candidate, 0 for 1; of tiles: how many were left out."""
    notes: tuple[str, ...] = ()


def scan(
    mapped: Mapped, options: ScanOptions, marks: MarkSet | None, random: np.random.Generator, tick: Tick
) -> Scanned:
    """The candidates of a scene."""
    lattice = Lattice(mapped.grid.shape, mapped.side, classes=len(mapped.titles), threshold=mapped.threshold)
    shapes, classes = (None, None) if marks is None else marks.in_pixels(mapped.grid, mapped.name)
    near = _Marked(shapes, mapped.side, mapped.grid.shape)
    out = Scanned(
        name=mapped.name, grid=mapped.grid, titles=mapped.titles, side=mapped.side,
        threshold=mapped.threshold, coverage=lattice.coverage,
        cells=_no_cells(len(mapped.titles)), windows=[], features=np.zeros((0, 1), np.float32),
        known=np.zeros((0, 1), np.float32), known_classes=[], marks=len(near), notes=mapped.notes,
    )  # fmt: skip
    if options.tile is None:
        _points(lattice, mapped, options, near, random, tick, out)
    else:
        _tiles(lattice, mapped, options, near, random, tick, out)
    if len(near) and len(out.cells) and options.features:
        places = near.places(random)
        at = _cells_at(places, out.cells)
        out.known = mapped.features(at)
        assert classes is not None
        out.known_classes = [str(classes[i]) for i in near.which]
    return out


class _Marked:
    """Marked places of a scene, in pixels."""

    def __init__(self, shapes: NDArray[np.object_] | None, side: int, shape: tuple[int, int]) -> None:
        self.shapes = np.array([], object) if shapes is None else shapes
        self.tree = shapely.STRtree(self.shapes)
        self.side = side
        self.shape = shape
        self.which: NDArray[np.int64] = np.arange(0)
        """Of the shapes, those that `places` gave."""

    def __len__(self) -> int:
        return len(self.shapes)

    def near(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`(n,)` whether a mark lies within a cell's side of pixels."""
        out = np.zeros(len(rows), bool)
        if len(self) and len(rows):
            hits = self.tree.query(shapely.points(cols + 0.5, rows + 0.5), predicate="dwithin", distance=self.side)
            out[hits[0]] = True
        return out

    def inside(self, window: Window) -> bool:
        """Whether a mark touches a tile."""
        box = shapely.box(window.col, window.row, window.col_stop, window.row_stop)
        return bool(len(self) and len(self.tree.query(box, predicate="intersects")))

    def places(self, random: np.random.Generator) -> NDArray[np.int64]:
        """`(m, 2)` row and column of a pixel in each mark, in some of very many."""
        self.which = np.sort(random.permutation(len(self))[:MOST_MARKS])
        points = shapely.point_on_surface(
            shapely.intersection(self.shapes[self.which], shapely.box(0, 0, *self.shape[::-1]))
        )
        places = np.floor(np.stack([shapely.get_y(points), shapely.get_x(points)], axis=1))
        found: NDArray[np.int64] = np.clip(places, 0, np.array(self.shape) - 1).astype(np.int64)
        return found


def _points(
    lattice: Lattice, mapped: Mapped, options: ScanOptions, near: _Marked, random: np.random.Generator, tick: Tick,
    out: Scanned,
) -> None:  # fmt: skip
    rows, cols = lattice.size
    block = max(1, math.ceil(math.sqrt(rows * cols / options.most)))
    while math.ceil(rows / block) * math.ceil(cols / block) > options.most:
        block += 1
    out.thinned = block if block > 1 else 0
    found: list[CellFigures] = []
    for band in lattice.bands(mapped.strips(tick), block):
        free = band.usable.copy()
        at = np.nonzero(free)
        taken = near.near(band.rows[at], band.cols[at])
        free[tuple(index[taken] for index in at)] = False
        out.avoided += int(taken.sum())
        found.append(band.at(_best(band, free, block, options.key, random)))
    out.cells = CellFigures.joined(found)
    if options.features and len(out.cells):
        out.features = mapped.features(out.cells)


def _best(
    band: CellFigures, free: NDArray[np.bool_], block: int, key: str, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the best free cell of every block."""
    rows, cols = free.shape
    values = random.random(free.shape) if key == "random" else vars(band)[key]
    wide = math.ceil(cols / block)
    padded = np.full((rows, wide * block), -np.inf)
    padded[:, :cols] = np.where(free, values, -np.inf)
    blocks = padded.reshape(rows, wide, block).transpose(1, 0, 2).reshape(wide, rows * block)
    best = blocks.argmax(axis=1)
    there = np.flatnonzero(np.isfinite(blocks[np.arange(wide), best]))
    down, across = np.divmod(best[there], block)
    return down, there * block + across


@dataclass(order=True)
class _Tile:
    """A tile on the heap: the least wanted is first out."""

    value: float
    number: int
    window: Window = field(compare=False)
    cells: CellFigures = field(compare=False)


def _tiles(
    lattice: Lattice, mapped: Mapped, options: ScanOptions, near: _Marked, random: np.random.Generator, tick: Tick,
    out: Scanned,
) -> None:  # fmt: skip
    assert options.tile is not None
    cells = max(1, round(options.tile / lattice.side))
    kept: list[_Tile] = []
    number, seen = 0, 0.0
    for band in lattice.bands(mapped.strips(tick), cells):
        for first in range(0, band.rows.shape[1], cells):
            part = band.part(slice(None), slice(first, first + cells))
            window = _window(part, lattice, first)
            whole = min(cells * lattice.side, lattice.shape[0]), min(cells * lattice.side, lattice.shape[1])
            full = (window.height, window.width) == whole
            if not full or part.usable.mean() <= 1 - strategic.MOST_EMPTY:
                out.empty_tiles += 1
                continue
            if near.inside(window):
                out.avoided += 1
                continue
            number += 1
            seen += window.height * window.width * float(part.usable.mean())
            value = float(random.random()) if options.key == "random" else float(part.margin[part.usable].mean())
            entry = _Tile(value=value, number=number, window=window, cells=part)
            if len(kept) < options.most:
                heapq.heappush(kept, entry)
            else:
                heapq.heappushpop(kept, entry)
                out.thinned += 1
    out.coverage.considered = round(seen)
    kept.sort(key=lambda tile: tile.number)
    out.windows = [tile.window for tile in kept]
    if not kept:
        return
    out.cells = CellFigures.joined([_as_one(tile.cells) for tile in kept])
    _describe(kept, mapped, options, out)


def _describe(tiles: list[_Tile], mapped: Mapped, options: ScanOptions, out: Scanned) -> None:
    """Features, edges and regions of tiles, some tiles at a time: neighbours share windows of the model."""
    features: list[NDArray[np.floating]] = []
    for first in range(0, len(tiles), TILES_AT_ONCE):
        some = tiles[first : first + TILES_AT_ONCE]
        if options.features:
            cells = [tile.cells.at(_looked_at(tile.cells, everything=options.regions)) for tile in some]
            found = mapped.features(CellFigures.joined(cells))
            parts = np.split(found, np.cumsum([len(own) for own in cells])[:-1])
            features += [part.mean(axis=0) for part in parts]
            if options.regions:
                for tile, part in zip(some, parts, strict=True):
                    dense = np.zeros((*tile.cells.usable.shape, part.shape[1]), np.float32)
                    dense[np.nonzero(tile.cells.usable)] = part
                    out.views.append(tile_view(tile.cells, dense))
        if options.edges:
            pictures = (mapped.picture(tile.window) for tile in some)
            out.edges += [
                math.nan if picture is None else strategic.edge_density(picture.astype(np.float64))
                for picture in pictures
            ]
    if features:
        stacked = np.stack(features).astype(np.float32)
        out.features = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), np.float32(1e-9))


def _looked_at(cells: CellFigures, *, everything: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of usable cells of a tile: all, or some at even steps."""
    rows, cols = np.nonzero(cells.usable)
    if everything or len(rows) <= TILE_FEATURES:
        return rows, cols
    some = np.linspace(0, len(rows) - 1, TILE_FEATURES).round().astype(np.int64)
    return rows[some], cols[some]


def _window(part: CellFigures, lattice: Lattice, first: int) -> Window:
    """The pixels of a tile of cells."""
    side = lattice.side
    row, col = int(part.rows[0, 0]) // side * side, first * side
    height = min(part.rows.shape[0] * side, lattice.shape[0] - row)
    return Window(row=row, col=col, height=height, width=min(part.rows.shape[1] * side, lattice.shape[1] - col))


def _as_one(cells: CellFigures) -> CellFigures:
    """A tile as one candidate, at the middle of its most uncertain cell."""
    inside = _looked_at(cells, everything=True)
    own = cells.at(inside)
    at = int(own.margin.argmax())
    means = {name: value.mean(axis=-1, keepdims=True) for name, value in vars(own).items() if name not in _PLACE}
    return CellFigures(**means, rows=own.rows[[at]], cols=own.cols[[at]], usable=np.ones(1, bool))


_PLACE = ("rows", "cols", "usable")


def _cells_at(places: NDArray[np.int64], cells: CellFigures) -> CellFigures:
    """Cells at other places, which are taken to be as the nearest candidate where no model is asked."""
    tree = shapely.STRtree(shapely.points(cells.cols, cells.rows))
    nearest = tree.nearest(shapely.points(places[:, 1], places[:, 0]))
    alike = cells.at((np.asarray(nearest, np.int64),))
    return replace(alike, rows=places[:, 0], cols=places[:, 1])


def _no_cells(classes: int) -> CellFigures:
    none = np.zeros(0)
    return CellFigures(
        rows=none.astype(np.int64), cols=none.astype(np.int64), probabilities=np.zeros((classes, 0)),
        labels=np.zeros((classes, 0)), margin=none, entropy=none, colour=np.zeros((3, 0)), usable=none.astype(bool),
    )  # fmt: skip
