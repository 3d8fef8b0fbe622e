"""What pages with a map tell of segmentations, counts and changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.files.atomic import writing
from earthwords.reports import ClassReport, SceneReport
from earthwords.types import Vocabulary
from earthwords.viz.map_page import NONE, MapPage, PageRow, PageText, file_name

_TOLD = ("preset", "weights", "threshold", "gsd", "bands", "stretch", "aoi", "version")
"""Settings of a report that a page shows."""


def save_page(page: MapPage | None, places: Mapping[str, Path], text: Callable[[], PageText]) -> None:
    """Write it, where it is one of the outputs."""
    if page is not None and "page" in places:
        with writing(places["page"]):
            places["page"].write_text(page.html(text()), encoding="utf-8", newline="\n")


def page_notes(page: MapPage | None) -> tuple[str, ...]:
    """What is to be said of it."""
    note = None if page is None else page.size_note
    return () if note is None else (note,)


def known_labels(labels: NDArray[np.unsignedinteger[Any]], vocabulary: Vocabulary) -> NDArray[np.uint16]:
    """Labels `(row, col)` for a page."""
    return np.where(labels < len(vocabulary), labels, NONE).astype(np.uint16)


def segmentation_text(report: SceneReport, vocabulary: Vocabulary) -> PageText:
    """Of a map of classes, or of what sentences point at."""
    rows = [
        PageRow(
            title=entry.name, label=entry.label, colour=vocabulary.classes[entry.label].colour,
            cells=(f"{entry.share:.1%}", shown_area(entry.area_m2, entry.pixels), _score(entry)),
        )
        for entry in report.classes
    ]  # fmt: skip
    if report.unlabelled_share:
        rows.append(PageRow(title="without a class", cells=(f"{report.unlabelled_share:.1%}", "", "")))
    columns = ("class", "share", "area", "score")
    return PageText(
        title=file_name(report.source),
        columns=columns,
        rows=tuple(rows),
        notes=report.notes,
        facts=facts_of(report.settings),
    )


def facts_of(settings: Mapping[str, str], told: Sequence[str] = _TOLD) -> tuple[str, ...]:
    """Some of the settings, as lines."""
    return tuple(f"{name}: {settings[name]}" for name in told if settings.get(name))


def shown_area(square_metres: float | None, pixels: int) -> str:
    """For people."""
    if square_metres is None:
        return f"{pixels:,} px"
    if square_metres < 1e4:
        return f"{square_metres:,.0f} m²"
    return f"{square_metres / 1e4:,.2f} ha" if square_metres < 1e8 else f"{square_metres / 1e6:,.0f} km²"


def _score(entry: ClassReport) -> str:
    return "" if entry.mean_score is None else f"{entry.mean_score:.2f}"
