"""Pixels, area and mean score of every class, counted as strips come by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution
from earthwords.geo.grids.area import PixelAreas
from earthwords.inference.cautions import GREY, RADAR_COLOURS
from earthwords.inference.segment.postprocess import MARGIN
from earthwords.inference.windows.strip import Strip
from earthwords.reports import ClassReport
from earthwords.types import Grid, VectorLayer, Vocabulary

MOST = 0.5
"""Share of a scene above which it is said that it is undecided, or has no class."""
HARDLY = 0.001
"""Share of a map below which it is said that a class was hardly found."""


class Figures:
    """What was found of every class."""

    def __init__(self, grid: Grid, vocabulary: Vocabulary, *, radar: bool = False) -> None:
        """`radar`: grey is what the model learned."""
        self.vocabulary = vocabulary
        self._pixel_areas = PixelAreas(grid) if grid.crs is not None else None
        count = len(vocabulary)
        self._pixels = np.zeros(count, np.int64)
        self._score, self._area = np.zeros(count), np.zeros(count)
        self._polygons = np.zeros(count, np.int64)
        self._undecided = np.zeros(count, np.int64)
        self._all = grid.height * grid.width
        self._observed = self._unlabelled = 0
        self._knows_undecided, self._coloured = False, False
        self._rounding: int | None = None
        self._radar = radar

    def add(self, strip: Strip) -> None:
        """Count a strip."""
        count = len(self.vocabulary)
        self._observed += int(strip.valid.sum())
        known = strip.labels < count
        self._unlabelled += int((strip.valid & ~known).sum())
        self._coloured = self._coloured or not _is_grey(strip)
        labels = strip.labels[known].astype(np.int64)
        self._pixels += np.bincount(labels, minlength=count)
        self._score += np.bincount(labels, strip.score[known], minlength=count)
        if strip.undecided is not None:
            self._knows_undecided = True
            self._undecided += np.bincount(labels, strip.undecided[known], minlength=count).astype(np.int64)
        if strip.rounding is not None:
            self._rounding = (self._rounding or 0) + int(strip.rounding.sum())
        if self._pixel_areas is not None:
            areas = self._pixel_areas.block(strip.row, len(strip.labels))
            area = np.broadcast_to(areas, strip.labels.shape)[known]
            self._area += np.bincount(labels, area, minlength=count)

    def count_polygons(self, layer: VectorLayer) -> None:
        """Count polygons by class."""
        self._polygons += np.bincount(layer.columns["label"], minlength=len(self.vocabulary))

    @property
    def nodata_share(self) -> float:
        """Pixels without a label, of all."""
        return round(1 - float(self._pixels.sum()) / self._all, 6)

    @property
    def shares(self) -> NDArray[np.float64]:
        """`(class,)` of the observed pixels, 0..1."""
        return self._pixels / max(1, self._observed)

    @property
    def undecided_share(self) -> float | None:
        """Pixels whose two best classes are close, of those with a label; None where nobody knows."""
        return round(float(self._undecided.sum() / max(1, self._pixels.sum())), 6) if self._knows_undecided else None

    @property
    def unlabelled_share(self) -> float:
        """Pixels without a class, of those that were observed."""
        return round(self._unlabelled / max(1, self._observed), 6)

    @property
    def rounding_share(self) -> float | None:
        """Pixels about which the precision may have decided, of those that were observed; None: float32, or nobody
        knows."""
        return None if self._rounding is None else round(self._rounding / max(1, self._observed), 6)

    def notes(self) -> tuple[str, ...]:
        """What the figures say about the worth of the map."""
        found = []
        if self._observed and self._coloured == self._radar:
            found.append(RADAR_COLOURS if self._radar else GREY)
        undecided = self.undecided_share or 0.0
        if undecided > MOST:
            found.append(
                f"{undecided:.0%} of the map is undecided: there the two best classes are nearly as probable "
                f"(less than {(1 + MARGIN) / 2:.0%} to {(1 - MARGIN) / 2:.0%})."
            )
        left = self.unlabelled_share
        if self._knows_undecided and left > MOST:
            found.append(f"{left:.0%} of what was observed has no class: no word fits there, or is probable enough.")
        return (*map(Caution, found), *self._hardly_found(), *self._rounded())

    def _rounded(self) -> tuple[str, ...]:
        share = self.rounding_share
        if share is None:
            return ()
        return (
            f"Computed in reduced precision: rounding may have changed the class of up to {share:.2%} of the map; "
            "--precision fp32 is sure.",
        )

    def _hardly_found(self) -> tuple[str, ...]:
        total = self._pixels.sum()
        if not self._knows_undecided or not total or len(self.vocabulary) < 2:
            return ()
        shares = zip(self.vocabulary.titles, self._pixels / total, strict=True)
        few = [title for i, (title, share) in enumerate(shares) if share < HARDLY and i != self.vocabulary.background]
        if not few:
            return ()
        shown = ", ".join(few[:8]) + (", ..." if len(few) > 8 else "")
        return (f"Hardly found: {shown} (below {HARDLY:.1%} of the map). What is found depends on all words together.",)

    def classes(self, *, polygons: bool) -> tuple[ClassReport, ...]:
        """The table."""
        return tuple(
            ClassReport(
                label=i,
                name=title,
                pixels=int(self._pixels[i]),
                share=round(float(share), 6),
                area_m2=None if self._pixel_areas is None else round(float(self._area[i]), 2),
                mean_score=round(float(self._score[i] / self._pixels[i]), 4) if self._pixels[i] else None,
                polygons=int(self._polygons[i]) if polygons else None,
                undecided=self._undecided_of(i),
            )
            for i, (title, share) in enumerate(zip(self.vocabulary.titles, self.shares, strict=True))
        )

    def _undecided_of(self, label: int) -> float | None:
        """Share of a class's pixels that are undecided."""
        if not (self._knows_undecided and self._pixels[label]):
            return None
        return round(float(self._undecided[label] / self._pixels[label]), 6)


def _is_grey(strip: Strip) -> bool:
    """Whether red, green and blue are the same wherever something was observed."""
    red, green, blue = strip.rgb
    return bool(((red == green) & (green == blue) | ~strip.valid).all())
