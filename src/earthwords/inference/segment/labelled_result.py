"""A segmentation as an xarray Dataset, with its place in the words of CF and of rioxarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from earthwords.errors import UsageError

if TYPE_CHECKING:
    import xarray

    from earthwords.types import Grid, Segmentation

PLACE = "spatial_ref"
"""Name of the coordinate that holds the CRS, as rioxarray has it."""


def to_dataset(result: Segmentation) -> xarray.Dataset:
    """Labels, scores and, if they were kept, probabilities.

    Raises:
        UsageError: xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise UsageError('An xarray Dataset needs xarray: pip install "earthwords[xarray]".') from error
    grid, vocabulary = result.grid, result.vocabulary
    mapped: dict[str, Any] = {"grid_mapping": PLACE}
    of_labels = {
        "long_name": "class", "flag_values": np.arange(len(vocabulary), dtype=result.labels.dtype),
        "flag_meanings": " ".join(title.replace(" ", "_") for title in vocabulary.titles),
        "_FillValue": result.labels.dtype.type(vocabulary.nodata),
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "labels": (("y", "x"), result.labels, {**of_labels, **mapped}),
        "score": (("y", "x"), result.score, {"long_name": "probability of the class", **mapped}),
    }
    coords = {**_axes(grid), PLACE: ((), 0, _place(grid))}
    if result.probabilities is not None:
        arrays["probabilities"] = (("class", "y", "x"), result.probabilities, {"long_name": "probability", **mapped})
        coords["class"] = ("class", np.array(vocabulary.titles, object))
    return xarray.Dataset(arrays, coords=coords, attrs=dict(result.tags))


def _axes(grid: Grid) -> dict[str, Any]:
    """Middles of rows and columns; of a turned grid there are none, and its GeoTransform tells."""
    t = grid.transform
    if t.b or t.d:
        return {}
    cols, rows = np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5
    degrees = grid.crs is not None and grid.crs.is_geographic
    names = ("longitude", "latitude") if degrees else ("projection_x_coordinate", "projection_y_coordinate")
    named = [{"standard_name": name, "axis": axis} for name, axis in zip(names, "XY", strict=True)]
    about = named if grid.crs is not None else [{}, {}]
    return {"x": ("x", t.c + t.a * cols, about[0]), "y": ("y", t.f + t.e * rows, about[1])}


def _place(grid: Grid) -> dict[str, Any]:
    t = grid.transform
    place: dict[str, Any] = {"GeoTransform": " ".join(repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e))}
    if grid.crs is None:
        return place
    wkt = grid.crs.to_wkt()
    return {**grid.crs.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt, **place}
