"""From strips to counted things on the map: instances, picture, style, zones, report, in one pass.

All outputs are made in hidden folders and appear when everything is done: a run that fails or is interrupted leaves
nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution
from earthwords.files.atomic import remove_files, writing
from earthwords.files.output_sets import staging_all
from earthwords.files.output_tags import save_png
from earthwords.geo.destinations import left_over
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.styles import write_polygons_qml
from earthwords.geo.vectors import outlines
from earthwords.geo.vectors.write import VectorWriter
from earthwords.geo.vectors.zones import ZonesOnGrid
from earthwords.inference.cautions import enforce
from earthwords.inference.instances.candidates import Finder, InstanceCandidates
from earthwords.inference.instances.choose import chosen, doubts, several_as_one, worth
from earthwords.inference.instances.options import CountOptions
from earthwords.inference.instances.report import CountedClass, CountReport
from earthwords.inference.instances.zones import InstanceZones
from earthwords.inference.segment.postprocess import MARGIN
from earthwords.inference.windows.class_statistics import Figures
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import About, OutputOptions, of_grid, save_report, settings_of
from earthwords.inference.windows.pages import facts_of, page_notes, save_page, shown_area
from earthwords.inference.windows.strip import Strip
from earthwords.text.usual_sizes import UsualSize
from earthwords.types import Grid, VectorLayer, Vocabulary
from earthwords.viz.count_preview import CountPreview
from earthwords.viz.map_page import MapPage, PageRow, PageText, draw_things, file_name

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class CountWork:
    """How strips become instances."""

    finder: Finder
    counting: CountOptions
    seen: float
    """Side of what the model sees as one, pixels of the scene."""
    sizes: tuple[UsualSize | None, ...] = ()
    """See `choose.doubts`."""
    zones: ZonesOnGrid | None = None
    notes: tuple[str, ...] = ()
    """What is known beforehand."""


def write_counts(
    paths: Mapping[str, Path],
    strips: Iterable[Strip],
    *,
    about: About,
    options: OutputOptions,
    work: CountWork,
    policy: FailurePolicy,
    writing_begins: Callable[[], None] = lambda: None,
    moved: Callable[[CountReport], None] = lambda report: None,
) -> CountReport:
    """Count in one pass; arguments as of `write_outputs`.

    Raises:
        OutputError: an output cannot be written.
        UsageError: the result gives a caution, and that is asked to be an error.
    """
    began = time.perf_counter()
    settings = {**of_grid(about.grid), **settings_of(about.tags), **work.counting.settings()}
    figures, preview = Figures(about.grid, about.vocabulary), CountPreview(about.grid)
    zones = None if work.zones is None else InstanceZones(work.zones, about.vocabulary)
    old = left_over(paths) if options.overwrite else ()

    def done_moving() -> None:
        remove_files(old)
        moved(report)

    page = MapPage(about.grid) if "page" in paths else None
    with staging_all(paths, settings=settings, overwrite=options.overwrite, moved=done_moving) as places:
        for strip in strips:
            figures.add(strip)
            work.finder.add(strip)
            if "preview" in places:
                preview.add(strip.row, strip.rgb, strip.valid)
            if page is not None:
                page.add(strip.row, [strip.rgb], strip.valid)
            if zones is not None:
                zones.add(strip)
        found = chosen(work.finder.finish(), work.counting)
        segmented = time.perf_counter()
        writing_begins()
        if zones is not None:
            zones.count(found)
        doubted = _doubted(found, about.grid, work)
        notes = (*_notes(found, figures, zones, about, work, doubted), *page_notes(page))
        enforce(notes, strict=about.strict)
        write_files(places, found, about=about, counting=work.counting, preview=preview, zones=zones)
        done = time.perf_counter()
        seconds = {
            "loading": about.loading_s, "segmenting": segmented - began, "finishing": done - segmented,
            "total": about.loading_s + done - began,
        }  # fmt: skip
        report = CountReport(
            source=about.source,
            outputs=dict(paths),
            classes=counted_classes(found, about.grid, about.vocabulary, work.counting, doubted),
            nodata_share=figures.nodata_share,
            unlabelled_share=figures.unlabelled_share,
            undecided_share=figures.undecided_share,
            undecided_margin=None if figures.undecided_share is None else MARGIN,
            rounding_share=figures.rounding_share,
            settings=settings_of(about.tags) | work.counting.settings(),
            notes=notes,
            failures=tuple(policy.failures),
            zones=() if zones is None else zones.reports(),
            seconds={name: round(value, 3) for name, value in seconds.items()},
        )
        save_report(report, places)
        save_page(page, places, lambda: _page_text(report, found, page, about, work.counting))
    return report


def _page_text(
    report: CountReport, found: InstanceCandidates, page: MapPage | None, about: About, counting: CountOptions
) -> PageText:
    """How many of each class; draws them on the page first."""
    assert page is not None
    draw_things(page, found.masks, found.centres, points=counting.shapes == "points")
    rows = [
        PageRow(
            title=entry.name, label=entry.label, colour=about.vocabulary.classes[counting.counted[entry.label]].colour,
            cells=(f"{entry.count:,}", "" if entry.area_m2 is None else shown_area(entry.area_m2, entry.pixels)),
        )
        for entry in report.classes
    ]  # fmt: skip
    facts = facts_of(report.settings, ("method", "preset", "weights", "gsd", "aoi", "version"))
    columns = ("class", "number", "area")
    return PageText(title=file_name(report.source), columns=columns, rows=tuple(rows), notes=report.notes, facts=facts)


def _doubted(found: InstanceCandidates, grid: Grid, work: CountWork) -> tuple[str | None, ...]:
    """See `doubts`; without a CRS nothing is known of sizes."""
    if grid.crs is None or grid.gsd_m is None:
        return ()
    token = (work.seen * grid.gsd_m) ** 2
    return doubts(found, work.counting, sizes=work.sizes, areas=areas_of(found, grid), token=token)


def _notes(
    found: InstanceCandidates,
    figures: Figures,
    zones: InstanceZones | None,
    about: About,
    work: CountWork,
    doubted: tuple[str | None, ...],
) -> tuple[str, ...]:
    """What is known of the worth of the count, each once."""
    of_map = [note for note in figures.notes() if isinstance(note, Caution)]
    of_zones = () if zones is None else zones.notes()
    of_things = worth(found, work.counting, seen=work.seen, doubted=doubted)
    merged = _merged(found, about.grid, work)
    return tuple(dict.fromkeys((*about.notes, *work.notes, *of_map, *found.notes, *of_things, *merged, *of_zones)))


def _merged(found: InstanceCandidates, grid: Grid, work: CountWork) -> tuple[str, ...]:
    """See `several_as_one`; without a CRS nothing is known of sizes."""
    if grid.crs is None or grid.gsd_m is None:
        return ()
    return several_as_one(found, work.counting, sizes=work.sizes, areas=areas_of(found, grid))


def write_files(
    places: Mapping[str, Path],
    found: InstanceCandidates,
    *,
    about: About,
    counting: CountOptions,
    preview: CountPreview,
    zones: InstanceZones | None,
) -> None:
    """All but the report."""
    points = counting.shapes == "points"
    counted = [about.vocabulary.classes[label] for label in counting.counted]
    if "instances" in places:
        _write_instances(places["instances"], found, about, counting)
    if "style" in places:
        write_polygons_qml(places["style"], Vocabulary(classes=tuple(counted)), points=points)
    if "preview" in places:
        picture = preview.image(
            found.masks.boxes, found.centres, found.masks.classes, titles=found.masks.titles,
            colours=[c.colour for c in counted], points=points,
        )  # fmt: skip
        with writing(places["preview"]):
            save_png(picture, places["preview"], kind="preview")
    if zones is not None and "zones" in places:
        zones.write(places["zones"], made=about.made)


def _write_instances(path: Path, found: InstanceCandidates, about: About, counting: CountOptions) -> None:
    grid, masks = about.grid, found.masks
    if counting.shapes == "points":
        geometries, kind = outlines.points(found.centres, grid), "Point"
    elif counting.shapes == "boxes":
        geometries, kind = outlines.boxes(masks, grid), "Polygon"
    else:
        geometries = outlines.outlines(masks, grid)
        kind = "MultiPolygon" if any(one.geom_type == "MultiPolygon" for one in geometries) else "Polygon"
    columns = {
        "id": np.arange(1, len(masks) + 1),
        "class": np.array(masks.titles, object)[masks.classes],
        "label": masks.classes.astype(np.int32),
        "score": masks.scores.astype(np.float32),
    }
    schema = {"id": "int64", "class": "str", "label": "int32", "score": "float32"}
    if counting.method != "peaks":
        name = "area_px" if grid.crs is None else "area_m2"
        columns[name], schema[name] = areas_of(found, grid), "float64"
    with VectorWriter(
        path, crs=grid.crs, source_crs=grid.coordinate_crs, schema=schema, layer_name="instances",
        geometry_type=kind, made=about.made, gsd=grid.gsd_m,
    ) as writer:  # fmt: skip
        writer.write(VectorLayer(geometries=geometries, columns=columns, crs=grid.crs))


def areas_of(found: InstanceCandidates, grid: Grid) -> NDArray[np.float64]:
    """`(instance,)` square metres, or pixels without a CRS."""
    return np.asarray(found.masks.areas * PixelAreas(grid).at(found.centres[:, 1], found.centres[:, 0]))


def counted_classes(
    found: InstanceCandidates,
    grid: Grid,
    vocabulary: Vocabulary,
    counting: CountOptions,
    doubted: tuple[str | None, ...] = (),
) -> tuple[CountedClass, ...]:
    """The table of the report."""
    pixels, areas, scores = found.masks.areas, areas_of(found, grid), found.masks.scores
    measured = counting.method != "peaks"
    shaped = measured and grid.crs is not None
    rows = []
    for place, label in enumerate(counting.counted):
        mine = found.masks.classes == place
        number, own = int(mine.sum()), int(pixels[mine].sum())
        rows.append(
            CountedClass(
                label=place,
                name=vocabulary.titles[label],
                pixels=own,
                share=round(own / (grid.height * grid.width), 6),
                area_m2=round(float(areas[mine].sum()), 2) if shaped else None,
                mean_score=round(float(scores[mine].mean()), 4) if number else None,
                polygons=None if counting.shapes == "points" else number,
                count=number,
                expected=None if counting.expected is None else counting.expected[place],
                mean_area_m2=round(float(areas[mine].mean()), 2) if shaped and number else None,
                mean_area_px=round(own / number, 2) if measured and number else None,
                doubt=doubted[place] if doubted else None,
                total_score=round(float(scores[mine].sum()), 2),
            )
        )
    return tuple(rows)
