"""Truth beside a map: points as a sample of strata, rasters and polygons as counts of pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.errors import Caution, SourceError, UsageError, number_of
from earthwords.evaluation.accuracy.census import Census
from earthwords.evaluation.accuracy.classes import TruthClasses
from earthwords.evaluation.accuracy.estimators import PointSample, Strata
from earthwords.geo.class_raster import ClassRaster, ValueIndex
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.vectors.burn import Burner
from earthwords.geo.vectors.features import VectorFeatures, as_text
from earthwords.geo.vectors.into_pixels import IntoPixels

DESIGN = ("stratum", "strat_area", "strat_px", "weight")
"""Columns of points that `assess --draw` has drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointTruth:
    """Points that can be reckoned with."""

    sample: PointSample
    strata: Strata
    drawn: bool
    """By `assess --draw`, whose strata they carry."""
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    """`(point,)` pixels of the map; -1 beside it."""
    holds: NDArray[np.bool_] | None
    """See `estimate`."""
    notes: tuple[str, ...]


def read_points(
    features: VectorFeatures, raster: ClassRaster, census: Census, classes: TruthClasses, column: str
) -> PointTruth:
    """Points with their stratum, the class of the map there, and the true class.

    Raises:
        UsageError: no point has a class, or none lies on the map.
        SourceError: a shape has several points.
    """
    source, notes = features.source, _without_shape(features)
    if (shapely.get_num_geometries(features.geometries) > 1).any():
        raise SourceError(f"{source} holds shapes of several points; split them into single ones.")
    way = IntoPixels(features.crs, raster.grid, source=source, onto="the map")
    places, inside = way.pixels(shapely.get_coordinates(features.geometries))
    rows, cols = places.T
    if way.moved:
        notes.append(f"The points were reprojected to the CRS of the map ({_crs_name(raster)}).")
    words = np.array([as_text(value) for value in features.columns[column]], object)
    told = words != ""
    if not told.any():
        raise UsageError(f"No point of {source} has a class yet: fill in the column {column!r}.")
    if not told.all():
        notes.append(
            f"{number_of(int((~told).sum()), 'point')} of {len(told):,} without a class left out: figures hold if they "
            "are like the others."
        )
    values, valid = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    values[inside], valid[inside] = raster.at(rows[inside], cols[inside])
    mapped = np.array([classes.of_value(int(v)) if ok else -1 for v, ok in zip(values, valid, strict=True)], np.int64)
    drawn = all(name in features.columns for name in DESIGN)
    if drawn:
        number, strata, weight, more = _as_drawn(features, told)
        notes += more
        keep = told & (number >= 0)
        _notes_on_changed(strata, census, mapped[keep], inside[keep], notes)
    else:
        keep = told & (mapped >= 0)
        _notes_on_given(told, inside, valid, keep, notes, source)
        there = np.bincount(mapped[keep], minlength=classes.mapped)[: classes.mapped] > 0
        number, strata = _of_map(census, classes, there, mapped, notes)
        weight = _pixel_areas(raster, rows, cols, keep)
    truth = classes.numbers(words[keep])
    sample = PointSample(stratum=number[keep], mapped=mapped[keep], truth=truth, weight=weight[keep])
    place = np.where(inside & keep, rows, -1)[keep], np.where(inside & keep, cols, -1)[keep]
    holds = _holds(strata, classes, sample)
    notes += _single_points(sample, strata)
    return PointTruth(
        sample=sample, strata=strata, drawn=drawn, rows=place[0], cols=place[1], holds=holds, notes=tuple(notes)
    )


def _as_drawn(features: VectorFeatures, told: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Strata, Any, list[str]]:
    """Stratum of each point (-1: of none that has a told point), the strata, and weights."""
    source = features.source
    columns = features.columns
    try:
        sizes, pixels, weight = (np.asarray(columns[name], float) for name in DESIGN[1:])
    except (TypeError, ValueError) as error:
        raise UsageError(_spoilt(source)) from error
    names = np.array([as_text(value) for value in columns["stratum"]], object)
    listed = list(dict.fromkeys(names))
    number = np.array([listed.index(name) for name in names], np.int64)
    first = np.array([int(np.argmax(number == i)) for i in range(len(listed))])
    alike = np.allclose(sizes, sizes[first][number]) and np.allclose(pixels, pixels[first][number])
    numbers = np.stack([sizes, pixels, weight])
    if not (alike and (names != "").all() and np.isfinite(numbers).all() and (numbers > 0).all()):
        raise UsageError(_spoilt(source))
    has = np.bincount(number[told], minlength=len(listed)) > 0
    notes: list[str] = []
    if not has.all():
        lost = ", ".join(str(listed[i]) for i in np.flatnonzero(~has))
        share = sizes[first][~has].sum() / sizes[first].sum()
        notes.append(
            Caution(f"No point of the stratum {lost} has a class: figures leave its {share:.1%} of the map out.")
        )
    new = np.cumsum(has) - 1
    kept = first[has]
    strata = Strata(names=tuple(str(listed[i]) for i in np.flatnonzero(has)), sizes=sizes[kept], pixels=pixels[kept])
    return np.where(has[number], new[number], -1), strata, weight, notes


def _spoilt(source: str) -> str:
    return (
        f"{source} has the columns {', '.join(DESIGN)} of a drawn sample, but not as they were drawn: fill in the "
        "class alone, or delete these columns."
    )


def _notes_on_changed(
    strata: Strata, census: Census, mapped: NDArray[np.int64], inside: NDArray[np.bool_], notes: list[str]
) -> None:
    """What is to be said where the map is not the one that points were drawn from."""
    nothing = int((mapped < 0).sum())
    if nothing:
        beside = int((~inside).sum())
        where = f" ({beside:,} of them beside it)" if beside else ""
        notes.append(
            f"{number_of(nothing, 'point')} where this map has no class{where}: counted for areas, not for accuracy."
        )
    before, now = strata.sizes.sum(), census.areas.sum()
    if abs(before - now) > 0.01 * before:
        notes.append(
            f"This map has classes for {now / before:.1%} of the area that the points were drawn from: areas are "
            "of what they were drawn from."
        )


def _notes_on_given(
    told: NDArray[np.bool_], inside: NDArray[np.bool_], valid: NDArray[np.bool_], keep: NDArray[np.bool_],
    notes: list[str], source: str,
) -> None:  # fmt: skip
    """What becomes of points that lie on no class."""
    beside, hidden = int((told & ~inside).sum()), int((told & inside & ~valid).sum())
    if not keep.any():
        where = "beside the map" if beside >= hidden else "where the map has no class"
        raise UsageError(f"No point of {source} lies on a class of the map: all are {where}; check CRS and map.")
    if beside:
        notes.append(f"{number_of(beside, 'point')} beside the map left out.")
    if hidden:
        notes.append(f"{number_of(hidden, 'point')} on nodata of the map left out.")
    notes.append(
        "The points were not drawn by assess --draw: standard errors and intervals hold only if they are a random "
        "sample of the map, or of each of its classes."
    )


def _of_map(
    census: Census, classes: TruthClasses, there: NDArray[np.bool_], mapped: NDArray[np.int64], notes: list[str]
) -> tuple[NDArray[np.int64], Strata]:
    """The classes of the map as strata, without those that no point lies in."""
    gone = np.flatnonzero(~there & (np.array(census.pixels) > 0))
    if len(gone):
        lost = [f"{classes.titles[i]} ({census.areas[i] / census.areas.sum():.1%} of the map)" for i in gone]
        notes.append(Caution(f"No point lies in what is mapped {', '.join(lost)}: all figures leave that out."))
    new = np.cumsum(there) - 1
    kept = np.flatnonzero(there)
    strata = Strata(
        names=tuple(classes.titles[i] for i in kept),
        sizes=census.areas[kept],
        pixels=np.array([census.pixels[i] for i in kept], float),
    )
    inside = (mapped >= 0) & (mapped < len(there))
    return np.where(inside, new[np.clip(mapped, 0, len(there) - 1)], -1), strata


def _holds(strata: Strata, classes: TruthClasses, sample: PointSample) -> NDArray[np.bool_] | None:
    """Where the strata are the classes of this map, which has pixels mapped so nowhere else."""
    own = np.array([[name == title for title in classes.titles] for name in strata.names])
    same = own[sample.stratum, np.clip(sample.mapped, 0, None)] & (sample.mapped >= 0)
    return own if same.all() else None


def _pixel_areas(
    raster: ClassRaster, rows: NDArray[np.int64], cols: NDArray[np.int64], keep: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of the pixel of each point: those drawn by chance among pixels stand for their area."""
    areas = PixelAreas(raster.grid)
    found = np.ones(len(rows))
    for i in np.flatnonzero(keep):
        line = areas.block(int(rows[i]), 1)[0]
        found[i] = line[min(int(cols[i]), len(line) - 1)]
    return found


def _single_points(sample: PointSample, strata: Strata) -> list[str]:
    points = np.bincount(sample.stratum, minlength=len(strata))
    alone = [name for name, n, most in zip(strata.names, points, strata.pixels, strict=True) if n == 1 and most > 1]
    if not alone:
        return []
    return [
        Caution(
            f"A single point in {', '.join(alone)}: from one point no standard error follows, so those of overall "
            "accuracy, producer's accuracies and areas are unknown; interpret one more there."
        )
    ]


def _without_shape(features: VectorFeatures) -> list[str]:
    return [f"{number_of(features.left_out, 'feature')} without a shape left out."] if features.left_out else []


def _crs_name(raster: ClassRaster) -> str:
    crs = raster.grid.crs
    return "none" if crs is None else ":".join(crs.to_authority() or (crs.name,))


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaTruth:
    """Counts of all pixels whose truth is known."""

    pixels: NDArray[np.int64]
    """`(map, truth)`; the last row is of pixels where the map has no class."""
    areas: NDArray[np.float64]
    """The same, square metres, or pixels without a CRS."""
    share: float
    """Of the mapped area, how much has a known truth."""
    notes: tuple[str, ...]


Lines = Iterator[tuple[NDArray[np.int32], NDArray[np.bool_]]]


def count_raster(
    truth: ClassRaster, raster: ClassRaster, census: Census, classes: TruthClasses, tick: Callable[[int], None]
) -> AreaTruth:
    """Every pixel of the map against the value of a raster at its centre.

    Raises:
        UsageError: they cannot be laid on each other, or share no pixel.
    """
    notes = []
    if truth.lay_on(raster.grid):
        notes.append("The truth lies on another grid: its value at the centre of each pixel of the map counts.")
    values = ValueIndex()

    def strip(row: int, height: int) -> NDArray[np.int32]:
        return values.index(*truth.read(row, height), source=truth.source)

    tally = _count(strip, raster, census, classes, tick)
    if truth.names and not raster.names:
        classes.adopt(truth.names)
    if bool(truth.names) != bool(raster.names):
        which = "map" if truth.names else "truth"
        notes.append(f"The {which} has no names of classes: its values are taken for those of the other one.")
    words = [truth.title(value) for value in values.listed]
    known = dict(zip(words, values.listed, strict=True))
    order = []
    for word, times in zip(words, tally.pixels.sum(axis=0), strict=False):
        options = truth.names[known[word]].names if known[word] in truth.names else (word,)
        order.append(classes.number(classes.best(options), times=int(times)))
    notes.append("Every pixel was counted: no sampling error applies, and there are no intervals.")
    return _counted(tally, order, classes, census, notes, truth.source)


def count_polygons(
    features: VectorFeatures,
    raster: ClassRaster,
    census: Census,
    classes: TruthClasses,
    column: str,
    tick: Callable[[int], None],
) -> AreaTruth:
    """Every pixel whose centre lies in a polygon.

    Raises:
        UsageError: no polygon has a class, or none lies on the map.
    """
    notes = _without_shape(features)
    words = np.array([as_text(value) for value in features.columns[column]], object)
    told = words != ""
    if not told.any():
        raise UsageError(f"No polygon of {features.source} has a class: fill in the column {column!r}.")
    if not told.all():
        notes.append(f"{number_of(int((~told).sum()), 'polygon')} without a class left out.")
    listed = list(dict.fromkeys(words[told]))
    numbers = np.array([listed.index(word) for word in words[told]], np.int64)
    burner = Burner(features.geometries[told], numbers, raster.grid, features.crs, source=features.source)
    if burner.moved:
        notes.append(f"The polygons were reprojected to the CRS of the map ({_crs_name(raster)}).")
    contested = 0

    def strip(row: int, height: int) -> NDArray[np.int32]:
        nonlocal contested
        found, doubtful = burner.strip(row, height)
        contested += int(doubtful.sum())
        return np.where(doubtful, np.int32(-1), found)

    tally = _count(strip, raster, census, classes, tick)
    if contested:
        notes.append(f"{number_of(contested, 'pixel')} in polygons of different classes left out.")
    notes.append(
        "Every pixel in the polygons was counted: no sampling error applies inside them; for the rest of the map "
        "figures hold only as far as it is like them."
    )
    times = tally.pixels.sum(axis=0)
    order = [classes.number(word, times=int(times[i]) if i < len(times) else 0) for i, word in enumerate(listed)]
    return _counted(tally, order, classes, census, notes, features.source)


@dataclass(kw_only=True, eq=False)
class _Cells:
    pixels: NDArray[np.int64]
    areas: NDArray[np.float64]


def _count(
    truth: Callable[[int, int], NDArray[np.int32]],
    raster: ClassRaster,
    census: Census,
    classes: TruthClasses,
    tick: Callable[[int], None],
) -> _Cells:
    """`(map class or none, truth in its own numbers)` pixels and areas."""
    areas, values, rows = PixelAreas(raster.grid), ValueIndex(census.values), len(census.values) + 1
    cells = _Cells(pixels=np.zeros((rows, 0), np.int64), areas=np.zeros((rows, 0)))
    for row, codes, valid in raster.strips():
        mapped = values.index(codes, valid, source=raster.source)
        known = truth(row, len(mapped))
        wide = max(int(known.max()) + 1, cells.pixels.shape[1])
        more = ((0, 0), (0, wide - cells.pixels.shape[1]))
        cells.pixels, cells.areas = np.pad(cells.pixels, more), np.pad(cells.areas, more)
        there = known >= 0
        at = np.where(mapped < 0, rows - 1, mapped)[there].astype(np.int64) * wide + known[there]
        size = np.broadcast_to(areas.block(row, len(mapped)), mapped.shape)[there]
        cells.pixels += np.bincount(at, minlength=rows * wide).reshape(rows, wide)
        cells.areas += np.bincount(at, weights=size, minlength=rows * wide).reshape(rows, wide)
        tick(len(mapped))
    return cells


def _counted(
    cells: _Cells, order: Sequence[int], classes: TruthClasses, census: Census, notes: list[str], source: str
) -> AreaTruth:
    """The cells with the truth in the numbers of all classes."""
    size, rows = len(classes), len(census.values)
    pixels, areas = np.zeros((size + 1, size), np.int64), np.zeros((size + 1, size))
    for own, number in enumerate(order[: cells.pixels.shape[1]]):
        if number >= 0:
            pixels[[*range(rows), size], number] += cells.pixels[:, own]
            areas[[*range(rows), size], number] += cells.areas[:, own]
    if not pixels[:size].any():
        raise UsageError(f"{source} and the map share no pixel with a class on both sides; check CRS and map.")
    share = areas[:size].sum() / census.areas.sum()
    if share < 0.9995:
        notes.append(f"Truth is known for {share:.1%} of the mapped area: all figures are of that part.")
    if pixels[size].any():
        notes.append(f"{number_of(int(pixels[size].sum()), 'pixel')} with a truth where the map has no class left out.")
    return AreaTruth(pixels=pixels, areas=areas, share=float(share), notes=tuple(notes))
