"""Results as tables on the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from earthwords.errors import number_of, printable
from earthwords.reports import SceneReport


def show(result: Any) -> None:
    """Print a result: `SceneReport` as a table of classes, others by their own `table()`."""
    console = Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    if isinstance(result, SceneReport) and not hasattr(result, "table"):
        console.print(f"{printable(result.source)}: {result.seconds['total']:.1f} s", soft_wrap=True)
        console.print(_scene_table(result))
        if result.unlabelled_share > 0 and result.undecided_share is not None:  # else: what no sentence means
            console.print(
                f"No class: {result.unlabelled_share:.1%} of what was observed (no word fits, or is probable enough).",
                soft_wrap=True,
            )
        if result.undecided_share is not None:
            console.print(
                f"Undecided: {result.undecided_share:.1%} of the map (the two best classes within "
                f"{result.undecided_margin:g} of what they share).",
                soft_wrap=True,
            )
        _show_zones(console, result)
        return
    title, columns, rows = result.table()
    console.print(printable(title), soft_wrap=True)
    table = Table(*columns)
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    console.print(table)
    if isinstance(result, SceneReport):
        _show_zones(console, result)


def _show_zones(console: Console, report: SceneReport) -> None:
    """The first zones, and what is outside of all."""
    if not report.zones:
        return
    *zones, outside = report.zones
    titles = list(outside.classes)
    figure = "count" if any("count" in figures for figures in outside.classes.values()) else "share"
    table = Table("zone", "name", *(printable(f"{title} {figure}") for title in titles[:_CLASSES]))
    for zone in [*zones[:_ZONES], outside]:
        values = [_figure(zone.classes[title][figure], figure) for title in titles[:_CLASSES]]
        table.add_row("" if zone is outside else str(zone.zone), printable(zone.name), *values)
    console.print(table)
    if len(zones) > _ZONES or len(titles) > _CLASSES:
        shown = f"The first {min(_ZONES, len(zones))} of {number_of(len(zones), 'zone')}"
        of_classes = f", {_CLASSES} of {len(titles)} classes" if len(titles) > _CLASSES else ""
        console.print(printable(f"{shown}{of_classes}; all are in {report.outputs['zones']}."), soft_wrap=True)


_ZONES, _CLASSES = 20, 8
"""That are shown."""


def _figure(value: float | None, kind: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if kind == "count" else f"{value:.1%}"


def _scene_table(report: SceneReport) -> Table:
    measured = any(c.area_m2 is not None for c in report.classes)
    decided = any(c.undecided is not None for c in report.classes)
    shown = ["class", "share", "area" if measured else "pixels", "mean score", *(["undecided"] * decided), "polygons"]
    table = Table(*shown)
    for row in report.classes:
        table.add_row(
            printable(row.name),
            f"{row.share:.1%}",
            _area(row.area_m2) if row.area_m2 is not None else f"{row.pixels:,}",
            "-" if row.mean_score is None else f"{row.mean_score:.2f}",
            *(["-" if row.undecided is None else f"{row.undecided:.1%}"] * decided),
            "-" if row.polygons is None else f"{row.polygons:,}",
        )
    return table


def _area(square_metres: float) -> str:
    if square_metres >= 1e6:
        return f"{square_metres / 1e6:,.2f} km2"
    if square_metres >= 1e4:
        return f"{square_metres / 1e4:,.2f} ha"
    return f"{square_metres:,.0f} m2"
