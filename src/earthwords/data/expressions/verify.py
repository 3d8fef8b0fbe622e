"""The second reader: finds out from the masks alone what an expression means, or that it is not clear.

Nothing here is shared with `measures`, which proposes expressions. Places are told by percentiles of coordinates
instead of shares, colours pixel by pixel in HSV instead of by their mean in Lab, distances by a tree of border pixels
instead of a distance transform, sides by medians instead of means. An expression on which the two differ is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from earthwords.data.annotations.instances import Instances
from earthwords.data.expressions.grammar import ADJECTIVES, ALL, NEAREST, PLACES, SIDES, Form

YES, UNCLEAR, NO = 1, 0, -1
LARGER = 1.3
"""Times, between the largest and the next."""
GAP = 1.9
"""Times, between large and small."""
SOME_WAY = 0.04
"""Of the image's side, between the outermost thing and the next."""
NEARER, AND_PIXELS = 1.3, 2.0
MOSTLY, HARDLY = 0.55, 0.2
"""Share of a thing's pixels that have a colour it is called, and at most one it is not called."""
SPECKS = 0.05
"""Share of a class that may lie in specks too small to be things, where all of it is meant."""


@dataclass(frozen=True)
class _Thing:
    """One mask: its pixels."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    rgb: NDArray[np.uint8]

    @cached_property
    def size(self) -> int:
        return len(self.rows)

    @cached_property
    def middle(self) -> tuple[float, float]:
        """Median x and y, pixels."""
        return float(np.median(self.cols)) + 0.5, float(np.median(self.rows)) + 0.5

    def reach(self, axis: int, low: float, high: float) -> tuple[float, float]:
        """Percentiles of x (0) or y (1), pixels."""
        found = np.percentile((self.cols, self.rows)[axis] + 0.5, (low, high))
        return float(found[0]), float(found[1])

    @cached_property
    def border(self) -> cKDTree:
        """Its pixels with a neighbour that is not its own."""
        top, left = self.rows.min() - 1, self.cols.min() - 1
        own = np.zeros((self.rows.max() - top + 2, self.cols.max() - left + 2), dtype=bool)
        own[self.rows - top, self.cols - left] = True
        inner = own[1:-1, 1:-1] & own[:-2, 1:-1] & own[2:, 1:-1] & own[1:-1, :-2] & own[1:-1, 2:]
        rows, cols = np.nonzero(own[1:-1, 1:-1] & ~inner)
        return cKDTree(np.stack([rows + top + 1, cols + left + 1], axis=1))

    def colour_share(self, name: str) -> float:
        """Share of its pixels with a colour of that name."""
        return float(_NAMED[name](*_hsv(self.rgb)).mean())


class Judge:
    """Resolves expressions on one image."""

    def __init__(self, things: Instances, rgb: NDArray[np.uint8]) -> None:
        """Take the masks of `things` and the pixels `(row, col, 3)`."""
        self.height, self.width = things.ids.shape
        self.classes, self.solid = things.classes, things.solid
        self.dust, self.known = things.dust, things.known
        self._ids, self._rgb = things.ids, rgb
        self._seen: dict[int, _Thing] = {}

    def resolve(self, form: Form) -> frozenset[int] | None:
        """Numbers of the things that are meant, none if there is no such thing; None if it is not clear."""
        members = [number for number, name in enumerate(self.classes, start=1) if name == form.name]
        if not members:
            absent = form.name in self.known and not self.dust.get(form.name)
            return frozenset() if absent else None
        marks: frozenset[int] | None = None
        if form.mark is not None:
            marks = self.resolve(form.mark)
            if not marks:
                return None
        meant: list[int] = []
        for number in members:
            opinion = self._opinion(form, number, members, marks or frozenset())
            if opinion == UNCLEAR:
                return None
            if opinion == YES:
                meant.append(number)
        if not meant:
            return frozenset()
        if form.superlative:
            return self._most(form, meant, marks or frozenset())
        return self._numbered(form, meant)

    def _numbered(self, form: Form, meant: list[int]) -> frozenset[int] | None:
        """What is meant, if it is as many as the words say."""
        if form.whole:
            pixels = sum(self._thing(number).size for number in meant)
            if self.dust.get(form.name, 0) > SPECKS * pixels:
                return None
        elif form.number == ALL:
            if len(meant) < 2:
                return None
        elif len(meant) != form.number:
            return None
        return frozenset(meant)

    def _thing(self, number: int) -> _Thing:
        if number not in self._seen:
            rows, cols = np.nonzero(self._ids == number)
            self._seen[number] = _Thing(rows, cols, self._rgb[rows, cols])
        return self._seen[number]

    def _opinion(self, form: Form, number: int, members: list[int], marks: frozenset[int]) -> int:
        """Whether all that is said, but for superlatives, is true of a thing."""
        thing = self._thing(number)
        opinions = [YES]
        if form.place:
            opinions.append(self._in_place(thing, form.place))
        if form.colour:
            share = thing.colour_share(form.colour) if self.solid else 0.5 * (MOSTLY + HARDLY)
            opinions.append(YES if share >= MOSTLY else NO if share <= HARDLY else UNCLEAR)
        if form.size in ADJECTIVES:
            opinions.append(self._adjective(form, number, members))
        if form.relation in SIDES:
            opinions.append(self._related(form.relation, thing, marks))
        return NO if NO in opinions else min(opinions)

    def _in_place(self, thing: _Thing, place: str) -> int:
        """The middle three fifths of the pixels are there, or the median is not near it."""
        left, top, right, bottom = PLACES[place]
        inside, outside = True, False
        for axis, side, low, high in ((0, self.width, left, right), (1, self.height, top, bottom)):
            first, last = thing.reach(axis, 20, 80)
            inside &= first >= (low - 0.02) * side and last <= (high + 0.02) * side
            outside |= not (low - 0.02) * side <= thing.middle[axis] <= (high + 0.02) * side
        return YES if inside else NO if outside else UNCLEAR

    def _adjective(self, form: Form, number: int, members: list[int]) -> int:
        """On which side of the widest gap in the sizes a thing is."""
        sizes = sorted(self._thing(member).size for member in members)
        steps = [(larger / smaller, smaller) for smaller, larger in pairwise(sizes)]
        widest = max(steps, default=(0.0, 0))
        if len(sizes) < 3 or widest[0] < GAP or sum(ratio >= 0.8 * widest[0] for ratio, _ in steps) > 1:
            return UNCLEAR
        is_small = self._thing(number).size <= widest[1]
        return YES if is_small == (form.size == "small") else NO

    def _related(self, relation: str, thing: _Thing, marks: frozenset[int]) -> int:
        if relation == "beside":
            away, diagonal = self._away(thing, marks), np.hypot(self.height, self.width)
            return YES if away <= 0.02 * diagonal else NO if away >= 0.05 * diagonal else UNCLEAR
        if len(marks) != 1:
            return UNCLEAR
        (mark,) = (self._thing(number) for number in marks)
        axis = 0 if relation in ("left", "right") else 1
        step = thing.middle[axis] - mark.middle[axis]
        aside = abs(thing.middle[1 - axis] - mark.middle[1 - axis])
        if relation in ("left", "above"):
            step, gap = -step, mark.reach(axis, 5, 95)[0] - thing.reach(axis, 10, 90)[1]
        else:
            gap = thing.reach(axis, 10, 90)[0] - mark.reach(axis, 5, 95)[1]
        if step <= 0 or aside >= 1.15 * step:
            return NO
        return YES if gap >= 0 and aside <= 0.85 * step else UNCLEAR

    def _away(self, thing: _Thing, marks: frozenset[int]) -> float:
        """Pixels between the borders of a thing and of the nearest of the marks."""
        others = (self._thing(number).border for number in marks)
        return min(float(thing.border.query(other.data)[0].min()) for other in others)

    def _most(self, form: Form, left: list[int], marks: frozenset[int]) -> frozenset[int] | None:
        """The first `form.number`, if there are more and the next is clearly behind."""
        scored = sorted((self._score(form, number, marks), number) for number in left)
        if form.number == ALL or len(scored) <= form.number:
            return None
        chosen, following = scored[: form.number], scored[form.number]
        last = chosen[-1][0]
        if form.superlative in ("largest", "smallest"):
            ratio = last / following[0] if form.superlative == "largest" else following[0] / last
            clear = ratio >= LARGER and not (
                form.superlative == "smallest" and any(self._cut_off(number) for _, number in chosen)
            )
        elif form.superlative == NEAREST:
            clear = following[0] >= NEARER * last and following[0] >= last + AND_PIXELS
        else:
            axis = 0 if form.superlative in ("leftmost", "rightmost") else 1
            clear = following[0] - last >= SOME_WAY * (self.width, self.height)[axis] and self._outermost(
                form, [number for _, number in chosen], left, axis
            )
        return frozenset(number for _, number in chosen) if clear else None

    def _score(self, form: Form, number: int, marks: frozenset[int]) -> float:
        thing = self._thing(number)
        if form.superlative == NEAREST:
            return self._away(thing, marks)
        if form.superlative in ("largest", "smallest"):
            return float(thing.size) * (-1 if form.superlative == "largest" else 1)
        place = thing.middle[0 if form.superlative in ("leftmost", "rightmost") else 1]
        return -place if form.superlative in ("rightmost", "bottommost") else place

    def _outermost(self, form: Form, chosen: list[int], left: list[int], axis: int) -> bool:
        """Whether none of the others reaches as far."""
        far = form.superlative in ("rightmost", "bottommost")
        reach = {number: self._thing(number).reach(axis, 0, 100)[int(far)] * (-1 if far else 1) for number in left}
        margin = 0.5 * SOME_WAY * (self.width, self.height)[axis]
        return bool(max(reach[number] for number in chosen) + margin <= min(reach[n] for n in left if n not in chosen))

    def _cut_off(self, number: int) -> bool:
        thing = self._thing(number)
        ends = thing.rows.min() == 0 or thing.cols.min() == 0
        return bool(ends or thing.rows.max() == self.height - 1 or thing.cols.max() == self.width - 1)


def _hsv(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Hue in degrees, saturation and value 0..1, each `(n,)`, of `(n, 3)`."""
    parts = rgb.astype(np.float64) / 255
    red, green, blue = parts.T
    value, low = parts.max(axis=1), parts.min(axis=1)
    spread = value - low
    safe = np.where(spread == 0, 1, spread)
    hue = np.where(
        value == red, (green - blue) / safe, np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    return 60 * hue % 360, spread / np.where(value == 0, 1, value), value


_NAMED = {
    "white": lambda h, s, v: (v >= 0.74) & (s <= 0.17),
    "grey": lambda h, s, v: (v >= 0.3) & (v < 0.76) & (s <= 0.17),
    "black": lambda h, s, v: v <= 0.26,
    "red": lambda h, s, v: ((h <= 22) | (h >= 338)) & (s >= 0.3) & (v > 0.2),
    "brown": lambda h, s, v: (h >= 12) & (h <= 48) & (s >= 0.22) & (v <= 0.66) & (v > 0.18),
    "yellow": lambda h, s, v: (h >= 40) & (h <= 70) & (s >= 0.38) & (v >= 0.58),
    "green": lambda h, s, v: (h >= 66) & (h <= 175) & (s >= 0.12),
    "blue": lambda h, s, v: (h >= 180) & (h <= 265) & (s >= 0.16),
}
