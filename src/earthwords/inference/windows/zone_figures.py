"""Figures of zones, such as districts, counted as strips come by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution, UsageError
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.vectors.zones import NAME_COLUMNS, Zones, ZonesOnGrid, write_zones
from earthwords.inference.windows.strip import Strip
from earthwords.reports import ZoneReport
from earthwords.types import Vocabulary

Array: TypeAlias = NDArray[Any]


class ZoneFigures:
    """Area of every class in every zone, and outside of all."""

    def __init__(self, zones: ZonesOnGrid, vocabulary: Vocabulary) -> None:
        self.zones = zones
        self.vocabulary = vocabulary
        self._areas = PixelAreas(zones.grid)
        shape = len(zones) + 1, len(vocabulary) + 1
        self._sums = np.zeros(shape)
        """`(zone, class)`: the last zone is outside of all, the last class what has none though it was observed."""
        self._pixels = np.zeros(len(zones), np.int64)
        self._twice = 0.0
        self._inside = 0.0

    def add(self, strip: Strip) -> None:
        """Count a strip."""
        height, width = strip.labels.shape
        count = len(self.vocabulary)
        labels = np.where(strip.labels < count, strip.labels, count).astype(np.int64)
        areas = np.broadcast_to(self._areas.block(strip.row, height), (height, width))
        cover, layers = self.zones.strip(strip.row, height)
        for cols, zones in layers:
            own, numbers = np.unique(zones[zones >= 0], return_counts=True)
            self._pixels[own] += numbers
            self._count(zones, labels[:, cols], areas[:, cols], (zones >= 0) & strip.valid[:, cols])
        outside = np.full(cover.shape, len(self.zones))
        self._count(outside, labels, areas, (cover == 0) & strip.valid)
        self._inside += float(areas[(cover > 0) & strip.valid].sum())
        self._twice += float(areas[(cover > 1) & strip.valid].sum())

    def _count(self, zones: Array, labels: Array, areas: Array, mask: Array) -> None:
        own, place = np.unique(zones[mask], return_inverse=True)
        width = self._sums.shape[1]
        sums = np.bincount(place * width + labels[mask], areas[mask], minlength=len(own) * width)
        self._sums[own] += sums.reshape(len(own), width)

    @property
    def observed(self) -> NDArray[np.float64]:
        """`(zone,)` square metres (pixels without a CRS) that were observed; the last is outside of all."""
        return np.asarray(self._sums.sum(axis=1))

    @property
    def area_name(self) -> str:
        """Of the column of areas."""
        return f"area_{self._areas.unit}"

    def reports(self) -> tuple[ZoneReport, ...]:
        """Zone by zone, then what is outside of all."""
        return tuple(
            ZoneReport(zone=number, name=name, area=round(float(sums.sum()), 2), classes=self._classes(sums))
            for number, name, sums in zip(*zone_rows(self.zones), self._sums, strict=True)
        )

    def _classes(self, sums: Array) -> dict[str, dict[str, float | None]]:
        whole = float(sums.sum())
        return {
            title: {
                self.area_name: round(float(area), 2) if whole else None,
                "share": round(float(area) / whole, 6) if whole else None,
            }
            for title, area in zip(self.vocabulary.titles, sums, strict=False)
        }

    def columns(self) -> dict[str, Array]:
        """Of the file of zones: name to `(zone,)`."""
        whole, found = self.observed[:-1], self._sums[:-1]
        columns: dict[str, Array] = {self.area_name: np.round(whole, 2)}
        for label, title in enumerate(self.vocabulary.titles):
            known = np.where(whole > 0, found[:, label], np.nan)
            columns[f"{title} {self._areas.unit}"] = np.round(known, 2)
            columns[f"{title} share"] = np.round(known / np.maximum(whole, 1e-12), 6)
        return columns

    def write(self, path: Path, *, made: Any = None) -> None:
        """The file of zones."""
        write_zones(path, self.zones.zones, self.columns(), made=made)

    def notes(self) -> tuple[str, ...]:
        """What is to be known of these figures."""
        both = self._twice / max(self._inside, 1e-12)
        small = int(((self._pixels == 0) & self.zones.touching).sum())
        found = [
            f"{both:.1%} of the ground in zones lies in more than one: it counts in each." if both > 0 else "",
            f"{small:,} of {len(self.zones):,} zones {_verb(small, 'hold')} no middle of a pixel." if small else "",
            *self.unobserved_notes(),
        ]
        return tuple(note for note in found if note)

    def unobserved_notes(self) -> tuple[str, ...]:
        """Of zones in the scene of which no pixel was observed."""
        blind = int(((self._pixels > 0) & (self.observed[:-1] == 0)).sum())
        verb = "zone has" if blind == 1 else "zones have"
        return (f"{blind:,} {verb} no observed pixel, so nothing is known of what is there.",) if blind else ()


def zone_rows(zones: ZonesOnGrid) -> tuple[Iterable[int], Iterable[str]]:
    """Numbers and names, with what is outside of all."""
    own = zones.zones
    return (*own.numbers, len(own) + own.left_out + 1), (*own.names, OUTSIDE)


OUTSIDE = "outside of all zones"


def zone_notes(zones: ZonesOnGrid) -> tuple[str, ...]:
    """What is known of zones in a scene before the work."""
    total, there = len(zones), int(zones.touching.sum())
    beside = total - there
    own = zones.zones
    if not there:
        return (Caution(f"No zone of {own.shown} touches the scene: none has a figure."),)
    out = int(zones.reaching_out.sum())
    without = zones.grid.crs is None and own.says_degrees
    found = [
        f"The scene has no CRS: coordinates of {own.shown} are taken as the scene's own." if without else "",
        _naming(own),
        f"{own.left_out:,} of {total + own.left_out:,} rows of {own.shown} have no polygon and are left out."
        if own.left_out
        else "",
        f"{beside:,} of {total:,} zones of {own.shown} {_verb(beside, 'lie')} outside of the scene." if beside else "",
        f"{out:,} of {there:,} zones {_verb(out, 'reach')} out of the scene: only the part inside has figures."
        if out
        else "",
    ]
    return tuple(note for note in found if note)


def _naming(zones: Zones) -> str:
    """What zones are called by, where that is not plain."""
    if zones.named_by is None:
        return f"{zones.shown} has no column that names its zones: they are called by their rows."
    if zones.named_by.lower() in NAME_COLUMNS:
        return ""
    return f"Zones of {zones.shown} are called by its column {zones.named_by!r}; one called name would come first."


def _verb(number: int, verb: str) -> str:
    """As it follows a number."""
    return verb if number != 1 else verb + ("es" if verb.endswith("ch") else "s")


def check_touching(zones: ZonesOnGrid, source: str) -> None:
    """Refuse zones none of which is in a scene.

    Raises:
        UsageError: there is none.
    """
    if not zones.touching.any():
        raise UsageError(
            f"None of the {len(zones):,} zones of {zones.zones.source} touches {source}; are they of another place?"
        )
