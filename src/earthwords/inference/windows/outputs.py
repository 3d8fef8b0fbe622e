"""From strips to files: labels, probabilities, polygons, picture, styles, figures, in one pass.

All outputs are made in hidden folders and appear when everything is done: a run that fails or is interrupted
leaves nothing behind.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.errors import UsageError
from earthwords.files.atomic import remove_files, writing
from earthwords.files.output_sets import staging_all
from earthwords.files.output_tags import TAG, save_png
from earthwords.files.plaintext import write_json
from earthwords.geo.destinations import left_over
from earthwords.geo.geotiff import RasterWriter, cog_options
from earthwords.geo.stac_item import save_item
from earthwords.geo.styles import write_polygons_qml, write_qml
from earthwords.geo.vectors.vectorize import PolygonCollector, polygon_schema
from earthwords.geo.vectors.write import VectorWriter
from earthwords.geo.vectors.zones import ZonesOnGrid
from earthwords.inference.cautions import enforce, is_radar, presence_notes
from earthwords.inference.segment.postprocess import MARGIN
from earthwords.inference.windows.class_statistics import Figures
from earthwords.inference.windows.failures import FailurePolicy, largest
from earthwords.inference.windows.pages import known_labels, page_notes, save_page, segmentation_text
from earthwords.inference.windows.strip import Strip
from earthwords.inference.windows.zone_figures import ZoneFigures
from earthwords.reports import SceneReport
from earthwords.types import SCORE_STEPS, Grid, VectorLayer, Vocabulary
from earthwords.viz.map_page import MapPage
from earthwords.viz.preview import PreviewBuilder

PROBABILITIES = ("no", "uint8", "float32")


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How outputs are written."""

    probabilities: str = "no"
    """`no`, `uint8` or `float32`."""
    min_area: float = 0.0
    """Smallest polygon kept, m2 (pixels without a CRS)."""
    simplify: float = 0.0
    """Tolerance of outlines, metres (pixels without a CRS)."""
    creation_options: Mapping[str, str] = field(default_factory=dict)
    """For GDAL's COG driver."""
    overwrite: bool = False

    def settings(self) -> dict[str, str]:
        """All that outputs depend on, as text."""
        return {name.replace("_", "-"): str(value) for name, value in vars(self).items() if name != "overwrite"}

    def __post_init__(self) -> None:
        if not (0 <= self.min_area < float("inf") and 0 <= self.simplify < float("inf")):
            raise UsageError(
                f"Areas and tolerances cannot be negative or infinite, got {self.min_area:g} and {self.simplify:g}."
            )
        if self.probabilities not in PROBABILITIES:
            raise UsageError(f"Probabilities are one of {', '.join(PROBABILITIES)}, not {self.probabilities!r}.")
        cog_options("uint8", given=self.creation_options)


@dataclass(frozen=True, kw_only=True)
class AboutMap:
    """What outputs tell of the map they hold, whatever it shows."""

    grid: Grid
    """Of all outputs."""
    tags: Mapping[str, str]
    """`EARTHWORDS_...` to text."""
    notes: tuple[str, ...] = ()
    """What is known before the work; what the map itself tells is added."""
    strict: bool = False
    """A caution that the map itself gives is an error, and nothing is written."""
    loading_s: float = 0.0
    """Time already spent."""
    made: datetime | None = None
    """Time that outputs tell, see `VectorWriter`."""
    taken: datetime | None = None
    """When the day of the scene begins, where an output tells it."""


@dataclass(frozen=True, kw_only=True)
class About(AboutMap):
    """What outputs tell of the segmentation they hold."""

    source: str
    vocabulary: Vocabulary
    searching_s: float = 0.0
    """Of `refer`: time that it took to find what is drawn, part of the segmenting."""


def write_outputs(
    paths: Mapping[str, Path],
    strips: Iterable[Strip],
    *,
    about: About,
    options: OutputOptions,
    policy: FailurePolicy | None = None,
    zones: ZonesOnGrid | None = None,
    writing_begins: Callable[[], None] = lambda: None,
    moved: Callable[[SceneReport], None] = lambda report: None,
) -> SceneReport:
    """Write all of a segmentation in one pass.

    Args:
        paths: kinds `labels`, `polygons`, `preview`, `page`, `style`, `polygons_style`, `probabilities`, `report`,
            `zones`, `item`, each with its path.
        strips: from top to bottom, with probabilities if those are asked for.
        account: for the report, complete when the strips have ended.
        zones: of which figures are wanted too.
        writing_begins: called when the strips have ended, before what is left to write is written.
        moved: called with the report when all is in its place, while a death would still make the same command begin
            again.

    Raises:
        OutputError: an output cannot be written.
        UsageError: the map gives a caution, and that is asked to be an error.
    """
    began = time.perf_counter()
    settings = settings_with(about, options)
    old = left_over(paths) if options.overwrite else ()

    def done_moving() -> None:
        remove_files(old)
        moved(report)

    with staging_all(paths, settings=settings, overwrite=options.overwrite, moved=done_moving) as places:
        outputs = _SegmentationFiles(places, about, options, zones)
        segmented, done = outputs.fill(strips, writing_begins)
        figures = outputs.figures
        by_zone = outputs.zones
        present = largest(policy.presence) if policy else {}
        own = (*figures.notes(), *presence_notes(present, about.vocabulary))
        notes = tuple(dict.fromkeys((*about.notes, *own, *(by_zone.notes() if by_zone else ()))))
        notes = (*notes, *outputs.vector_notes, *page_notes(outputs.page))
        enforce(notes, strict=about.strict)
        seconds = {
            "loading": about.loading_s,
            "segmenting": about.searching_s + segmented - began,
            "finishing": done - segmented,
            "total": about.loading_s + about.searching_s + done - began,
        }
        report = SceneReport(
            source=about.source,
            outputs=dict(paths),
            classes=figures.classes(polygons="polygons" in paths),
            nodata_share=figures.nodata_share,
            unlabelled_share=figures.unlabelled_share,
            undecided_share=figures.undecided_share,
            undecided_margin=None if figures.undecided_share is None else MARGIN,
            rounding_share=figures.rounding_share,
            settings=settings_of(about.tags) | _more(options, policy, about.vocabulary.titles),
            notes=notes,
            failures=tuple(policy.failures) if policy else (),
            zones=by_zone.reports() if by_zone else (),
            seconds={name: round(value, 3) for name, value in seconds.items()},
        )
        save_report(report, places)
        if "item" in places:
            save_item(
                places["item"], grid=about.grid, outputs=paths, vocabulary=about.vocabulary, tags=about.tags,
                taken=about.taken, made=about.made,
            )  # fmt: skip
        save_page(outputs.page, places, lambda: segmentation_text(report, about.vocabulary))
    return report


class Report(Protocol):
    """What became of a scene."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""


def save_report(report: Report, places: Mapping[str, Path]) -> None:
    """Write it, where it is one of the outputs."""
    if "report" in places:
        with writing(places["report"]):
            write_json(places["report"], report.as_json(), indent=2)


def settings_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as reports call them."""
    return {key.removeprefix("EARTHWORDS_").lower(): value for key, value in tags.items()}


def settings_with(about: AboutMap, options: OutputOptions) -> dict[str, str]:
    """What tells a command from others with the same outputs."""
    return {**of_grid(about.grid), **options.settings(), **settings_of(about.tags)}


def of_grid(grid: Grid) -> dict[str, str]:
    """What tells a part of a scene from others."""
    return {"region": f"{grid.height} x {grid.width} pixels at {grid.transform.c:.12g}, {grid.transform.f:.12g}"}


def _more(options: OutputOptions, policy: FailurePolicy | None, titles: Sequence[str]) -> dict[str, str]:
    """Settings that are not in the tags of rasters."""
    found = {"min_area": f"{options.min_area:g}", "simplify": f"{options.simplify:g}"}
    if policy and policy.ranks:
        found["ranks"] = f"{min(policy.ranks)} to {max(policy.ranks)}"
    if policy and (present := largest(policy.presence)):
        shown = (f"{titles[label]} {value:.2f}" for label, value in present.items())
        found["presence"] = "; ".join(shown)
    return found


class MapStrip(Protocol):
    """Some rows of a map."""

    @property
    def row(self) -> int: ...
    @property
    def labels(self) -> NDArray[np.unsignedinteger]: ...
    @property
    def score(self) -> NDArray[np.float32]: ...


S = TypeVar("S", bound=MapStrip)
Sink = Callable[[S], None]


class MapFiles(ABC, Generic[S]):
    """A function for every file of a map that takes its strips, and the figures of them all."""

    KIND: ClassVar[str] = "labels"
    """What the raster of labels says it is."""
    BAND: ClassVar[str] = "class"
    LAYER: ClassVar[str] = "polygons"
    PICTURES: ClassVar[tuple[str, ...]] = ("picture",)

    def __init__(
        self, places: Mapping[str, Path], about: AboutMap, options: OutputOptions, vocabulary: Vocabulary
    ) -> None:
        """`vocabulary`: of the labels of the map."""
        self.places = places
        self.about = about
        self.options = options
        self.vocabulary = vocabulary
        self.vector_notes: list[str] = []
        """What the format of the polygons could not keep."""
        self.page: MapPage | None = None

    @abstractmethod
    def count(self, strip: S) -> None:
        """Take a strip into the figures."""

    @abstractmethod
    def count_polygons(self, layer: VectorLayer) -> None:
        """Take polygons into the figures."""

    @abstractmethod
    def picture(self) -> tuple[Sink[S], Callable[[], Image.Image]]:
        """What takes strips, and makes the picture of them."""

    @abstractmethod
    def on_page(self, strip: S) -> None:
        """Put a strip on the page."""

    def drawn(self, strip: S) -> NDArray[np.unsignedinteger]:
        """Labels that become polygons, `vocabulary.nodata` elsewhere."""
        return strip.labels

    def columns(self) -> dict[str, str]:
        """Names and numpy types of the columns of the polygons."""
        return polygon_schema(self.about.grid)

    def featured(self, layer: VectorLayer) -> VectorLayer:
        """Polygons with all their `columns`."""
        return layer

    def check(self) -> None:
        """Refuse what is wrong when all strips have come, before anything is complete."""

    def fill(self, strips: Iterable[S], writing_begins: Callable[[], None]) -> tuple[float, float]:
        """Write everything; when the last strip had come, and when all was done."""
        with ExitStack() as stack:
            sinks = self.open(stack)
            for strip in strips:
                for sink in sinks:
                    sink(strip)
            came = time.perf_counter()
            self.check()
            writing_begins()
        return came, time.perf_counter()

    def open(self, stack: ExitStack) -> list[Sink[S]]:
        """`stack` completes the outputs; after an exception it abandons them."""
        places = self.places
        sinks: list[Sink[S]] = [self.count]
        if "style" in places:
            write_qml(places["style"], self.vocabulary)
        if "polygons_style" in places:
            write_polygons_qml(places["polygons_style"], self.vocabulary)
        if "preview" in places:
            sinks.append(self._preview_sink(stack, places["preview"]))
        if "page" in places:
            self.page = MapPage(self.about.grid, pictures=self.PICTURES)
            sinks.append(self.on_page)
        if "labels" in places:
            labels = stack.enter_context(self._labels_writer(places["labels"]))
            sinks.append(lambda strip: labels.write(strip.row, strip.labels))
        if "polygons" in places:
            sinks.append(self._polygon_sink(stack, places["polygons"]))
        return sinks

    def _preview_sink(self, stack: ExitStack, path: Path) -> Sink[S]:
        add, image = self.picture()

        def finish() -> None:
            with writing(path):
                save_png(image(), path, kind="preview")

        on_success(stack, finish)
        return add

    def _labels_writer(self, path: Path) -> RasterWriter:
        return RasterWriter(
            path,
            grid=self.about.grid,
            dtype=self.vocabulary.label_dtype,
            nodata=self.vocabulary.nodata,
            colours=[c.colour for c in self.vocabulary.classes],
            categories=self.vocabulary.titles,
            band_names=[self.BAND],
            tags={**self.about.tags, TAG: self.KIND},
            creation_options=self.options.creation_options,
            resampling="mode",
        )

    def _polygon_sink(self, stack: ExitStack, path: Path) -> Sink[S]:
        grid = self.about.grid
        writer = stack.enter_context(
            VectorWriter(
                path, crs=grid.crs, source_crs=grid.coordinate_crs, schema=self.columns(), layer_name=self.LAYER,
                made=self.about.made, gsd=grid.gsd_m,
            )
        )  # fmt: skip
        on_success(stack, lambda: self.vector_notes.extend(writer.notes))
        collector = PolygonCollector(
            grid=grid, vocabulary=self.vocabulary, min_area=self.options.min_area, simplify=self.options.simplify
        )

        def write(layers: Iterator[VectorLayer]) -> None:
            for layer in layers:
                writer.write(self.featured(layer))
                self.count_polygons(layer)

        def sink(strip: S) -> None:
            collector.add(strip.row, self.drawn(strip), strip.score)
            write(collector.drain())

        on_success(stack, lambda: write(collector.finish()))
        return sink


class _SegmentationFiles(MapFiles[Strip]):
    """Those of a map of classes: probabilities and figures of zones too."""

    def __init__(
        self, places: Mapping[str, Path], about: About, options: OutputOptions, zones: ZonesOnGrid | None = None
    ) -> None:
        super().__init__(places, about, options, about.vocabulary)
        self.figures = Figures(about.grid, about.vocabulary, radar=is_radar(about.tags))
        self.zones = None if zones is None else ZoneFigures(zones, about.vocabulary)

    def count(self, strip: Strip) -> None:
        """See `MapFiles`."""
        self.figures.add(strip)

    def count_polygons(self, layer: VectorLayer) -> None:
        """See `MapFiles`."""
        self.figures.count_polygons(layer)

    def picture(self) -> tuple[Sink[Strip], Callable[[], Image.Image]]:
        """See `MapFiles`."""
        preview = PreviewBuilder(self.about.grid, self.vocabulary)
        return lambda strip: preview.add(strip.row, strip.rgb, strip.labels, strip.valid), preview.image

    def on_page(self, strip: Strip) -> None:
        """See `MapFiles`."""
        assert self.page is not None
        self.page.add(strip.row, [strip.rgb], strip.valid, known_labels(strip.labels, self.vocabulary))

    def open(self, stack: ExitStack) -> list[Sink[Strip]]:
        """See `MapFiles`."""
        sinks, places = super().open(stack), self.places
        if "probabilities" in places:
            writer = stack.enter_context(self._probabilities_writer(places["probabilities"]))
            sinks.append(lambda strip: writer.write(strip.row, packed(strip.probabilities, self.options.probabilities)))
        if (zones := self.zones) is not None:
            sinks.append(zones.add)
            if "zones" in places:
                on_success(stack, lambda: zones.write(places["zones"], made=self.about.made))
        return sinks

    def _probabilities_writer(self, path: Path) -> RasterWriter:
        as_bytes = self.options.probabilities == "uint8"
        scale = {"EARTHWORDS_SCALE": f"probability = value / {SCORE_STEPS}"} if as_bytes else {}
        return RasterWriter(
            path,
            grid=self.about.grid,
            count=len(self.vocabulary),
            dtype="uint8" if as_bytes else "float32",
            nodata=255 if as_bytes else float("nan"),
            band_names=self.vocabulary.titles,
            tags={**self.about.tags, **scale, TAG: "probabilities"},
            creation_options=self.options.creation_options,
            resampling="average",
        )


def on_success(stack: ExitStack, finish: Callable[[], None]) -> None:
    """Call `finish` when the stack unwinds, except after an exception."""
    stack.push(lambda kind, error, trace: finish() if kind is None else None)


def packed(probabilities: NDArray[Any] | None, kind: str) -> NDArray[Any]:
    """`(class, row, col)` as it is written; what is packed already stays as it is."""
    assert probabilities is not None
    if kind == "float32" or probabilities.dtype == np.uint8:
        return probabilities
    return np.where(np.isnan(probabilities), 255, np.rint(probabilities * SCORE_STEPS)).astype(np.uint8)
