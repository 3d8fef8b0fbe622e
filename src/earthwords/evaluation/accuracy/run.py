"""`assess --truth`: from a map and its truth to figures."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import EarthwordsError, SourceError, UsageError, printable, printable_notes
from earthwords.evaluation.accuracy.assessment import Assessment, zero_errors
from earthwords.evaluation.accuracy.calibration import Calibration, ProbabilityPoints, calibrate, preset_text, titles_of
from earthwords.evaluation.accuracy.census import Census, take_census
from earthwords.evaluation.accuracy.classes import TruthClasses
from earthwords.evaluation.accuracy.estimators import Estimate, estimate
from earthwords.evaluation.accuracy.truth import AreaTruth, PointTruth, count_polygons, count_raster, read_points
from earthwords.files.atomic import atomic_path
from earthwords.files.paths import IMAGES
from earthwords.geo.class_names import VOCABULARY
from earthwords.geo.class_raster import ClassRaster, open_classes
from earthwords.geo.destinations import plan_assessment
from earthwords.geo.probabilities import read_probabilities
from earthwords.geo.sources.find import inputs_of
from earthwords.geo.vectors.aoi import aoi_of
from earthwords.geo.vectors.features import VectorFeatures, read_features
from earthwords.inference.cautions import enforce
from earthwords.jobs.progress import Console
from earthwords.presets import SEGMENT_PRESETS, SegmentPreset, load_preset

_MAKING = ("weights", "attention", "templates", "blend")
"""Fields of a preset that options of `segment` change, and tags of a map tell."""


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """What is to be done with probabilities."""

    probabilities: Path | None = None
    """None: those beside the map, if any."""
    out: Path | None = None
    """A preset to write."""
    preset: str | None = None
    """What it begins from; None: what the map was made with."""
    row: SegmentPreset | None = None
    """The same, loaded."""
    seed: int = 0
    overwrite: bool = False


def assess_map(
    source: str | Path,
    truth: str,
    console: Console,
    *,
    column: str | None,
    classes: Path | None,
    aoi: Any,
    truth_classes: Path | None,
    ignored: Sequence[str],
    calibration: CalibrationOptions,
    out: Path | None,
    overwrite: bool,
    strict: bool,
) -> Assessment:
    """Compare a map with its truth, write what is asked for.

    Raises:
        UsageError: they do not fit, or an output exists.
        SourceError: one of them cannot be read.
        OutputError: an output cannot be written.
    """
    area = None if aoi is None else aoi_of(aoi)
    with open_classes(source, names=classes, aoi=area) as raster:
        inputs = inputs_of(
            [raster.source, truth], classes=classes, truth_classes=truth_classes, aoi=aoi,
            probabilities=calibration.probabilities,
        )  # fmt: skip
        if out is not None:
            plan_assessment(Path(out), reliability=False, overwrite=overwrite, inputs=inputs)
        if calibration.out is not None:
            inputs.check([calibration.out])
            _base(raster.tags, calibration)
        height, features = raster.grid.height, _features(truth)
        with console.bar("reading the map", height, unit="rows") as tick:
            census = take_census(raster, tick=tick)
        known = TruthClasses(census.values, raster.names, ignored)
        if features is None:
            _only_points(calibration, column)
            with (
                open_classes(truth, names=truth_classes) as other,
                console.bar("comparing", height, unit="rows") as tick,
            ):
                found = _counted(count_raster(other, raster, census, known, tick), census, known)
        else:
            found = _by_features(features, raster, census, known, column, calibration, console)
        unit = "px" if raster.grid.crs is None else "m2"
        notes = (*raster.notes, *found.notes, *known.notes("point" if found.design != "counted" else "pixel"))
        found = replace(found, map=raster.source, truth=truth, unit=unit, notes=notes, inputs=inputs)
    found = replace(found, notes=printable_notes(dict.fromkeys((*found.notes, *zero_errors(found)))))
    console.notes(found.notes)
    enforce(found.notes, strict=strict)
    if calibration.out is not None:
        _write_preset(found, raster.tags, calibration, console)
    if out is not None:
        console.outputs(found.save(out, overwrite=overwrite))
    return found


def _features(truth: str) -> VectorFeatures | None:
    """Points or polygons; None: it is a raster, or a folder that `segment` made.

    Raises:
        SourceError: it is neither.
    """
    own = Path(truth)
    if own.suffix.lower() in (*IMAGES, ".vrt") or (own / "labels.tif").is_file():
        return None
    try:
        return read_features(truth)
    except SourceError as error:
        try:
            with open_classes(truth):
                return None
        except EarthwordsError:
            raise error from None


def _only_points(calibration: CalibrationOptions, column: str | None) -> None:
    if column is not None:
        raise UsageError("--column is for points and polygons; a raster has none.")
    if calibration.out is not None or calibration.probabilities is not None:
        raise UsageError("Probabilities are calibrated by points; draw some by --draw.")


def _by_features(
    features: VectorFeatures,
    raster: ClassRaster,
    census: Census,
    known: TruthClasses,
    column: str | None,
    calibration: CalibrationOptions,
    console: Console,
) -> Assessment:
    chosen = features.column(column)
    if features.kind == "polygons":
        _only_points(calibration, None)
        with console.bar("comparing", raster.grid.height, unit="rows") as tick:
            return _counted(count_polygons(features, raster, census, known, chosen, tick), census, known)
    points = read_points(features, raster, census, known, chosen)
    found = _sampled(points, census, known)
    calibrated, notes = _calibrated(points, raster, known, calibration)
    return replace(found, calibration=calibrated, notes=(*found.notes, *notes))


def _sampled(points: PointTruth, census: Census, known: TruthClasses) -> Assessment:
    """Figures of a sample."""
    holds = None
    if points.holds is not None:  # classes that only the truth has are mapped nowhere
        holds = np.pad(points.holds, ((0, 0), (0, len(known) - points.holds.shape[1])))
    figures = estimate(points.sample, points.strata, classes=len(known), holds=holds)
    return Assessment(
        map="", truth="", design="drawn" if points.drawn else "given", classes=tuple(known.titles),
        colours=tuple(known.colours), mapped_areas=_mapped(census, known), unit="",
        total_area=float(points.strata.sizes.sum()), counts=figures.counts, proportions=figures.proportions,
        overall=figures.overall, users=figures.users, producers=figures.producers, area=figures.area,
        strata=points.strata, notes=points.notes,
    )  # fmt: skip


def _counted(truth: AreaTruth, census: Census, known: TruthClasses) -> Assessment:
    """Figures of all pixels with a known truth, by area."""
    areas = truth.areas[:-1]
    total = areas.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        overall, users, producers = (
            np.trace(areas) / total,
            np.diag(areas) / areas.sum(axis=1),
            np.diag(areas) / areas.sum(0),
        )
    pixels = truth.pixels.copy()
    pixels[-1] = 0  # which are not part of the map
    mapped = tuple(float(area) if i < known.mapped else None for i, area in enumerate(areas.sum(axis=1)))
    return Assessment(
        map="", truth="", design="counted", classes=tuple(known.titles), colours=tuple(known.colours),
        mapped_areas=mapped, unit="", total_area=float(total), counts=pixels,
        proportions=np.pad(areas, ((0, 1), (0, 0))) / total, overall=_exact(np.asarray(overall)), users=_exact(users),
        producers=_exact(producers), area=_exact(areas.sum(axis=0) / total), notes=truth.notes,
    )  # fmt: skip


def _exact(value: NDArray[np.float64]) -> Estimate:
    return Estimate(value=value, se=np.where(np.isfinite(value), 0.0, np.nan))


def _mapped(census: Census, known: TruthClasses) -> tuple[float | None, ...]:
    return tuple(float(census.areas[i]) if i < known.mapped else None for i in range(len(known)))


def _calibrated(
    points: PointTruth, raster: ClassRaster, known: TruthClasses, options: CalibrationOptions
) -> tuple[Calibration | None, tuple[str, ...]]:
    """What probabilities are worth, None where there are none, and what is to be said.

    Raises:
        UsageError, SourceError: there are none, they are damaged, or points are too few, and they were asked for.
    """
    path = options.probabilities or _beside(Path(raster.source))
    asked = options.probabilities is not None or options.out is not None
    if path is None:
        if asked:
            raise UsageError(
                f"There are no probabilities beside {raster.source}: map again with --probabilities float32, or name "
                "them by --probabilities FILE."
            )
        return None, ()
    try:
        found = calibrate(_at_points(path, points, raster, known), seed=options.seed)
    except EarthwordsError as error:
        if asked:
            raise
        return None, (f"What the probabilities beside the map are worth is not told: {error}",)
    return found, found.notes


def _beside(source: Path) -> Path | None:
    """Probabilities that `segment` wrote with a map."""
    found = source.with_name("probabilities.tif" if source.name == "labels.tif" else f"{source.stem}_probabilities.tif")
    return found if found.is_file() else None


def _at_points(path: Path, points: PointTruth, raster: ClassRaster, known: TruthClasses) -> ProbabilityPoints:
    bands, values, tags, step = read_probabilities(path, raster.grid, points.rows, points.cols)
    vocabulary = tags.get(VOCABULARY)
    if vocabulary is not None and vocabulary != raster.tags.get(VOCABULARY, vocabulary):
        raise UsageError(f"The probabilities {path} are of other words than the map: {vocabulary}.")
    titles = titles_of(bands, [name.title for _, name in sorted(raster.names.items())] or known.titles[: known.mapped])
    numbers = {title: i for i, title in enumerate(titles)}
    truth = np.array([numbers.get(known.titles[i], -1) if i >= 0 else -1 for i in points.sample.truth], np.int64)
    kept = np.isfinite(values).all(axis=1) & (points.sample.truth >= 0)
    sums = values[kept].sum(axis=1)
    return ProbabilityPoints(
        titles=titles, probabilities=values[kept], truth=truth[kept], weight=_areas(points)[kept],
        stratum=points.sample.stratum[kept], step=step,
        softmax="EARTHWORDS_HEAD" not in tags and bool((sums <= 1 + len(titles) * max(step, 1e-4)).all()),
    )  # fmt: skip


def _areas(points: PointTruth) -> NDArray[np.float64]:
    """Of each point, what it stands for."""
    sample = points.sample
    together = np.bincount(sample.stratum, weights=sample.weight, minlength=len(points.strata))
    return np.asarray(sample.weight * points.strata.sizes[sample.stratum] / together[sample.stratum])


def _write_preset(found: Assessment, tags: dict[str, str], options: CalibrationOptions, console: Console) -> None:
    """The preset that `--calibrate` asks for.

    Raises:
        UsageError: nobody says what it begins from.
        OutputError: it cannot be written.
    """
    assert options.out is not None and found.calibration is not None
    base, row = _base(tags, options)
    if row.sigmoid:
        raise UsageError(
            f"The map was made with `sigmoid` of the preset {row.name}, whose probabilities --calibrate cannot fit; "
            "make it anew without, and calibrate that."
        )
    calibration = found.calibration
    scale = None
    if calibration.temperature is not None:
        before = tags.get("EARTHWORDS_LOGIT_SCALE", "")
        own = float(before) if re.fullmatch(r"\d{1,5}(\.\d+)?", before) else row.logit_scale
        scale = float(f"{min(1e4, own / calibration.temperature):.6g}")
    text = preset_text(
        base=base, made_by=printable(f"{Path(found.map).name}, {Path(found.truth).name}"),
        logit_scale=scale, changed=_changed(tags, row), found=calibration, had_thresholds=bool(row.thresholds),
    )  # fmt: skip
    with atomic_path(options.out, overwrite=options.overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.outputs({"preset": options.out})


def _base(tags: dict[str, str], options: CalibrationOptions) -> tuple[str, SegmentPreset]:
    """The preset to begin from, as it is named in a file, and its row."""
    if options.preset is not None and options.row is not None:
        name = options.preset
        return (name if name in SEGMENT_PRESETS else os.path.abspath(name)), options.row
    name = tags.get("EARTHWORDS_PRESET", "")
    if name not in SEGMENT_PRESETS:
        told = f"was made with the preset {name!r}, which is a file" if name else "does not tell its preset"
        raise UsageError(f"The map {told}: name what --calibrate begins from by --preset NAME|FILE.")
    return name, load_preset(name)


def _changed(tags: dict[str, str], row: SegmentPreset) -> dict[str, str | int]:
    """What options made other than the preset has it, so that the new one makes the same map."""
    told = {name: tags[f"EARTHWORDS_{name.upper()}"] for name in _MAKING if f"EARTHWORDS_{name.upper()}" in tags}
    found: dict[str, str | int] = {name: _place(value) for name, value in told.items() if value != getattr(row, name)}
    upsampler, _, weights = tags.get("EARTHWORDS_UPSAMPLER", "").partition(" ")
    if upsampler and (upsampler, weights) != (row.upsampler or "none", row.upsampler_weights or ""):
        found |= {"upsampler": upsampler, **({"upsampler_weights": _place(weights)} if weights else {})}
    tile = re.fullmatch(r"(\d+) overlap (\d+)", tags.get("EARTHWORDS_TILE", ""))
    if tile and tile.groups() != (str(row.tile_size), str(row.overlap)):
        found |= {"tile_size": int(tile[1]), "overlap": int(tile[2])}
    return found


def _place(name: str) -> str:
    """The name of a file as it is found from anywhere."""
    return os.path.abspath(name) if os.path.exists(name) else name
