"""From pairs of classes to files: the map of changes, polygons, picture, styles, figures, in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError
from earthwords.files.atomic import writing
from earthwords.files.output_sets import staging_all
from earthwords.files.output_tags import TAG, save_png
from earthwords.files.plaintext import write_json
from earthwords.geo.geotiff import RasterWriter
from earthwords.geo.styles import write_polygons_qml, write_qml
from earthwords.geo.vectors.vectorize import PolygonCollector, polygon_schema
from earthwords.geo.vectors.write import VectorWriter
from earthwords.inference.cautions import enforce
from earthwords.inference.change.dates.pair import PairFacts
from earthwords.inference.change.dates.report import ChangeReport, TransitionFigures
from earthwords.inference.change.dates.transitions import NOTHING, Transitions
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import OutputOptions, of_grid, on_success, settings_of
from earthwords.types import Grid, VectorLayer
from earthwords.viz.change_preview import ChangePreview


@dataclass(frozen=True, kw_only=True)
class ChangeStrip:
    """Consecutive full-width rows of what both dates cover, in pixels of the first one."""

    row: int
    """First row, counted from the top of the region."""
    pairs: NDArray[np.uint16]
    """`(row, col)`, see `Transitions.pair`."""
    score: NDArray[np.float32]
    """`(row, col)`, 0 where nothing changed."""
    rgb: tuple[NDArray[np.float32], NDArray[np.float32]]
    """Of either date `(3, row, col)`, 0..1."""
    valid: NDArray[np.bool_]
    """`(row, col)`, where both dates show something."""


@dataclass(frozen=True, kw_only=True)
class AboutChange:
    """What outputs tell of the comparison they hold."""

    before: str
    after: str
    grid: Grid
    """Of all outputs."""
    transitions: Transitions
    facts: PairFacts
    tags: Mapping[str, str]
    """`EARTHWORDS_...` to text."""
    notes: tuple[str, ...] = ()
    strict: bool = False
    loading_s: float = 0.0
    made: datetime | None = None
    """Time that outputs tell, see `VectorWriter`."""


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
    settings = {**of_grid(about.grid), **_given(options), **settings_of(about.tags)}
    with staging_all(paths, settings=settings, overwrite=options.overwrite, moved=lambda: moved(report)) as places:
        outputs = _ChangeOutputs(places=places, about=about, options=options)
        with ExitStack() as stack:
            sinks = outputs.open(stack)
            for strip in strips:
                for sink in sinks:
                    sink(strip)
            compared = time.perf_counter()
            if not outputs.figures.any:
                raise SourceError(f"{about.before} and {about.after} show no pixel in common.")
            writing_begins()
        done = time.perf_counter()
        enforce(about.notes, strict=about.strict)
        seconds = {"loading": about.loading_s, "comparing": compared - began, "finishing": done - compared}
        report = _report(paths, outputs.figures, about, options, policy, seconds)
        if "report" in places:
            with writing(places["report"]):
                write_json(places["report"], report.as_json(), indent=2)
    return report


def _given(options: OutputOptions) -> dict[str, str]:
    return {name.replace("_", "-"): str(value) for name, value in vars(options).items() if name != "overwrite"}


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


Sink = Callable[[ChangeStrip], None]


@dataclass(kw_only=True)
class _ChangeOutputs:
    """A function for every output that takes strips, and the figures of them all."""

    places: Mapping[str, Path]
    about: AboutChange
    options: OutputOptions
    figures: TransitionFigures = field(init=False)

    def __post_init__(self) -> None:
        self.figures = TransitionFigures(self.about.grid, self.about.transitions)

    def open(self, stack: ExitStack) -> list[Sink]:
        """`stack` completes the outputs; after an exception it abandons them."""
        places, vocabulary = self.places, self.about.transitions.map_vocabulary
        sinks: list[Sink] = [lambda strip: self.figures.add(strip.row, strip.pairs)]
        if "style" in places:
            write_qml(places["style"], vocabulary)
        if "polygons_style" in places:
            write_polygons_qml(places["polygons_style"], vocabulary)
        if "preview" in places:
            sinks.append(self._preview_sink(stack, places["preview"]))
        if "labels" in places:
            labels = stack.enter_context(self._writer(places["labels"]))
            sinks.append(lambda strip: labels.write(strip.row, self.about.transitions.labels(strip.pairs)))
        if "polygons" in places:
            sinks.append(self._polygon_sink(stack, places["polygons"]))
        return sinks

    def _preview_sink(self, stack: ExitStack, path: Path) -> Sink:
        transitions = self.about.transitions
        preview = ChangePreview(self.about.grid, transitions.map_vocabulary)

        def finish() -> None:
            with writing(path):
                save_png(preview.image(), path, kind="preview")

        on_success(stack, finish)
        return lambda strip: preview.add(
            strip.row, *strip.rgb, transitions.labels(strip.pairs), strip.valid & (strip.pairs != NOTHING)
        )

    def _writer(self, path: Path) -> RasterWriter:
        vocabulary = self.about.transitions.map_vocabulary
        return RasterWriter(
            path,
            grid=self.about.grid,
            dtype=vocabulary.label_dtype,
            nodata=vocabulary.nodata,
            colours=[c.colour for c in vocabulary.classes],
            categories=vocabulary.titles,
            band_names=["change"],
            tags={**self.about.tags, TAG: "changes"},
            creation_options=self.options.creation_options,
            resampling="mode",
        )

    def _polygon_sink(self, stack: ExitStack, path: Path) -> Sink:
        grid, transitions = self.about.grid, self.about.transitions
        vocabulary = transitions.map_vocabulary
        writer = stack.enter_context(
            VectorWriter(
                path, crs=grid.crs, source_crs=grid.coordinate_crs, schema=change_schema(grid), layer_name="changes",
                made=self.about.made,
            )
        )  # fmt: skip
        collector = PolygonCollector(
            grid=grid, vocabulary=vocabulary, min_area=self.options.min_area, simplify=self.options.simplify
        )

        def write(layers: Iterator[VectorLayer]) -> None:
            for layer in layers:
                writer.write(with_classes(layer, transitions))
                self.figures.count_polygons(layer)

        def sink(strip: ChangeStrip) -> None:
            labels = transitions.labels(strip.pairs)
            collector.add(strip.row, np.where(labels == 0, vocabulary.nodata, labels), strip.score)
            write(collector.drain())

        on_success(stack, lambda: write(collector.finish()))
        return sink


def change_schema(grid: Grid) -> dict[str, str]:
    """Names and numpy types of the columns of the polygons: those of any map, and both classes."""
    return {**polygon_schema(grid), "from": "str", "to": "str"}


def with_classes(layer: VectorLayer, transitions: Transitions) -> VectorLayer:
    """Polygons with the classes that their labels stand for, in columns `from` and `to`."""
    titles = np.array(transitions.vocabulary.titles, object)
    ends = np.array([(0, 0), *transitions.changes])[layer.columns["label"]].reshape(-1, 2)
    columns = {**layer.columns, "from": titles[ends[:, 0]], "to": titles[ends[:, 1]]}
    return VectorLayer(geometries=layer.geometries, columns=columns, crs=layer.crs)
