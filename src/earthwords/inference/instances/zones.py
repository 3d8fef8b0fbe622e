"""Instances in zones, such as districts: a thing lies where its middle lies."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.vectors.zones import ZonesOnGrid, write_zones
from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.windows.strip import Strip
from earthwords.inference.windows.zone_figures import OUTSIDE, ZoneFigures
from earthwords.reports import ZoneReport
from earthwords.types import Vocabulary

Array: TypeAlias = NDArray[Any]


class InstanceZones:
    """Counts of every class in every zone, and outside of all."""

    def __init__(self, zones: ZonesOnGrid, vocabulary: Vocabulary) -> None:
        self.zones = zones
        self._figures = ZoneFigures(zones, vocabulary)
        self._titles: tuple[str, ...] = ()
        self._counts = np.zeros((len(zones) + 1, 0), np.int64)
        self._twice = 0

    def add(self, strip: Strip) -> None:
        """What was observed of the zones."""
        self._figures.add(strip)

    def count(self, found: InstanceCandidates) -> None:
        """All instances."""
        self._titles = found.masks.titles
        thing, zone = self.zones.holding(found.centres)
        times = np.bincount(thing, minlength=len(found))
        self._twice = int((times > 1).sum())
        self._counts = np.zeros((len(self.zones) + 1, len(self._titles)), np.int64)
        np.add.at(self._counts, (zone, found.masks.classes[thing]), 1)
        np.add.at(self._counts, (len(self.zones), found.masks.classes[times == 0]), 1)
        self._whole = np.bincount(found.masks.classes, minlength=len(self._titles))

    def reports(self) -> tuple[ZoneReport, ...]:
        """Zone by zone, then what is outside of all."""
        names = (*self.zones.zones.names, OUTSIDE)
        rows = zip(names, self._figures.observed.tolist(), self._counts.tolist(), strict=True)
        return tuple(
            ZoneReport(zone=number, name=name, area=round(area, 2), classes=self._classes(counts))
            for number, (name, area, counts) in enumerate(rows, 1)
        )

    def _classes(self, counts: list[int]) -> dict[str, dict[str, float]]:
        return {
            title: {"count": number, "share": round(number / max(1, int(whole)), 6)}
            for title, number, whole in zip(self._titles, counts, self._whole, strict=True)
        }

    def write(self, path: Any, *, made: Any = None) -> None:
        """The file of zones."""
        columns: dict[str, Array] = {self._figures.area_name: np.round(self._figures.observed[:-1], 2)}
        for place, title in enumerate(self._titles):
            columns[f"{title} count"] = self._counts[:-1, place]
            columns[f"{title} share"] = np.round(self._counts[:-1, place] / max(1, int(self._whole[place])), 6)
        write_zones(path, self.zones.zones, columns, made=made)

    def notes(self) -> tuple[str, ...]:
        """What is to be known of these figures."""
        outside = int(self._counts[-1].sum())
        total = int(self._whole.sum())
        found = [
            f"{self._twice:,} of {total:,} things lie in more than one zone and count in each." if self._twice else "",
            f"{outside:,} of {total:,} things lie outside of all zones." if outside else "",
        ]
        return tuple(note for note in found if note)
