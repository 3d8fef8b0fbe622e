"""All things of an image measured at once, and which of them an expression means: the fast way, used to propose.

`judge` finds the same out by other means; only what both agree about is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.data.annotations.instances import Instances
from earthwords.data.expressions import colour_names
from earthwords.data.expressions.grammar import ADJECTIVES, ALL, NEAREST, PLACES, SIDES, Form

Floats = NDArray[np.float64]
Votes = NDArray[np.int8]
"""`(n,)` 1 yes, -1 no, 0 not clear. The opinion that is least sure counts: no before unclear before yes."""

INSIDE, OUTSIDE = 0.7, 0.3
"""Share of a thing's pixels in a place from which it is there, and up to which it is not."""
LARGEST = 1.35
"""How many times the next one the largest is, and the smallest in the next one."""
GAP, CLEARER = 2.0, 1.3
"""Least ratio of areas between `large` and `small`, and how much clearer than any other ratio it is."""
FURTHER = 0.06
"""Of a side of the image, between the outermost thing and the next."""
NEARER, AND_AT_LEAST = 1.4, 0.03
"""How many times as far the next one is, and how much further at least in parts of the image's diagonal."""
TOUCHING, APART = 0.012, 0.06
"""Of the diagonal: up to this distance things are beside each other, from that one on they are not."""
COMPACT = 0.5
"""Share of the image's side that a thing spans at most so that others lie left of it or above it."""
COMMON = 0.4
"""Share of the image from which a thing is too large to be near to."""

_CUTS = np.array([0.3, 0.4, 0.6, 0.7])
_CELLS = len(_CUTS) + 1


@dataclass(frozen=True)
class Measures:
    """Of the things of an image."""

    things: Instances
    rgb: NDArray[np.uint8]
    """`(row, col, 3)`."""

    @cached_property
    def members(self) -> dict[str, NDArray[np.int64]]:
        """Class -> positions of its things."""
        names = np.array(self.things.classes, dtype=object)
        return {str(name): np.flatnonzero(names == name) for name in sorted(set(self.things.classes))}

    @property
    def count(self) -> int:
        return len(self.things.classes)

    @cached_property
    def diagonal(self) -> float:
        return float(np.hypot(*self.things.ids.shape))

    @cached_property
    def area(self) -> Floats:
        """`(n,)` pixels."""
        return np.bincount(self.things.ids.ravel(), minlength=self.count + 1)[1:].astype(np.float64)

    @cached_property
    def boxes(self) -> Floats:
        """`(n, 4)` left, top, right, bottom in parts of the image's sides."""
        height, width = self.things.ids.shape
        return self.things.example.boxes / (width, height, width, height)

    @cached_property
    def at_border(self) -> NDArray[np.bool_]:
        """`(n,)` whether a thing goes on beyond the image, perhaps."""
        return np.asarray((self.boxes[:, :2] <= 0).any(axis=1) | (self.boxes[:, 2:] >= 1).any(axis=1))

    @cached_property
    def centre(self) -> Floats:
        """`(n, 2)` mean x and y of a thing's pixels in parts of the image's sides."""
        height, width = self.things.ids.shape
        rows, cols = np.mgrid[:height, :width]
        means = [
            np.bincount(self.things.ids.ravel(), (axis.ravel() + 0.5) / side, minlength=self.count + 1)[1:] / self.area
            for axis, side in ((cols, width), (rows, height))
        ]
        return np.stack(means, axis=1)

    @cached_property
    def shares(self) -> dict[str, Floats]:
        """Place -> `(n,)` share of a thing's pixels there."""
        height, width = self.things.ids.shape
        bands = [np.searchsorted(_CUTS, (np.arange(side) + 0.5) / side, side="right") for side in (height, width)]
        cell = bands[0][:, None] * _CELLS + bands[1][None]
        cells = np.bincount(
            (self.things.ids * _CELLS**2 + cell).ravel(), minlength=(self.count + 1) * _CELLS**2
        ).reshape(-1, _CELLS, _CELLS)[1:]
        starts, stops = np.concatenate([[0], _CUTS]), np.concatenate([_CUTS, [1]])
        found = {}
        for name, (left, top, right, bottom) in PLACES.items():
            rows = (starts >= top) & (stops <= bottom)
            cols = (starts >= left) & (stops <= right)
            found[name] = cells[:, rows][:, :, cols].sum(axis=(1, 2)) / self.area
        return found

    @cached_property
    def colour(self) -> dict[str, Votes]:
        """Colour -> whether the mean colour of a thing has that name."""
        if not self.things.solid:
            return {name: np.zeros(self.count, dtype=np.int8) for name in colour_names.NAMES}
        pixels = self.things.ids.ravel()
        lab = colour_names.lab(self.rgb).reshape(-1, 3)
        sums = [np.bincount(pixels, lab[:, band], minlength=self.count + 1)[1:] for band in range(3)]
        return colour_names.opinions(np.stack(sums, axis=1) / self.area[:, None])

    @cached_property
    def _distances(self) -> dict[tuple[int, ...], Floats]:
        return {}

    def distance(self, mark: tuple[int, ...]) -> Floats:
        """`(n,)` pixels between each thing and the things at the positions `mark`."""
        if mark not in self._distances:
            ids = self.things.ids
            away = ndimage.distance_transform_edt(~np.isin(ids, np.array(mark) + 1))
            self._distances[mark] = np.asarray(ndimage.minimum(away, ids, np.arange(1, self.count + 1)))
        return self._distances[mark]

    def select(self, form: Form) -> tuple[int, ...] | None:
        """Positions of the things that are meant, ascending; None if that is not clear."""
        members = self.members.get(form.name, np.zeros(0, dtype=np.int64))
        mark: tuple[int, ...] = ()
        if form.mark is not None:
            found = self.select(form.mark)
            if not found or set(found) & set(members.tolist()) or self.things.vague[list(found)].all():
                return None
            mark = found
        votes = self._filters(form, mark)[members]
        if (votes == 0).any():
            return None
        left = members[votes > 0]
        if form.superlative and len(left):
            return self._most(form, left, mark)
        return tuple(left.tolist())

    def _filters(self, form: Form, mark: tuple[int, ...]) -> Votes:
        votes = np.ones(self.count, dtype=np.int8)
        if form.colour:
            votes = np.minimum(votes, self.colour[form.colour])
        if form.place:
            share = self.shares[form.place]
            votes = np.minimum(votes, np.where(share >= INSIDE, 1, np.where(share <= OUTSIDE, -1, 0)))
        if form.size in ADJECTIVES:
            votes = np.minimum(votes, self._adjective(form))
        if form.relation in SIDES:
            votes = np.minimum(votes, self._beside(mark) if form.relation == "beside" else self._aside(form, mark))
        return votes.astype(np.int8)

    def _adjective(self, form: Form) -> Votes:
        """Above or below the one wide gap in the areas of a class."""
        members = self.members.get(form.name, np.zeros(0, dtype=np.int64))
        votes = np.zeros(self.count, dtype=np.int8)
        if len(members) < 3:
            return votes
        order = members[np.argsort(self.area[members], kind="stable")]
        ratios = self.area[order[1:]] / self.area[order[:-1]]
        at = int(ratios.argmax())
        others = np.delete(ratios, at)
        if ratios[at] < GAP or ratios[at] < CLEARER * others.max(initial=1.0):
            return votes
        small, large = order[: at + 1], order[at + 1 :]
        if form.size == "small" and self.at_border[small].any():
            return votes  # who knows how large they are
        votes[small], votes[large] = (1, -1) if form.size == "small" else (-1, 1)
        return votes

    def _beside(self, mark: tuple[int, ...]) -> Votes:
        away = self.distance(mark) / self.diagonal
        return np.where(away <= TOUCHING, 1, np.where(away >= APART, -1, 0)).astype(np.int8)

    def _aside(self, form: Form, mark: tuple[int, ...]) -> Votes:
        """Left of, right of, above or below one thing: beyond its edge, and more aside than along."""
        axis, sign = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}[form.relation]
        if len(mark) != 1 or self._span(mark[0])[axis] > COMPACT:
            return np.zeros(self.count, dtype=np.int8)
        step = (self.centre - self.centre[mark[0]]) * self.things.ids.shape[::-1]
        along, aside = sign * step[:, axis], np.abs(step[:, 1 - axis])
        edges = self.boxes * np.array([*self.things.ids.shape[::-1]] * 2)
        low, high = edges[:, axis], edges[:, axis + 2]
        beyond = low - high[mark[0]] if sign > 0 else low[mark[0]] - high
        slack = 0.1 * (high - low)
        small = self.boxes[:, axis + 2] - self.boxes[:, axis] <= COMPACT
        yes = (along > 0) & (aside <= 0.75 * along) & (beyond >= -slack) & small
        no = (along <= 0) | (aside >= 1.25 * along)
        return np.where(yes, 1, np.where(no, -1, 0)).astype(np.int8)

    def _span(self, position: int) -> Floats:
        return self.boxes[position, 2:] - self.boxes[position, :2]

    def _most(self, form: Form, left: NDArray[np.int64], mark: tuple[int, ...]) -> tuple[int, ...] | None:
        """The `form.number` first of two or more, by a clear margin."""
        if len(left) <= form.number or form.number == ALL:
            return None
        value, kind = self._value(form, mark)[left], form.superlative
        order = left[np.argsort(value, kind="stable")]
        value = np.sort(value)
        last, following = value[form.number - 1], value[form.number]
        if kind in ("largest", "smallest"):
            ratio = last / following if kind == "largest" else following / last
            clear = ratio >= LARGEST and not (kind == "smallest" and self.at_border[order[: form.number]].any())
        elif kind == NEAREST:
            clear = following >= NEARER * last and following - last >= AND_AT_LEAST * self.diagonal
        else:
            clear = following - last >= FURTHER
        return tuple(sorted(order[: form.number].tolist())) if clear else None

    def _value(self, form: Form, mark: tuple[int, ...]) -> Floats:
        """`(n,)` the less, the more superlative."""
        kind = form.superlative
        if kind == NEAREST:
            return self.distance(mark)
        if kind in ("largest", "smallest"):
            return -self.area if kind == "largest" else self.area
        return {
            "leftmost": self.centre[:, 0],
            "rightmost": -self.centre[:, 0],
            "topmost": self.centre[:, 1],
            "bottommost": -self.centre[:, 1],
        }[kind]
