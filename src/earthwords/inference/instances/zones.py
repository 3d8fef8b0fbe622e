"""Instances in zones, such as districts: a thing lies where its middle lies."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.vectors.zones import ZonesOnGrid, write_zones
from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.windows.strip import Strip
from earthwords.inference.windows.zone_figures import ZoneFigures, zone_rows
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
        rows = zip(
            *zone_rows(self.zones), self._figures.observed.tolist(), self._known, self._counts.tolist(), strict=True
        )
        return tuple(
            ZoneReport(zone=number, name=name, area=round(area, 2), classes=self._classes(counts, known))
            for number, name, area, known, counts in rows
        )

    @property
    def _known(self) -> list[bool]:
        """Whether anything was observed zone by zone, and of what is outside of all."""
        seen = (self._figures.observed[:-1] > 0) | (self._counts[:-1].sum(axis=1) > 0)
        return [*seen.tolist(), True]

    def _classes(self, counts: list[int], known: bool) -> dict[str, dict[str, float | None]]:
        return {
            title: {
                "count": number if known else None,
                "share": round(number / max(1, int(whole)), 6) if known else None,
            }
            for title, number, whole in zip(self._titles, counts, self._whole, strict=True)
        }

    def write(self, path: Any, *, made: Any = None) -> None:
        """The file of zones."""
        columns: dict[str, Array] = {self._figures.area_name: np.round(self._figures.observed[:-1], 2)}
        known = np.array(self._known[:-1], bool)
        for place, title in enumerate(self._titles):
            own = self._counts[:-1, place]
            shares = np.round(own / max(1, int(self._whole[place])), 6)
            columns[f"{title} count"] = np.where(known, own.astype(object), np.array(None, object))
            columns[f"{title} share"] = np.where(known, shares, np.nan)
        write_zones(path, self.zones.zones, columns, made=made)

    def notes(self) -> tuple[str, ...]:
        """What is to be known of these figures."""
        outside = int(self._counts[-1].sum())
        total = int(self._whole.sum())
        found = [
            f"{self._twice:,} of {total:,} things lie in more than one zone and count in each." if self._twice else "",
            f"{outside:,} of {total:,} things lie outside of all zones." if outside else "",
            *self._figures.unobserved_notes(),
        ]
        return tuple(note for note in found if note)
