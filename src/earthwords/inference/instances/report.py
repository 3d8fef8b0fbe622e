"""What became of a count."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.errors import number_of
from earthwords.reports import ClassReport, SceneReport


@dataclass(frozen=True, kw_only=True)
class CountedClass(ClassReport):
    """What was found of a class; pixels and area are those of its instances."""

    count: int
    expected: int | None = None
    """How many there are, as somebody says; None: nobody does."""
    mean_area_m2: float | None = None
    """Of an instance; None without a CRS, without instances, and of points."""
    mean_area_px: float | None = None
    """Of an instance; None without instances, and of peaks, which have none."""
    doubt: str | None = None
    """Why the number means little; None: nothing is known against it."""
    total_score: float = 0.0
    """Sum of the scores: how many there are, if scores were calibrated."""


@dataclass(frozen=True, kw_only=True)
class CountReport(SceneReport):
    """What became of a scene in which things were counted."""

    classes: tuple[CountedClass, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Class to number."""
        return {row.name: row.count for row in self.classes}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        total = number_of(sum(self.counts.values()), "thing")
        title = f"{self.source}: {total}, {self.seconds['total']:.1f} s"
        told = any(row.expected is not None for row in self.classes)
        columns = ("class", "count", *(("expected",) if told else ()), "mean score", "mean area")
        return title, columns, [_row(row, told=told) for row in self.classes]


def _row(row: CountedClass, *, told: bool) -> list[str]:
    expected = [f"{row.expected:,}"] if told and row.expected is not None else []
    score = "-" if row.mean_score is None else f"{row.mean_score:.2f}"
    pixels = "-" if row.mean_area_px is None else f"{row.mean_area_px:,.1f} px"
    area = pixels if row.mean_area_m2 is None else f"{row.mean_area_m2:,.1f} m2"
    return [row.name, f"{row.count:,}", *expected, score, area]
