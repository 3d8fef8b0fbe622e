"""Outlines of components that grow strip by strip, in 4 bytes a corner.

Each strip is traced once (see `_trace`). Chains with open ends are linked to those of the strips above by the
column in which they cross the border; a chain whose ends meet is a ring of its component. Two pixels that touch
at a corner only may become one component further down: the ring that passes such a corner twice is split
there into simple ones, which is always right (components are connected by sides, so the parts of the outside that
meet in corners around one form a tree).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_CHUNK = 4096
"""Numbers in an array that is still worth copying to add more."""
_BLOCK = 2**20
"""Corners moved to the CRS at once."""


@dataclass(frozen=True, kw_only=True)
class Rings:
    """Rings of some components, in ascending order of these, in the numbers of `_trace`."""

    values: Array
    starts: Array
    """`(ring,)` where in `values` its numbers begin."""
    sizes: Array
    """`(ring,)` how many they are."""
    group: Array
    """`(ring,)` component."""

    def between(self, first: int, last: int) -> Rings:
        """Those of the components from `first` to `last`, inclusive; shares the numbers."""
        part = slice(*np.searchsorted(self.group, [first, last + 1]))
        return Rings(values=self.values, starts=self.starts[part], sizes=self.sizes[part], group=self.group[part])

    def polygons(self, move: Callable[[Array], Array]) -> tuple[Array, Array]:
        """`(component,)` those that have rings, and their polygons.

        Args:
            move: takes corners `(n, 2)`, x = column and y = row in pixels, to where they are wanted.
        """
        from earthwords.geo.vectors._trace import are_shells, corners

        order = np.lexsort([~are_shells(self.values, self.starts, self.sizes), self.group])
        sizes = self.sizes[order]
        places = corners(self.values, self.starts[order], sizes)
        for start in range(0, len(places), _BLOCK):
            places[start : start + _BLOCK] = move(places[start : start + _BLOCK])
        groups, first = np.unique(self.group[order], return_index=True)
        ring_ends = np.concatenate([[0], np.cumsum(sizes + 1)])
        polygon_ends = np.append(first, len(order))
        return groups, shapely.from_ragged_array(shapely.GeometryType.POLYGON, places, (ring_ends, polygon_ends))


@dataclass
class _Chunks:
    """A row of int32 that grows at its ends without being copied as a whole."""

    parts: list[Array] = field(default_factory=list)

    def append(self, values: Array) -> None:
        if self.parts and len(self.parts[-1]) + len(values) <= _CHUNK:
            self.parts[-1] = np.concatenate([self.parts[-1], values], dtype=np.int32)
        elif len(values):
            self.parts.append(np.array(values, np.int32))

    def extend(self, other: _Chunks) -> None:
        """Take over what is in `other`, which must not be used afterwards."""
        if not self.parts:
            self.parts = other.parts
        elif other.parts:
            self.append(other.parts[0])
            self.parts += other.parts[1:]

    def take(self) -> Array:
        """All of it; empty afterwards."""
        whole = np.concatenate([np.zeros(0, np.int32), *self.parts])
        self.parts = []
        return whole


@dataclass
class _Store:
    """Finished rings of a component."""

    values: _Chunks = field(default_factory=_Chunks)
    sizes: _Chunks = field(default_factory=_Chunks)

    def append(self, values: Array, sizes: Array) -> None:
        self.values.append(values)
        self.sizes.append(sizes)

    def extend(self, other: _Store) -> None:
        self.values.extend(other.values)
        self.sizes.extend(other.sizes)


@dataclass(kw_only=True)
class _Outlines:
    """What `trace` found in a strip, `(outline,)` each."""

    values: Array
    starts: Array
    sizes: Array
    group: Array
    enter: Array
    leave: Array


class OpenOutlines:
    """Rings and chains of the components that reach the last row seen."""

    def __init__(self) -> None:
        self._stores: dict[int, _Store] = {}
        """By open component."""
        self._chains: list[_Chunks] = []
        self._heads = self._tails = np.zeros(0, np.int64)
        """`(col + 1,)` the chain that goes on along the left side, and that which does along the right side, of
        a pixel of the last row: there the first begins and the second ends."""

    def advance(
        self, ids: Array, *, row: int, before: Array, twin: Array, wanted: Array, still_open: Array
    ) -> tuple[Rings, Rings]:
        """Take in a strip and give the rings of the components that lie in it, and of the others that end in it.

        Args:
            ids: `(1 + row + 1 if it ends the grid, 1 + col + 1)` int32, the component of each pixel; first comes the
                last row of the strip above; -1 around the grid and for unwanted components.
            row: at which the strip begins.
            before: `(open,)` component of each that was open; those of the next strip will be those open now.
            twin: `(component,)` those of equal value may become one later.
            wanted: `(component,)` bool, others are forgotten.
            still_open: `(component,)` bool, reaches the last row.
        """
        from earthwords.geo.vectors._trace import trace

        values, table = trace(ids, twin, row)
        ends, group, enter, leave = np.ascontiguousarray(table.reshape(-1, 4).T)
        starts = np.concatenate([[0], ends])[:-1]
        found = _Outlines(values=values, starts=starts, sizes=ends - starts, group=group, enter=enter, leave=leave)
        crossing = still_open.copy()
        crossing[before] = True
        stores = self._regrouped(before, wanted)
        self._link(found, stores, ids.shape[1])
        _store(found, np.flatnonzero((enter < 0) & crossing[group]), stores)
        whole = np.flatnonzero((enter < 0) & ~crossing[group])
        whole = whole[np.argsort(group[whole], kind="stable")]
        ended = {group: stores.pop(group) for group in sorted(stores) if not still_open[group]}
        place = np.cumsum(still_open) - 1
        self._stores = {int(place[group]): store for group, store in stores.items()}
        inner = Rings(values=values, starts=starts[whole], sizes=found.sizes[whole], group=group[whole])
        return inner, _released(ended)

    def _regrouped(self, before: Array, wanted: Array) -> defaultdict[int, _Store]:
        """The stores of the components as they are now; those that have become one share one."""
        stores: defaultdict[int, _Store] = defaultdict(_Store)
        for index, store in self._stores.items():
            group = int(before[index])
            if wanted[group]:
                stores[group].extend(store)
        self._stores = {}
        return stores

    def _link(self, found: _Outlines, stores: dict[int, _Store], cols: int) -> None:
        """Join chains over the border; those that close go to `stores`."""
        from earthwords.geo.vectors._trace import chase

        older, pieces = self._chains, np.flatnonzero(found.enter >= 0)
        enter, leave = found.enter[pieces], found.leave[pieces]
        after = np.full(len(older) + len(pieces), -1)
        above = np.flatnonzero(enter < cols)
        after[self._tails[enter[above]]] = len(older) + above
        above = np.flatnonzero(leave < cols)
        after[len(older) + above] = self._heads[leave[above]]
        self._chains, self._heads, self._tails = [], np.full(cols, -1), np.full(cols, -1)
        order, ends, closed = chase(after)
        for nodes, ring in zip(np.split(order, ends)[:-1], closed.tolist(), strict=True):
            first, last = int(nodes[0]) - len(older), int(nodes[-1]) - len(older)
            if last < 0 and not ring:  # a chain of a component that is not wanted any more
                continue
            chain = _Chunks()
            for node in nodes.tolist():
                if node < len(older):
                    chain.extend(older[node])
                else:
                    piece = pieces[node - len(older)]
                    chain.append(found.values[found.starts[piece] :][: found.sizes[piece]])
            if ring:
                group = found.group[pieces[nodes[nodes >= len(older)][0] - len(older)]]
                stores[int(group)].append(*_simple(chain.take()))
            else:
                self._heads[enter[first] - cols] = self._tails[leave[last] - cols] = len(self._chains)
                self._chains.append(chain)


def _store(found: _Outlines, rings: Array, stores: dict[int, _Store]) -> None:
    """Copy the rings of components that reach beyond the strip."""
    from earthwords.geo.vectors._trace import take_slices

    rings = rings[np.argsort(found.group[rings], kind="stable")]
    sizes = found.sizes[rings]
    values = take_slices(found.values, found.starts[rings], sizes)
    groups, first = np.unique(found.group[rings], return_index=True)
    ring_ends = np.append(first, len(rings))
    value_ends = np.concatenate([[0], np.cumsum(sizes)])[ring_ends]
    for i, group in enumerate(groups.tolist()):
        numbers = values[value_ends[i] : value_ends[i + 1]]
        stores[group].append(numbers, sizes[ring_ends[i] : ring_ends[i + 1]])


def _released(stores: dict[int, _Store]) -> Rings:
    """The rings of all `stores`, which are empty afterwards."""
    values, sizes = _Chunks(), _Chunks()
    counts = [sum(map(len, store.sizes.parts)) for store in stores.values()]
    for store in stores.values():
        values.extend(store.values)
        sizes.extend(store.sizes)
    stores_of = np.repeat(np.array(list(stores), np.int64), counts)
    stores.clear()
    lengths = sizes.take().astype(np.int64)
    return Rings(values=values.take(), starts=np.cumsum(lengths) - lengths, sizes=lengths, group=stores_of)


def _simple(ring: Array) -> tuple[Array, Array]:
    """Split a ring where it passes a marked corner twice; returns the numbers of all parts, and their sizes."""
    from earthwords.geo.vectors._trace import chase, take_slices

    marks = np.flatnonzero(ring < 0)
    own, other = ~ring[marks].astype(np.int64), ring[marks - 1].astype(np.int64)
    other ^= other >> 63
    vertical = marks % 2 == 0
    corner = np.where(vertical, own, other) << 32 | np.where(vertical, other, own)
    order = np.argsort(corner, kind="stable")
    twice = np.flatnonzero(corner[order[1:]] == corner[order[:-1]])
    ring = ring ^ (ring >> 31)
    if not len(twice):
        return ring, np.array([len(ring)])
    first, second = marks[order[twice]], marks[order[twice + 1]]
    cuts = np.sort(np.concatenate([first, second]))
    i, j = np.searchsorted(cuts, first), np.searchsorted(cuts, second)
    after = np.empty(len(cuts), np.int64)
    after[i - 1], after[j - 1] = j, i
    cuts += cuts % 2  # both corners have the same row, so the cut can lie before it: parts begin with a row
    sizes = np.diff(cuts, append=cuts[0] + len(ring))
    order, ends, _ = chase(after)
    parts = take_slices(np.roll(ring, -cuts[0]), (cuts - cuts[0])[order], sizes[order])
    return parts, np.add.reduceat(sizes[order], np.concatenate([[0], ends[:-1]]))
