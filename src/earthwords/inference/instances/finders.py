"""The methods that need nothing but a map: connected regions, and peaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from earthwords.geo.grids.area import PixelAreas
from earthwords.inference.features.peaks import find_peaks
from earthwords.inference.instances.candidates import Dropped, Found, InstanceCandidates, gathered_masks
from earthwords.inference.instances.regions import ConnectedRegion, RegionCollector
from earthwords.inference.instances.splitting import basins, height_of
from earthwords.inference.windows.outputs import packed
from earthwords.inference.windows.strip import Strip
from earthwords.mask_set import MaskSet
from earthwords.types import SCORE_STEPS, Grid, Vocabulary

Array: TypeAlias = NDArray[Any]

DEPTH = 0.1
"""Two peaks are two things where the way between them sinks by this share of the lower one."""
SMOOTH = 1.0
"""Standard deviation of the Gaussian before peaks are looked for, pixels."""
MOST_BOX = 2**24
"""Pixels of the rectangle around a region that is cut apart: larger ones are stuff, not things."""
_SMALL, _LARGE = "small", "large"
_SEGMENT = 512
"""Rows that peaks are looked for in at once."""


class RegionFinder:
    """Connected regions of each class, cut apart where they have several peaks."""

    def __init__(
        self, *, grid: Grid, vocabulary: Vocabulary, counted: Sequence[int], split: str, min_area: float, kept: bool
    ) -> None:
        """
        Args:
            counted: labels of the classes that are counted.
            split: of `options.SPLITS`.
            min_area: smaller regions are left out, square metres (pixels without a CRS).
            kept: strips bring the probabilities of all classes, else the score of the best alone.
        """
        self._masks = MaskSet.pack(grid, [], [], titles=[vocabulary.titles[i] for i in counted])
        self._counted, self._split, self._min_area, self._kept = list(counted), split, min_area, kept
        self._collector = RegionCollector(width=grid.width, counted=counted, values=len(counted) if kept else 1)
        self._areas, self._found, self._dropped = PixelAreas(grid), list[Found](), Dropped()

    def add(self, strip: Strip) -> None:
        """The next rows."""
        self._take(self._collector.add(strip.row, strip.labels, values_of(strip, self._counted if self._kept else ())))

    def finish(self) -> InstanceCandidates:
        """All regions."""
        self._take(self._collector.finish())
        found = gathered_masks(self._found, self._masks)
        unit = "m2" if self._areas.unit == "m2" else "pixels"
        sentence = f"{{}} regions below {self._min_area:.3g} {unit} were left out (--min-area)."
        large = "{} regions are too large to be things and were not cut apart: each is counted as one."
        notes = self._dropped.notes({_SMALL: sentence, _LARGE: large})
        return InstanceCandidates(masks=found.masks, similarity=found.similarity, centres=found.centres, notes=notes)

    def _take(self, regions: Iterable[ConnectedRegion]) -> None:
        for region in regions:
            row, col = region.centre
            pixel = float(self._areas.at(np.array([row]), np.array([col]))[0])
            if region.pixels * pixel < self._min_area:
                self._dropped.add(_SMALL)
                continue
            parts = [part for part in self._parts(region) if part.pixels * pixel >= self._min_area]
            self._found += [part.found for part in parts]

    def _parts(self, region: ConnectedRegion) -> list[_Part]:
        """What a region falls into; of one too large to be a thing, itself."""
        own = self._counted.index(region.label)
        top, left, height, width = region.box
        small = height * width <= MOST_BOX and self._split != "none"
        picture = region.picture(own if self._kept else 0) if small else None
        if picture is None:
            self._dropped.add(_LARGE, int(self._split != "none"))
            bits = region.packed()
            return [_part(own, region.box, bits, region.centre, region.pixels, self._similar(own, region.means))]
        mask = region.mask()
        number = basins(height_of(mask, picture, self._split, smooth=SMOOTH), mask, depth=DEPTH)
        pictures = [picture] if not self._kept else [region.picture(i) for i in range(len(self._counted))]
        stack = np.stack([p for p in pictures if p is not None])
        return [self._cut(own, number == i, stack, top=top, left=left) for i in range(1, int(number.max()) + 1)]

    def _cut(self, own: int, mask: NDArray[np.bool_], pictures: Array, *, top: int, left: int) -> _Part:
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inner = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        row, col = np.nonzero(mask)
        means = pictures[:, row, col].mean(axis=1) / SCORE_STEPS
        box = top + int(rows[0]), left + int(cols[0]), *inner.shape
        centre = float(top + row.mean() + 0.5), float(left + col.mean() + 0.5)
        return _part(own, box, np.packbits(inner), centre, len(row), self._similar(own, means))

    def _similar(self, own: int, means: Array) -> Array:
        """To every class; where only the best score is known, to its own."""
        if self._kept:
            return means
        found = np.zeros(len(self._counted))
        found[own] = means[0]
        return found


class _Part:
    """A candidate with its number of pixels."""

    def __init__(self, found: Found, pixels: int) -> None:
        self.found, self.pixels = found, pixels


def _part(
    label: int, box: tuple[int, int, int, int], bits: Array, centre: tuple[float, float], pixels: int, similarity: Array
) -> _Part:
    row, col = centre
    return _Part(Found(label=label, box=box, bits=bits, centre=(col, row), similarity=similarity), pixels)


class PeakFinder:
    """Peaks of the probability of each class where it is the best one: for things too small to have a shape."""

    def __init__(self, *, grid: Grid, vocabulary: Vocabulary, counted: Sequence[int], distance: float) -> None:
        """
        Args:
            distance: no two peaks of a class are nearer, pixels.
        """
        self._masks = MaskSet.pack(grid, [], [], titles=[vocabulary.titles[i] for i in counted])
        self._counted, self._distance, self._height = list(counted), distance, grid.height
        self._held: list[Array] = []
        self._first = self._stop = 0
        self._halo = 2 * int(np.ceil(distance))
        self._places: list[Array] = []
        self._values: list[Array] = []

    def add(self, strip: Strip) -> None:
        """The next rows."""
        values = values_of(strip, self._counted)
        own = np.stack([strip.labels == label for label in self._counted])
        self._held.append(np.where(own, values, 0).astype(np.float32))
        self._stop += strip.labels.shape[0]
        while self._stop >= self._first + _SEGMENT + self._halo:
            self._search(self._first + _SEGMENT)

    def _search(self, stop: int) -> None:
        """Peaks of the rows up to `stop`; the rows that the next ones need stay."""
        held = np.concatenate(self._held, axis=1)
        top = self._stop - held.shape[1]
        part = held[:, : min(stop + self._halo, self._stop) - top]
        for index, values in enumerate(part):
            if not values.any():
                continue
            found = find_peaks(values, distance=self._distance, least=1e-6)
            rows = found.points[:, 0] + top
            mine = (rows >= self._first) & (rows < stop)
            self._places.append(np.column_stack([np.full(mine.sum(), index), rows[mine], found.points[mine, 1]]))
            self._values.append(np.asarray(found.scores[mine], np.float64))
        self._first = stop
        self._held = [held[:, max(0, stop - self._halo - top) :]]

    def finish(self) -> InstanceCandidates:
        """All peaks."""
        if self._stop > self._first:
            self._search(self._stop)
        places = np.concatenate([np.zeros((0, 3), np.int64), *self._places])
        values = np.concatenate([np.zeros(0), *self._values])
        kept = _apart(places, values, self._distance)
        similarity = np.zeros((len(kept), len(self._counted)))
        similarity[np.arange(len(kept)), places[kept, 0]] = values[kept]
        one = np.packbits(np.ones((1, 1), bool))
        return gathered_masks(
            [
                Found(label=label, box=(row, col, 1, 1), bits=one, centre=(col + 0.5, row + 0.5), similarity=similar)
                for (label, row, col), similar in zip(places[kept].tolist(), similarity, strict=True)
            ],
            self._masks,
        )


def _apart(places: Array, values: Array, distance: float) -> NDArray[np.int64]:
    """Indices of the places of which no surer one of the same class is nearer than `distance`: of equal peaks at the
    border of two segments the upper left one stays."""
    order = np.lexsort((places[:, 2], places[:, 1], -values))
    gone = np.zeros(len(places), bool)
    for label in np.unique(places[:, 0]):
        mine = order[places[order, 0] == label]
        near = cKDTree(places[mine, 1:]).query_pairs(distance, output_type="ndarray")
        for first, second in near[np.lexsort((near[:, 1], near[:, 0]))]:
            if not gone[mine[first]]:
                gone[mine[second]] = True
    return np.flatnonzero(~gone)


def values_of(strip: Strip, labels: Sequence[int]) -> NDArray[np.float64]:
    """`(value, row, col)` 0..1 as bytes have them: probabilities of some classes, or of the best one."""
    values = strip.score[None] if not labels else packed(strip.probabilities, "uint8")[list(labels)]
    steps = np.rint(values * SCORE_STEPS) if values.dtype != np.uint8 else np.where(values == 255, 0, values)
    return np.asarray(steps / SCORE_STEPS)
