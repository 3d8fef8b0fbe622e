"""From pairs of classes to files: the map of changes, polygons, picture, styles, figures, in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.errors import SourceError
from earthwords.files.output_sets import staging_all
from earthwords.geo.vectors.vectorize import polygon_schema
from earthwords.inference.cautions import enforce
from earthwords.inference.change.dates.pair import PairFacts
from earthwords.inference.change.dates.report import ChangeReport, TransitionFigures
from earthwords.inference.change.dates.transitions import NOTHING, Transitions
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import (
    AboutMap,
    MapFiles,
    OutputOptions,
    Sink,
    save_report,
    settings_of,
    settings_with,
)
from earthwords.inference.windows.pages import facts_of, known_labels, page_notes, save_page
from earthwords.types import Grid, VectorLayer
from earthwords.viz.change_preview import ChangePreview
from earthwords.viz.map_page import PageRow, PageText, file_name


@dataclass(frozen=True, kw_only=True)
class ChangeStrip:
    """Consecutive full-width rows of what both dates cover, in pixels of the first one."""

    row: int
    """First row, counted from the top of the region."""
    pairs: NDArray[np.uint16]
    """`(row, col)`, see `Transitions.pair`."""
    labels: NDArray[np.unsignedinteger]
    """`(row, col)`, the same as labels of the map."""
    score: NDArray[np.float32]
    """`(row, col)`, 0 where nothing changed."""
    rgb: tuple[NDArray[np.float32], NDArray[np.float32]]
    """Of either date `(3, row, col)`, 0..1."""
    valid: NDArray[np.bool_]
    """`(row, col)`, where both dates show something."""


@dataclass(frozen=True, kw_only=True)
class AboutChange(AboutMap):
    """What outputs tell of the comparison they hold."""

    before: str
    after: str
    transitions: Transitions
    facts: PairFacts


def write_changes(
    paths: Mapping[str, Path],
    strips: Iterable[ChangeStrip],
    *,
    about: AboutChange,
    options: OutputOptions,
    policy: FailurePolicy,
    writing_begins: Callable[[], None] = lambda: None,
    moved: Callable[[ChangeReport], None] = lambda report: None,
) -> ChangeReport:
    """Write all of a comparison in one pass.

    Args:
        paths: kinds `labels`, `polygons`, `preview`, `style`, `polygons_style`, `report`, each with its path.
        strips: from top to bottom.
        policy: for the report, complete when the strips have ended.
        writing_begins: called when the strips have ended, before what is left to write is written.
        moved: called with the report when all is in its place, while a death would still make the same command begin
            again.

    Raises:
        OutputError: an output cannot be written.
        SourceError: the dates show no pixel in common.
    """
    began = time.perf_counter()
    settings = settings_with(about, options)
    with staging_all(paths, settings=settings, overwrite=options.overwrite, moved=lambda: moved(report)) as places:
        outputs = _ChangeFiles(places, about, options)
        compared, done = outputs.fill(strips, writing_begins)
        more = (*outputs.figures.notes, *outputs.vector_notes, *page_notes(outputs.page))
        about = replace(about, notes=(*about.notes, *more))
        enforce(about.notes, strict=about.strict)
        seconds = {"loading": about.loading_s, "comparing": compared - began, "finishing": done - compared}
        report = _report(paths, outputs.figures, about, options, policy, seconds)
        save_report(report, places)
        save_page(outputs.page, places, lambda: _page_text(report, about.transitions))
    return report


def _page_text(report: ChangeReport, transitions: Transitions) -> PageText:
    """From which class to which."""
    classes = transitions.map_vocabulary.classes
    rows = [
        PageRow(title=classes[label].title, label=label, colour=classes[label].colour, cells=(f"{area:,.4g}",))
        for label, (first, second) in enumerate(transitions.changes, 1)
        if (area := report.matrix[first][second])
    ]
    rows.append(PageRow(title="changed", cells=(f"{report.changed_share:.1%}",)))
    return PageText(
        title=f"{file_name(report.before)} → {file_name(report.after)}",
        columns=("change", report.unit), rows=tuple(rows), notes=report.notes,
        facts=facts_of(report.settings, ("method", "preset", "weights", "gsd", "aoi", "version")),
    )  # fmt: skip


def _report(
    paths: Mapping[str, Path],
    figures: TransitionFigures,
    about: AboutChange,
    options: OutputOptions,
    policy: FailurePolicy,
    seconds: Mapping[str, float],
) -> ChangeReport:
    found, pixel = about.facts.found, about.grid.ground_pixel_m
    metres = None if pixel is None else round(float(np.hypot(found.rows * pixel[1], found.cols * pixel[0])), 3)
    shift: dict[str, float | bool | None] = {
        "rows": round(found.rows, 3),
        "cols": round(found.cols, 3),
        "pixels": round(found.pixels, 3),
        "metres": metres,
        "peak": round(found.peak, 2),
        "sure": found.is_sure,
        "taken_out": any(about.facts.shift),
    }
    more = {"min_area": f"{options.min_area:g}", "simplify": f"{options.simplify:g}"}
    return ChangeReport(
        before=about.before,
        after=about.after,
        outputs=dict(paths),
        unit=figures.unit,
        classes=figures.classes(polygons="polygons" in paths),
        matrix=tuple(tuple(round(value, 6) for value in row) for row in figures.matrix.tolist()),
        changed_share=figures.changed_share,
        nodata_share=figures.nodata_share,
        shift=shift,
        settings=settings_of(about.tags) | more,
        notes=about.notes,
        seconds={name: round(value, 3) for name, value in {**seconds, "total": sum(seconds.values())}.items()},
        failures=tuple(policy.failures),
    )


class _ChangeFiles(MapFiles[ChangeStrip]):
    """Those of a map of changes; what did not change is no polygon."""

    KIND, BAND, LAYER = "changes", "change", "changes"
    PICTURES = ("after", "before")

    def __init__(self, places: Mapping[str, Path], about: AboutChange, options: OutputOptions) -> None:
        self.names, self.transitions = (about.before, about.after), about.transitions
        super().__init__(places, about, options, about.transitions.map_vocabulary)
        self.figures = TransitionFigures(about.grid, about.transitions)

    def count(self, strip: ChangeStrip) -> None:
        """See `MapFiles`."""
        self.figures.add(strip.row, strip.pairs)

    def count_polygons(self, layer: VectorLayer) -> None:
        """See `MapFiles`."""
        self.figures.count_polygons(layer)

    def check(self) -> None:
        """
        Raises:
            SourceError: the dates show no pixel in common.
        """
        if not self.figures.any:
            raise SourceError(f"{self.names[0]} and {self.names[1]} show no pixel in common.")

    def picture(self) -> tuple[Sink[ChangeStrip], Callable[[], Image.Image]]:
        """See `MapFiles`."""
        preview = ChangePreview(self.about.grid, self.vocabulary)

        def add(strip: ChangeStrip) -> None:
            preview.add(strip.row, *strip.rgb, strip.labels, strip.valid & (strip.pairs != NOTHING))

        return add, preview.image

    def on_page(self, strip: ChangeStrip) -> None:
        """See `MapFiles`."""
        assert self.page is not None
        labels = known_labels(self.drawn(strip), self.vocabulary)
        self.page.add(strip.row, strip.rgb[::-1], strip.valid & (strip.pairs != NOTHING), labels)

    def drawn(self, strip: ChangeStrip) -> NDArray[np.unsignedinteger]:
        """See `MapFiles`."""
        return np.where(strip.labels == 0, self.vocabulary.nodata, strip.labels)

    def columns(self) -> dict[str, str]:
        """See `MapFiles`."""
        return change_schema(self.about.grid)

    def featured(self, layer: VectorLayer) -> VectorLayer:
        """See `MapFiles`."""
        return with_classes(layer, self.transitions)


def change_schema(grid: Grid) -> dict[str, str]:
    """Names and numpy types of the columns of the polygons: those of any map, and both classes."""
    return {**polygon_schema(grid), "from": "str", "to": "str"}


def with_classes(layer: VectorLayer, transitions: Transitions) -> VectorLayer:
    """Polygons with the classes that their labels stand for, in columns `from` and `to`."""
    titles = np.array(transitions.vocabulary.titles, object)
    ends = np.array([(0, 0), *transitions.changes])[layer.columns["label"]].reshape(-1, 2)
    columns = {**layer.columns, "from": titles[ends[:, 0]], "to": titles[ends[:, 1]]}
    return VectorLayer(geometries=layer.geometries, columns=columns, crs=layer.crs)
