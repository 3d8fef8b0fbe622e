"""`assess --draw`: from a map to a file of points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from earthwords.errors import Caution
from earthwords.evaluation.accuracy.allocation import SampleSpec
from earthwords.evaluation.accuracy.census import take_census
from earthwords.evaluation.accuracy.drawing import (
    DrawnPoints,
    SampleReport,
    chips_folder,
    draw_points,
    write_chips,
    write_points,
)
from earthwords.files.atomic import check_output, exists, parents_made_for
from earthwords.geo.class_raster import open_classes
from earthwords.geo.sources.find import inputs_of
from earthwords.geo.vectors.aoi import aoi_of
from earthwords.inference.cautions import enforce
from earthwords.jobs.progress import Console
from earthwords.types import Grid


def draw_sample(
    source: str | Path,
    out: Path,
    spec: SampleSpec,
    console: Console,
    *,
    classes: Path | None,
    aoi: Any,
    chips: str | None,
    side: int,
    overwrite: bool,
    strict: bool,
) -> SampleReport:
    """Read a map once, draw points and write them, with pictures of the image `chips`.

    Raises:
        UsageError: the numbers do not fit the map, or an output exists.
        SourceError: the map or the image cannot be read.
        OutputError: an output cannot be written.
    """
    area = None if aoi is None else aoi_of(aoi)
    with open_classes(source, names=classes, aoi=area) as raster:
        inputs = inputs_of([raster.source, *([] if chips is None else [chips])], classes=classes, aoi=aoi)
        inputs.check([out])
        folder = out.with_name(f"{out.stem}_chips") if chips is not None else None
        if folder is not None and folder.exists() and not overwrite:
            raise exists(folder)
        console.notes(raster.notes)
        with console.bar("reading the map", raster.grid.height, unit="rows") as tick:
            census = take_census(raster, most=spec.most, seed=spec.seed, tick=tick)
        drawn = draw_points(raster, census, spec)
        enforce(drawn.notes, strict=strict)
        notes = [*raster.notes, *drawn.notes]
        with parents_made_for(out):
            check_output(out, overwrite=overwrite)
            if folder is None or chips is None:
                write_points(drawn, out, raster.grid, chips=None, overwrite=overwrite)
            else:
                notes += _with_chips(
                    drawn, out, raster.grid, chips, folder, side=side, overwrite=overwrite, strict=strict
                )
        unit = "px" if raster.grid.crs is None else "m2"
    console.notes(notes)
    return SampleReport(
        map=raster.source, out=out, points=len(drawn.rows), strata=drawn.strata, unit=unit, allocation=spec.allocation,
        seed=spec.seed, chips=folder, notes=tuple(notes),
    )  # fmt: skip


def _with_chips(
    drawn: DrawnPoints, out: Path, grid: Grid, chips: str, folder: Path, *, side: int, overwrite: bool, strict: bool
) -> list[str]:
    """Pictures, then the points that name them; what is to be said."""
    with chips_folder(folder, overwrite=overwrite) as place:
        names = write_chips(drawn, grid, chips, place, side=side)
        paths = [None if name is None else f"{folder.name}/{name}" for name in names]
        missing = names.count(None)
        notes = [f"{missing:,} of {len(names):,} points lie beside {chips}: no picture of them."] if missing else []
        cautions: list[str] = list(map(Caution, notes))
        enforce(cautions, strict=strict)
        write_points(drawn, out, grid, chips=paths, overwrite=overwrite)
    return cautions
