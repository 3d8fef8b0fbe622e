"""What became of two dates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution
from earthwords.geo.grids.area import PixelAreas
from earthwords.inference.change.dates.transitions import NOTHING, Transitions
from earthwords.types import Grid, VectorLayer

HECTARE = 10_000.0
MUCH = 0.5
"""Share of the ground from which on so much change, or so little to be seen, is told."""
SCORE = "ranks changes, 0..1; it is no probability"


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """What became of a class, in hectares (pixels without a CRS)."""

    name: str
    before: float
    after: float
    gained: float
    """Came to the class from others."""
    lost: float
    """Went from the class to others."""
    polygons_gained: int | None
    polygons_lost: int | None
    """None when no polygons were made."""

    @property
    def net(self) -> float:
        """What it grew by."""
        return round(self.after - self.before, 6)


@dataclass(frozen=True, kw_only=True)
class ChangeReport:
    """What is different between two dates."""

    before: str
    after: str
    outputs: dict[str, Path]
    """Kind, such as `labels` or `polygons`, to path."""
    unit: str
    """Of areas: `ha`, or `px` without a CRS."""
    classes: tuple[ClassChange, ...]
    matrix: tuple[tuple[float, ...], ...]
    """Areas from class (row) to class (column), in the order of `classes`."""
    changed_share: float
    """Of what both dates show, 0..1."""
    nodata_share: float
    """Of the common extent, 0..1: where one of the dates shows nothing."""
    shift: dict[str, float | bool | None]
    """Pixels and metres by which the second date is displaced, and whether that was taken out."""
    settings: dict[str, str]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    """Wall time: loading, comparing, finishing, total."""
    failures: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `report.json` and `--json`."""
        classes = [{**asdict(one), "net": one.net} for one in self.classes]
        return {
            **asdict(self), "outputs": {kind: str(path) for kind, path in self.outputs.items()}, "classes": classes,
            "score": SCORE,
        }  # fmt: skip

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        title = f"{self.before} -> {self.after}: {self.changed_share:.1%} changed, {self.seconds['total']:.1f} s"
        rows = [[one.name, *(area_text(value, self.unit) for value in _areas(one))] for one in self.classes]
        return title, ("class", "before", "after", "gained", "lost"), rows


def _areas(one: ClassChange) -> tuple[float, ...]:
    return one.before, one.after, one.gained, one.lost


def area_text(area: float, unit: str) -> str:
    """An area of a report with its unit; less than a hectare in square metres."""
    if not area:
        return "0"
    if unit != "ha":
        return f"{area:,.0f} {unit}"
    if abs(area) >= 1:
        return f"{area:,.2f} ha"
    metres = area * HECTARE
    return f"{metres:,.0f} m2" if abs(metres) >= 10 else f"{metres:.2g} m2"


class TransitionFigures:
    """Areas from class to class, counted as rows come by."""

    def __init__(self, grid: Grid, transitions: Transitions) -> None:
        self.transitions = transitions
        self.unit = "px" if grid.crs is None else "ha"
        self._areas = PixelAreas(grid)
        count = transitions.count
        self._area, self._pixels = np.zeros(count**2), np.zeros(count**2, np.int64)
        self._polygons = np.zeros(len(transitions.map_vocabulary), np.int64)
        self._all = grid.height * grid.width

    def add(self, row: int, pairs: NDArray[np.uint16]) -> None:
        """Full-width rows from `row` on."""
        seen = pairs != NOTHING
        areas = np.broadcast_to(self._areas.block(row, len(pairs)), pairs.shape)[seen]
        count = len(self._area)
        self._area += np.bincount(pairs[seen], areas, minlength=count)
        self._pixels += np.bincount(pairs[seen], minlength=count)

    def count_polygons(self, layer: VectorLayer) -> None:
        """Count polygons by change."""
        self._polygons += np.bincount(layer.columns["label"], minlength=len(self._polygons))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """`(from, to)` areas."""
        count = self.transitions.count
        return self._area.reshape(count, count) / (HECTARE if self.unit == "ha" else 1.0)

    @property
    def changed_share(self) -> float:
        """Of the pixels that both dates show."""
        count = self.transitions.count
        same = self._pixels.reshape(count, count).trace()
        return round(1 - float(same) / max(1, int(self._pixels.sum())), 6) if self._pixels.any() else 0.0

    @property
    def nodata_share(self) -> float:
        """Pixels that one of the dates does not show, of all."""
        return round(1 - float(self._pixels.sum()) / self._all, 6)

    @property
    def notes(self) -> Iterator[str]:
        """What the figures say of the worth of the map."""
        if self.nodata_share >= MUCH:
            yield f"One of the dates or both show nothing on {self.nodata_share:.0%} of the ground that both cover."
        if self.changed_share >= MUCH:
            yield Caution(
                f"{self.changed_share:.0%} of what both dates show changed: other ground, another season or sensor is "
                "likelier than that; look at the picture first."
            )

    @property
    def any(self) -> bool:
        """Whether both dates show a pixel."""
        return bool(self._pixels.any())

    def classes(self, *, polygons: bool) -> tuple[ClassChange, ...]:
        """The table."""
        matrix, changes = self.matrix, self.transitions.changes
        before, after, same = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
        counts = dict(zip(changes, self._polygons[1:].tolist(), strict=True))
        return tuple(
            ClassChange(
                name=title,
                before=round(float(before[i]), 6),
                after=round(float(after[i]), 6),
                gained=round(float(after[i] - same[i]), 6),
                lost=round(float(before[i] - same[i]), 6),
                polygons_gained=sum(n for (_, j), n in counts.items() if j == i) if polygons else None,
                polygons_lost=sum(n for (j, _), n in counts.items() if j == i) if polygons else None,
            )
            for i, title in enumerate(self.transitions.vocabulary.titles)
        )
