"""Pixels, area and mean score of every class, counted as strips come by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.area import PixelAreas
from earthwords.inference.strip import Strip
from earthwords.types import ClassReport, Grid, VectorLayer, Vocabulary


class Figures:
    """What was found of every class."""

    def __init__(self, grid: Grid, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._pixel_areas = PixelAreas(grid) if grid.crs is not None else None
        count = len(vocabulary)
        self._pixels = np.zeros(count, np.int64)
        self._score, self._area = np.zeros(count), np.zeros(count)
        self._polygons = np.zeros(count, np.int64)
        self._all = grid.height * grid.width
        self._observed = 0

    def add(self, strip: Strip) -> None:
        """Count a strip."""
        count = len(self.vocabulary)
        self._observed += int(strip.valid.sum())
        known = strip.labels < count
        labels = strip.labels[known].astype(np.int64)
        self._pixels += np.bincount(labels, minlength=count)
        self._score += np.bincount(labels, strip.score[known], minlength=count)
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
            )
            for i, (title, share) in enumerate(zip(self.vocabulary.titles, self.shares, strict=True))
        )
