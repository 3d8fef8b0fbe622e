"""Labels to polygons, strip by strip.

A strip of rows is cut into 4-connected components of equal label; components that meet across the border of
two strips are joined; those that no longer touch the open border are finished and handed out. Strips are
anchored at row 0 and of one height, however many rows the caller adds at a time, so the result does not
depend on that; and the polygons are those of the whole array in one shot, seams leave no vertex behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.geo.vectors.connected import connected
from earthwords.geo.vectors.rings import OpenOutlines, Rings
from earthwords.types import Grid, VectorLayer, Vocabulary

Array: TypeAlias = NDArray[Any]

_STRIP_PIXELS = 2**22
_STRIP_ROWS = 1024
_LAYER_POLYGONS = 2**14
"""Most that are handed out at once."""


def polygon_schema(grid: Grid) -> dict[str, str]:
    """Names and numpy types of the columns of the polygons of `grid`; `area_px` stands in without a CRS."""
    area = "area_px" if grid.crs is None else "area_m2"
    return {"id": "int64", "class": "str", "label": "int32", "score": "float32", area: "float64"}


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Components, each field `(n,)`."""

    label: Array
    pixels: Array
    score: Array
    """Sum over the pixels."""
    area: Array
    """Square metres, or pixels without a CRS."""

    def __len__(self) -> int:
        return len(self.label)

    def grouped(self, group: Array, count: int) -> _Table:
        """Components of equal `group` become one; they have the same label."""
        label = np.zeros(count, self.label.dtype)
        label[group] = self.label
        pixels, score, area = (
            np.bincount(group, weights=values, minlength=count) for values in (self.pixels, self.score, self.area)
        )
        return _Table(label=label, pixels=pixels, score=score, area=area)

    def take(self, index: Array | slice) -> _Table:
        return _Table(
            label=self.label[index], pixels=self.pixels[index], score=self.score[index], area=self.area[index]
        )

    def join(self, other: _Table) -> _Table:
        return _Table(
            label=np.concatenate([self.label, other.label]),
            pixels=np.concatenate([self.pixels, other.pixels]),
            score=np.concatenate([self.score, other.score]),
            area=np.concatenate([self.area, other.area]),
        )


_NO_COMPONENTS = _Table(label=np.zeros(0, np.int32), pixels=np.zeros(0), score=np.zeros(0), area=np.zeros(0))


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """Components that ended in a strip."""

    table: _Table
    component: Array
    """`(n,)` their numbers in `rings`, ascending."""
    rings: tuple[Rings, ...]
    count: int
    """Components before these."""


class PolygonCollector:
    """Takes rows of labels and gives polygons with class, score and area.

    Memory holds one strip of at most about four million pixels, and 4 bytes for each corner of the polygons that
    are still open (4 more for each of their holes). A polygon that ends takes 44 bytes a corner, and 150 a hole, for
    the moment in which it is made; 24 and 150 stay in the geometry. `simplify` takes GEOS several hundred a corner.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        vocabulary: Vocabulary,
        min_area: float = 0.0,
        simplify: float = 0.0,
        strip_rows: int | None = None,
    ) -> None:
        """
        Args:
            grid: of the labels; polygons come out in its CRS.
            vocabulary: titles of the labels; its nodata label makes no polygons.
            min_area: smaller polygons are left out, in square metres (pixels without a CRS).
            simplify: tolerance of the outline in metres (pixels without a CRS); 0 keeps every corner.
            strip_rows: rows worked on at once; found from the width by default.

        Raises:
            UsageError: a negative `min_area` or `simplify`.
        """
        if min_area < 0 or simplify < 0:
            raise UsageError(f"Areas and tolerances cannot be negative, got {min_area:g} and {simplify:g}.")
        self.grid = grid
        self.vocabulary = vocabulary
        self._min_area = min_area
        self._tolerance = simplify / (grid.gsd_m or 1.0)
        self._move = np.asarray if self._tolerance else self._to_crs
        self._areas = PixelAreas(grid)
        self._strip_rows = strip_rows or max(1, min(_STRIP_ROWS, _STRIP_PIXELS // grid.width))
        self._pending: list[tuple[Array, Array]] = []
        self._received = self._done = self._count = 0
        self._ready: list[_Finished] = []
        self._open, self._outlines = _NO_COMPONENTS, OpenOutlines()
        self._border = np.full(grid.width, -1)
        """`(col,)`: which open component the last finished row belongs to, -1 for none."""

    def add(self, row: int, labels: Array, score: Array) -> None:
        """The next full-width rows, the first of them being `row`.

        Args:
            row: must be where the last call ended.
            labels: `(row, col)` class index, or the vocabulary's nodata.
            score: `(row, col)` float, averaged over each polygon.

        Raises:
            UsageError: rows out of order, a wrong shape, or a label without a class.
        """
        self._check(row, labels, score)
        self._pending.append((np.array(labels, np.int32), np.array(score, np.float32)))
        self._received += len(labels)
        while self._received - self._done >= self._strip_rows:
            self._work()

    def drain(self) -> Iterator[VectorLayer]:
        """The polygons finished since the last call; their `id` goes up from 1."""
        while self._ready:
            done = self._ready.pop(0)
            for start in range(0, len(done.component), _LAYER_POLYGONS):
                yield self._layer(done, slice(start, start + _LAYER_POLYGONS))

    def finish(self) -> Iterator[VectorLayer]:
        """The rest, after the last row was added.

        Raises:
            UsageError: rows are missing.
        """
        if self._received != self.grid.height:
            raise UsageError(f"Only {self._received} of {self.grid.height} rows were added.")
        while self._done < self._received:
            self._work()
        return self.drain()

    def _check(self, row: int, labels: Array, score: Array) -> None:
        stop = row + len(labels)
        if row != self._received or stop > self.grid.height:
            raise UsageError(
                f"Rows must come in order: expected row {self._received} of {self.grid.height}, got rows {row}..{stop}."
            )
        if labels.shape != (len(labels), self.grid.width) or score.shape != labels.shape:
            raise UsageError(
                f"Labels and score must be (rows, {self.grid.width}), got {labels.shape} and {score.shape}."
            )
        highest = labels.max(initial=0, where=labels != self.vocabulary.nodata)
        if highest >= len(self.vocabulary):
            raise UsageError(f"Label {highest} belongs to none of the {len(self.vocabulary)} classes.")

    def _work(self) -> None:
        """Cut the next strip into components, join them to the open ones, finish those that end here."""
        row, (labels, score) = self._done, self._next_strip()
        self._done += len(labels)
        ids, local = _components(labels, score, self._areas.block(row, len(labels)))
        group, merged = self._merge(ids[0], local)
        before, here = group[: len(self._open)], group[len(self._open) :]
        loud = merged.label != self.vocabulary.nodata
        still_open = np.zeros(len(merged), bool)
        if self._done < self.grid.height:
            still_open[here[ids[-1]]] = True
            still_open &= loud
        wanted = loud & (still_open | (merged.area >= self._min_area))
        number = np.arange(len(merged), dtype=np.int32)
        rings = self._outlines.advance(
            self._framed(np.where(wanted, number, -1), before, here, ids),
            row=row,
            before=before,
            twin=np.where(still_open, merged.label, -1 - number),
            wanted=wanted,
            still_open=still_open,
        )
        ended = np.flatnonzero(wanted & ~still_open)
        self._ready.append(_Finished(table=merged.take(ended), component=ended, rings=rings, count=self._count))
        self._count += len(ended)
        self._reopen(np.flatnonzero(still_open), merged, here[ids[-1]])

    def _framed(self, known: Array, before: Array, here: Array, ids: Array) -> Array:
        """Components of the strip's pixels, with the row above and, around the grid, a frame of -1."""
        ending = self._done == self.grid.height
        framed = np.full((1 + len(ids) + ending, self.grid.width + 2), -1, np.int32)
        framed[0, 1:-1] = np.where(self._border >= 0, np.append(known[before], -1)[self._border], -1)
        framed[1 : 1 + len(ids), 1:-1] = known[here][ids]
        return framed

    def _next_strip(self) -> tuple[Array, Array]:
        """`(labels, score)` of the next rows, at most a strip of them."""
        labels, score = (np.concatenate(blocks) for blocks in zip(*self._pending, strict=True))
        rest = self._strip_rows
        self._pending = [(labels[rest:], score[rest:])] if len(labels) > rest else []
        return labels[:rest], score[:rest]

    def _merge(self, top: Array, local: _Table) -> tuple[Array, _Table]:
        """Join open and new components that touch across the border with equal labels.

        Returns the group of each open, then of each new component, and the table of groups.
        """
        both = self._open.join(local)
        known = np.flatnonzero(self._border >= 0)
        pairs = np.stack([self._border[known], top[known] + len(self._open)])
        pairs = pairs[:, both.label[pairs[0]] == both.label[pairs[1]]]
        count, group = connected(pairs[0], pairs[1], len(both))
        return group, both.grouped(group, count)

    def _reopen(self, groups: Array, merged: _Table, last_row: Array) -> None:
        """Remember the groups that touch the last row."""
        place = np.full(len(merged), -1)
        place[groups] = np.arange(len(groups))
        self._border = place[last_row]
        self._open = merged.take(groups)

    def _layer(self, done: _Finished, part: slice) -> VectorLayer:
        """Some components of a strip with their polygons, which take far more memory than their rings."""
        table, component = done.table.take(part), done.component[part]
        geometries = np.full(component[-1] - component[0] + 1, None, object)
        for rings in done.rings:
            groups, polygons = rings.between(component[0], component[-1]).polygons(self._move)
            geometries[groups - component[0]] = polygons
        geometries = geometries[component - component[0]]
        if self._tolerance:
            geometries = shapely.transform(_simplified(geometries, self._tolerance), self._to_crs)
        schema = polygon_schema(self.grid)
        values = {
            "id": done.count + 1 + np.arange(part.start, part.start + len(table)),
            "class": np.array(self.vocabulary.titles, object)[table.label],
            "label": table.label,
            "score": table.score / table.pixels,
            f"area_{self._areas.unit}": table.area,
        }
        columns = {
            name: value if schema[name] == "str" else value.astype(schema[name]) for name, value in values.items()
        }
        return VectorLayer(geometries=geometries, columns=columns, crs=self.grid.crs)

    def _to_crs(self, places: Array) -> Array:
        """`(n, 2)` corners in pixels to `(x, y)`."""
        return np.stack(pixel_to_crs(self.grid, places[:, 0], places[:, 1]), axis=1)


def _components(labels: Array, score: Array, areas: Array) -> tuple[Array, _Table]:
    """4-connected components of equal label.

    Works on runs of equal labels in a row, far fewer than pixels: runs overlapping in adjacent rows are
    linked. Returns the component of each pixel `(row, col)` int32, and the table of components.
    """
    starts = np.ones(labels.shape, bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = np.cumsum(starts, dtype=np.int32).reshape(labels.shape) - 1
    meet = (labels[1:] == labels[:-1]) & (starts[1:] | starts[:-1])
    first = np.flatnonzero(starts)
    count, component = connected(run[:-1][meet], run[1:][meet], len(first))
    runs = _Table(
        label=labels.ravel()[first],
        pixels=np.diff(first, append=labels.size),
        score=np.add.reduceat(score.ravel(), first, dtype=np.float64),
        area=np.add.reduceat(np.broadcast_to(areas, labels.shape).ravel(), first),
    )
    return component.astype(np.int32)[run], runs.grouped(component, count)


def _simplified(polygons: Array, tolerance: float) -> Array:
    """Outlines with fewer corners; a polygon that would become invalid stays as it is."""
    simple = shapely.simplify(polygons, tolerance, preserve_topology=True)
    fine = shapely.is_valid(simple) & ~shapely.is_empty(simple) & (shapely.get_type_id(simple) == 3)
    return np.where(fine, simple, polygons)
