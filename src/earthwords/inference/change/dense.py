"""The method `dense`: the difference of what the words say of every pixel on the two dates.

A probability of 0.6 that becomes 0.01 says more than one of 0.95 that becomes 0.5, so log-odds are compared, of a class
against the likeliest other one, averaged over resolutions, cut at `CUT` and brought to 0..1. Three things keep light,
season and a shift of some pixels from looking like change:

* a change needs a core where a class is likelier than it was anywhere within `REACH` pixels on the other date;
* its outline is that of the difference after a guided filter (He et al. 2010) that follows the difference of the two
  pictures, each band with its own mean and spread: what only got darker has no edges in it;
* a change from one class to another has at least `LEAST` pixels that touch by sides.

Lengths are pixels of the working grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.inference.change.dates.pair import PairFacts
from earthwords.inference.change.dates.pieces import LEAST, large_pieces, without_specks
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from earthwords.inference.change.guided import GuidedFilter

CUT = 0.98
"""Probability beyond which it does not matter how sure a word is."""
FLOOR = 1e-6
"""Least probability."""
CORE = 0.6
"""Least difference in the core of a change."""
EDGE = 0.4
"""Least difference of its other pixels, by default; `--threshold`."""
SMOOTH = 1.0
"""Standard deviation of the blur of the probabilities."""
REACH = 5
RADIUS, REGULARITY = 10, 1e-3
"""Of the guided filter."""
SPREAD = 0.2
"""Standard deviation of a band of its guide."""
WALK = 64
"""How far from its core a change may reach."""
MARGIN = 4 + REACH + 2 * RADIUS + WALK + LEAST
OTHERS = 220
"""Bytes of a pixel whatever the classes are: pictures, the guided filter's statistics, numbers of pieces."""

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PosteriorDifference(ChangeMethod):
    """See the top of this file."""

    sides: ClassVar[tuple[int, ...]] = (1024, 512, 256)
    threshold: float | None = None
    """Least score of a pixel; None: `EDGE`."""

    def margin(self, zoom: float) -> int:
        """See `ChangeMethod`."""
        return round(MARGIN * zoom)

    def held(self, classes: int, scales: int) -> int:
        """See `ChangeMethod`: probabilities of both dates, their log-odds, what makes these; pictures and filter."""
        return 4 * classes * (2 * scales + 6) + OTHERS

    def __call__(self, pair: PairWindow) -> Comparison:
        """Compare a window."""
        first, second = pair.probabilities
        seen = pair.valid & ~np.isnan(first[0]) & ~np.isnan(second[0])
        guide = difference(*pair.rgb, pair.facts, seen)
        edge = EDGE if self.threshold is None else self.threshold
        dates = [[both[i] for both in pair.at_scales] for i in (0, 1)]
        return compare(dates[0], dates[1], guide, seen, zoom=pair.zoom, edge=edge)


def compare(
    first: Sequence[Array],
    second: Sequence[Array],
    guide: Array,
    seen: Mask,
    *,
    zoom: float = 1.0,
    edge: float = EDGE,
) -> Comparison:
    """Classes of both dates and the score of their change.

    Args:
        first, second: probabilities `(class, row, col)` of either date, at one resolution or several; NaN is 0.
        guide: `(band, row, col)`, what edges are followed of; see `difference`.
        seen: `(row, col)`, where both dates show something.
        zoom: pixels along the one that lengths are told in.
        edge: least difference of a pixel of a change.
    """
    odds = [evidence(date, zoom=zoom) for date in (first, second)]
    edges = GuidedFilter(guide, radius=round(RADIUS * zoom), regularity=REGULARITY)
    gain, loss = np.zeros_like(first[0]), np.zeros_like(first[0])
    for label in range(len(gain)):
        old, new = odds[0][label], odds[1][label]
        size = round(REACH * zoom) * 2 + 1
        cores = [one - ndimage.maximum_filter(other, size) > CORE for one, other in ((new, old), (old, new))]
        if not any((core & seen).any() for core in cores):
            continue
        change = edges(new - old) * seen
        for found, core, sign in ((gain, cores[0], 1), (loss, cores[1], -1)):
            area = sign * change > edge
            found[label] = np.where(_grown(core & area, area, zoom), np.clip(sign * change, 0, 1), 0)
    sums = [np.sum([np.nan_to_num(part) for part in date], axis=0) for date in (first, second)]
    return _decided(sums[0], sums[1], gain, loss, seen, least=LEAST * zoom**2)


def difference(first: Array, second: Array, facts: PairFacts, seen: Mask) -> Array:
    """Of two pictures `(3, row, col)`, each band with the mean and spread it has in its scene; 0 where not seen."""
    mean, spread = (np.array(part, np.float32)[:, None, None] for part in facts.tones)
    return ((second - mean[3:]) / spread[3:] - (first - mean[:3]) / spread[:3]) * np.float32(SPREAD) * seen


def evidence(probabilities: Sequence[Array], *, zoom: float = 1.0) -> Array:
    """Log-odds of each class `(class, row, col)` against the likeliest other one, averaged, cut, 0..1."""
    most = np.log(CUT / (1 - CUT))
    odds = _log_odds(probabilities[0], zoom)
    for part in probabilities[1:]:
        odds += _log_odds(part, zoom)
    odds /= len(probabilities)
    np.clip(odds, -most, most, out=odds)
    odds /= 2 * most
    odds += 0.5
    return odds


def _log_odds(probabilities: Array, zoom: float) -> Array:
    """`(class, row, col)`; of a single class against all else."""
    smooth = np.stack([ndimage.gaussian_filter(np.nan_to_num(part), SMOOTH * zoom) for part in probabilities])
    if len(smooth) > 1:
        second, best = np.partition(smooth, -2, axis=0)[-2:].copy()
    for i, part in enumerate(smooth):  # in place: memory bounds the size of a block
        others = 1 - part if len(smooth) == 1 else np.where(part == best, second, best)
        smooth[i] = np.log(np.maximum(part, FLOOR)) - np.log(np.maximum(others, FLOOR))
    return smooth


def _grown(cores: Mask, area: Mask, zoom: float) -> Mask:
    """The pixels of `area` within `WALK` of a core, in pieces that are large enough."""
    if not cores.any():
        return cores
    square = np.ones((3, 3), bool)
    reached = ndimage.binary_dilation(cores, square, iterations=round(WALK * zoom), mask=area)
    return large_pieces(reached, LEAST * zoom**2)


def _decided(first: Array, second: Array, gain: Array, loss: Array, seen: Mask, *, least: float) -> Comparison:
    """Classes of both dates: what came and what went, where only one of them is clear the likeliest other class."""
    came, went = gain.max(axis=0), loss.max(axis=0)
    new, old = gain.argmax(axis=0), loss.argmax(axis=0)
    both = (first + second).argmax(axis=0)
    changed = (came > 0) | (went > 0)
    before = np.where(went > 0, old, _likeliest(first, new))
    after = np.where(came > 0, new, _likeliest(second, old))
    changed &= (before != after) & seen
    found = Comparison(
        before=np.where(changed, before, both),
        after=np.where(changed, after, both),
        score=np.where(changed, np.maximum(came, went), 0).astype(np.float32),
        seen=seen,
    )
    return without_specks(found, both, least)


def _likeliest(probabilities: Array, without: NDArray[np.int64]) -> NDArray[np.int64]:
    """`(row, col)`: the likeliest class that is another one; of a single class that one."""
    if len(probabilities) == 1:
        return without
    left = probabilities.copy()
    np.put_along_axis(left, without[None], -1, axis=0)
    found: NDArray[np.int64] = left.argmax(axis=0)
    return found
