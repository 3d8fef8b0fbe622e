"""Counted things against true ones: files of features, folders of them, or COCO's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from earthwords.errors import SourceError, UsageError, brief
from earthwords.evaluation.metrics import detections
from earthwords.evaluation.metrics.count_scores import (
    CountScores,
    averages,
    count_scores,
    detections_table,
    right_mean_f1,
)
from earthwords.files.reading import read_json
from earthwords.geo.vectors.features import CLASS_COLUMNS, VectorFeatures, as_text, read_features
from earthwords.kernels.masks.run_lengths import mask_of_runs, runs_of_text

Array: TypeAlias = NDArray[Any]
Shapes: TypeAlias = dict[str, dict[str, list[Any]]]
"""Image to class to shapes, in the order of the file."""
SUFFIXES = (".gpkg", ".geojson", ".fgb", ".parquet", ".shp")
ANY = "thing"
"""The class of things that bear none."""


@dataclass(frozen=True, kw_only=True)
class MeasuredClass:
    """Figures of a class."""

    name: str
    counts: CountScores
    box_f1: float | None
    """At IoU 0.5; None where points have no boxes."""
    mask_f1: float | None
    place_f1: float | None
    """Of middles that lie in a true thing of their own; None where the truth is points."""


@dataclass(frozen=True, kw_only=True)
class CountMeasurement:
    """How well things were counted."""

    classes: tuple[MeasuredClass, ...]
    images: int
    mean_f1: float
    """Of the counts, over the classes that have true things; every image with truth counts."""
    instructsam_f1: float
    """Of the counts by InstructSAM's rule: over all classes that occur, also where nothing of them is true."""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        title = (
            f"{self.images:,} images; mean F1 of counts {self.mean_f1:.1%} over classes with true things, "
            f"{self.instructsam_f1:.1%} by InstructSAM's rule"
        )
        columns = ("class", "true", "found", "MAE", "RMSE", "bias", "count F1", "place F1", "box F1", "mask F1")
        return title, columns, [_row(row) for row in self.classes]


def _row(row: MeasuredClass) -> list[str]:
    c = row.counts
    shares = [c.f1, row.place_f1, row.box_f1, row.mask_f1]
    numbers = [f"{c.true:,}", f"{c.found:,}", f"{c.mae:.2f}", f"{c.rmse:.2f}", f"{c.bias:+.2f}"]
    return [row.name, *numbers, *("-" if share is None else f"{share:.1%}" for share in shares)]


def measure_counts(predictions: Path, truth: Path) -> CountMeasurement:
    """Figures of every class.

    Raises:
        SourceError: a file is missing or damaged.
        UsageError: the two do not belong together.
    """
    coco = truth.suffix.lower() == ".json"
    found, true, masks, notes = _of_coco(predictions, truth) if coco else _of_features(predictions, truth)
    titles = list(dict.fromkeys(title for side in (true, found) for classes in side.values() for title in classes))
    counted = [
        {image: {t: len(s) for t, s in classes.items()} for image, classes in side.items()} for side in (found, true)
    ]
    scores = count_scores(counted[0], counted[1], titles)
    kept = {image: classes for image, classes in found.items() if image in true}
    rows = tuple(
        MeasuredClass(name=title, counts=scores[title], **_places(kept, true, title, masks)) for title in titles
    )
    instructsam = averages(detections_table({image: counted[0][image] for image in kept}, counted[1]))
    return CountMeasurement(
        classes=rows, images=len(true), mean_f1=right_mean_f1(scores), instructsam_f1=instructsam.get("f1", 0.0),
        notes=notes,
    )  # fmt: skip


def _places(found: Shapes, true: Shapes, title: str, masks: Any) -> dict[str, float | None]:
    """F1 of boxes, masks and middles of a class."""
    pairs = [(found.get(image, {}).get(title, []), classes.get(title, [])) for image, classes in true.items()]
    if masks is not None:
        boxes = [detections.box_iou([s[0] for s in f], [s[0] for s in t]) for f, t in pairs]
        tables = {"box_f1": boxes, "mask_f1": [masks(f, t) for f, t in pairs]}
        return {"place_f1": None, **{name: _f1(one) for name, one in tables.items()}}
    area = all(shapely.area(shape) > 0 for f, t in pairs for shape in (*f, *t))
    areal_truth = all(shapely.area(shape) > 0 for _, t in pairs for shape in t)
    return {
        "box_f1": _f1([detections.box_iou(_boxes(f), _boxes(t)) for f, t in pairs]) if area else None,
        "mask_f1": _f1([_shape_iou(f, t) for f, t in pairs]) if area else None,
        "place_f1": _f1([_inside(f, t) for f, t in pairs]) if areal_truth else None,
    }


def _f1(tables: Sequence[Array]) -> float:
    images = [detections.ImageThings(iou=table, scores=np.ones(len(table))) for table in tables]
    return detections.f1_table({"": images})[""].f1


def _boxes(shapes: Sequence[Any]) -> Array:
    bounds = shapely.bounds(np.array(shapes, object)).reshape(-1, 4)
    return np.concatenate([bounds[:, :2], bounds[:, 2:] - bounds[:, :2]], axis=1)


def _shape_iou(found: Sequence[Any], true: Sequence[Any]) -> Array:
    """`(found, true)` of polygons."""
    table = np.zeros((len(found), len(true)))
    if not len(found) or not len(true):
        return table
    a, b = np.array(found, object), np.array(true, object)
    i, j = shapely.STRtree(b).query(a, predicate="intersects")
    common = shapely.area(shapely.intersection(a[i], b[j]))
    table[i, j] = common / np.maximum(shapely.area(a[i]) + shapely.area(b[j]) - common, 1e-12)
    return table


def _inside(found: Sequence[Any], true: Sequence[Any]) -> Array:
    """1 where a middle lies in a true thing."""
    table = np.zeros((len(found), len(true)))
    if len(found) and len(true):
        middles = shapely.centroid(np.array(found, object))
        table[tuple(shapely.STRtree(np.array(true, object)).query(middles, predicate="within"))] = 1.0
    return table


def _of_features(predictions: Path, truth: Path) -> tuple[Shapes, Shapes, None, tuple[str, ...]]:
    """Of two files, or of two folders whose files bear the same names."""
    if not truth.is_dir():
        place = predictions / "instances.gpkg" if predictions.is_dir() else predictions
        return *_read({truth.stem: (place, truth)}), None, ()
    true = {path.stem: path for path in sorted(truth.iterdir()) if path.suffix.lower() in SUFFIXES}
    if not true:
        raise UsageError(f"{truth} holds no files of features ({', '.join(SUFFIXES)}).")
    found = {}
    for path in sorted(predictions.iterdir()) if predictions.is_dir() else ():
        if (inner := path / "instances.gpkg").exists():
            found[path.name] = inner
        elif path.suffix.lower() in SUFFIXES:
            found[path.stem] = path
    if not found.keys() & true.keys():
        raise UsageError(f"No file in {predictions} bears the name of one in {truth}, such as {next(iter(true))}.")
    left = len(true.keys() - found.keys())
    notes = (f"Of {left:,} of {len(true):,} images with truth nothing was found: all of their things are missed.",)
    files: dict[str, tuple[Path | None, Path]] = {name: (found.get(name), path) for name, path in true.items()}
    stray = sorted(found.keys() - true.keys())
    more = f"Not measured, for want of truth: {', '.join(stray[:8])}{' ...' if stray[8:] else ''}."
    return *_read(files), None, (*(notes if left else ()), *([more] if stray else ()))


def _read(files: Mapping[str, tuple[Path | None, Path]]) -> tuple[Shapes, Shapes]:
    found, true = {}, {}
    for name, (place, truth) in files.items():
        known = read_features(truth, what="truth")
        found[name] = {} if place is None else _by_class(_maybe(place), None)
        true[name] = _by_class(known, None if place is None else _maybe(place))
    return found, true


def _maybe(path: Path) -> VectorFeatures | None:
    """A file of features; None where it holds none."""
    try:
        return read_features(path, what="instances")
    except SourceError as error:
        if "holds no points" in str(error):
            return None
        raise


def _by_class(features: VectorFeatures | None, onto: VectorFeatures | None) -> dict[str, list[Any]]:
    """Shapes by class, in the CRS of `onto`."""
    if features is None:
        return {}
    shapes = features.geometries
    if onto is not None and features.crs and onto.crs and not CRS(features.crs).equals(CRS(onto.crs)):
        change = Transformer.from_crs(CRS(features.crs), CRS(onto.crs), always_xy=True)
        shapes = shapely.transform(shapes, lambda p: np.stack(change.transform(*p.T), axis=1))
    elif onto is not None and bool(features.crs) != bool(onto.crs):
        raise UsageError(f"Only one of {features.source} and {onto.source} has a CRS; give both one.")
    lower = {name.lower(): name for name in features.columns}
    column = next((lower[name] for name in CLASS_COLUMNS if name in lower), None)
    titles = [ANY] * len(shapes) if column is None else [as_text(v) or ANY for v in features.columns[column]]
    found: dict[str, list[Any]] = {}
    for title, shape in zip(titles, shapely.make_valid(shapes), strict=True):
        found.setdefault(title, []).append(shape)
    return found


def _of_coco(predictions: Path, truth: Path) -> tuple[Shapes, Shapes, Any, tuple[str, ...]]:
    """COCO's JSON: the truth with images and categories, and a list of results."""
    try:
        told, results = read_json(truth, most=None), read_json(predictions, most=None)
        titles = {row["id"]: str(row["name"]) for row in told["categories"]}
        true: Shapes = {str(row["id"]): {} for row in told["images"]}
        found: Shapes = {}
        for rows, side in ((told["annotations"], true), (results, found)):
            for row in rows:
                shape = (row["bbox"], _decoded(row.get("segmentation")))
                side.setdefault(str(row["image_id"]), {}).setdefault(titles[row["category_id"]], []).append(shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{truth} and {predictions} are no truth and results of COCO ({brief(error)}).") from error

    def masks(f: Sequence[Any], t: Sequence[Any]) -> Array:
        if any(shape[1] is None for shape in (*f, *t)):
            return detections.box_iou([s[0] for s in f], [s[0] for s in t])
        return detections.mask_iou([s[1] for s in f], [s[1] for s in t])

    bare = any(shape[1] is None for classes in true.values() for shapes in classes.values() for shape in shapes)
    return found, true, masks, ("Without run lengths on both sides mask F1 is that of boxes.",) if bare else ()


def _decoded(segmentation: Any) -> Array | None:
    if not isinstance(segmentation, dict):
        return None
    counts = segmentation["counts"]
    runs = runs_of_text(counts) if isinstance(counts, str) else counts
    return mask_of_runs(runs, *segmentation["size"])


def write_measurement(found: CountMeasurement, path: Path) -> None:
    """As JSON."""
    path.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
