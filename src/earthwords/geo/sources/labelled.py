"""What arrays with named dimensions (xarray, rioxarray and what looks like them) tell: bands, place, nodata, day.

Nothing here needs xarray: an object with `dims` and `values` (or `data_vars`) will do. Where it can be cut by name
(`isel`), a window loads no more than it needs, so arrays that lie on disk or in dask stay there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.geo.bands import Band
from earthwords.geo.sources.pixels import occurs

Y_NAMES = ("y", "lat", "latitude", "northing", "row")
X_NAMES = ("x", "lon", "long", "longitude", "easting", "col", "column")
TIME_NAMES = ("time", "t", "date", "datetime")

Reader = Callable[[Sequence[int], slice, slice], NDArray[Any]]
"""Bands by number, rows, columns to `(band, row, col)`."""

_STRAIGHT = 0.01
"""Of a pixel: how far a coordinate may lie from where even steps put it."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What an array with named dimensions tells about itself."""

    bands: tuple[Band, ...]
    shape: tuple[int, int]
    read: Reader
    dtypes: tuple[np.dtype[Any], ...]
    nodata: tuple[float | None, ...]
    scaling: tuple[tuple[float, float], ...]
    """Scale and offset of every band that are not applied yet."""
    transform: Affine | None
    crs: Any
    """What `pyproj` can read, or None."""
    source: str
    day: str | None
    notes: tuple[str, ...] = ()


def is_labelled(source: Any) -> bool:
    """Whether an object has named dimensions, as xarray's have."""
    named = ("isel", "data_vars", "values")  # in this order: a lazy array is loaded by the mere mention of its values
    return hasattr(source, "dims") and any(hasattr(source, name) for name in named)


def labelled(source: Any) -> Labelled:
    """What there is to know of a DataArray, or of a Dataset whose variables are bands.

    Raises:
        UsageError: no dimensions that are rows and columns, more than one beside them and the bands, uneven
            coordinates, or values that are no numbers.
    """
    variables = getattr(source, "data_vars", None)
    if variables is None:
        return _of_array(source, name=str(getattr(source, "name", None) or "array"))
    planes = {str(name): source[name] for name in variables if _axes(source[name]) is not None}
    if not planes:
        listed = ", ".join(map(str, variables)) or "none"
        raise UsageError(f"No variable of the dataset has the dimensions y and x; its variables: {listed}.")
    parts = [_of_array(plane, name=name, around=source) for name, plane in planes.items()]
    if len(parts) == 1:
        return parts[0]
    return _joined(parts)


def _joined(parts: Sequence[Labelled]) -> Labelled:
    """Variables of a dataset as bands."""
    first = parts[0]
    if any(len(part.bands) > 1 or part.shape != first.shape for part in parts):
        raise UsageError("The variables of the dataset are not single bands of one size; hand in one of them.")
    bands = [part.bands[0] for part in parts]

    def read(numbers: Sequence[int], rows: slice, cols: slice) -> NDArray[Any]:
        return np.concatenate([parts[number - 1].read([1], rows, cols) for number in numbers])

    return Labelled(
        bands=tuple(Band(number=i + 1, role=b.role, description=b.description) for i, b in enumerate(bands)),
        shape=first.shape,
        read=read,
        dtypes=tuple(part.dtypes[0] for part in parts),
        nodata=tuple(part.nodata[0] for part in parts),
        scaling=tuple(part.scaling[0] for part in parts),
        transform=first.transform,
        crs=first.crs,
        source=first.source,
        day=first.day,
        notes=first.notes,
    )


def _of_array(array: Any, *, name: str, around: Any = None) -> Labelled:
    """A single array; `around` is the dataset that it belongs to."""
    axes = _axes(array)
    if axes is None:
        raise UsageError(
            f"The array has the dimensions {tuple(array.dims)}; it needs y and x, and a third for bands if any. Rename "
            "them, or hand in its values."
        )
    y, x, band = axes
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "uif":
        raise UsageError(f"An image must hold numbers, got {dtype}.")
    sizes = dict(zip(array.dims, array.shape, strict=True))
    count = sizes[band] if band else 1
    attrs = dict(getattr(array, "attrs", None) or {})
    names = _names(array, attrs, band, count, name)
    crs, notes = _crs(array, attrs, x, y, around)
    return Labelled(
        bands=tuple(
            Band(number=i + 1, role="alpha" if text.lower() == "alpha" else "undefined", description=text)
            for i, text in enumerate(names)
        ),
        shape=(sizes[y], sizes[x]),
        read=_reader(array, y, x, band),
        dtypes=(dtype,) * count,
        nodata=_nodata(array, attrs, count, dtype),
        scaling=tuple(zip(_floats(attrs, ("scale_factor", "scales"), count, 1.0),
                          _floats(attrs, ("add_offset", "offsets"), count, 0.0), strict=True)),
        transform=_transform(array, attrs, x, y, sizes, around),
        crs=crs,
        source=str((getattr(array, "encoding", None) or {}).get("source") or "array"),
        day=_day(array),
        notes=notes,
    )  # fmt: skip


def _axes(array: Any) -> tuple[str, str, str | None] | None:
    """Names of the dimensions of rows, columns and bands; None if rows or columns are missing.

    Raises:
        UsageError: there are more dimensions, or several times.
    """
    dims = [str(dim) for dim in array.dims]
    y = next((dim for dim in dims if dim.lower() in Y_NAMES), None)
    x = next((dim for dim in dims if dim.lower() in X_NAMES), None)
    with suppress(Exception):  # rioxarray's accessor knows other names that were set
        y, x = (y, x) if y and x else (str(array.rio.y_dim), str(array.rio.x_dim))
    if y is None or x is None:
        return None
    rest = [dim for dim, size in zip(dims, array.shape, strict=True) if dim not in (y, x) and size != 1]
    if len(rest) > 1 or (rest and rest[0].lower() in TIME_NAMES):
        example = next((dim for dim in rest if dim.lower() in TIME_NAMES), rest[-1])
        raise UsageError(
            f"The array has the dimensions {tuple(dims)}, more than rows, columns and bands; choose one of them, for "
            f"example .isel({example}=0)."
        )
    single = next((dim for dim in dims if dim not in (y, x) and dim.lower() not in TIME_NAMES), None)
    return y, x, rest[0] if rest else single


def _reader(array: Any, y: str, x: str, band: str | None) -> Reader:
    """Cuts by name where that is possible, which loads what is asked for only; else by position."""
    dims = [str(dim) for dim in array.dims]
    order = [*([band] if band else []), y, x]
    others = [dim for dim in dims if dim not in order]
    if callable(getattr(array, "isel", None)) and callable(getattr(array, "transpose", None)):

        def by_name(numbers: Sequence[int], rows: slice, cols: slice) -> NDArray[Any]:
            where: dict[str, Any] = {y: rows, x: cols, **dict.fromkeys(others, 0)}
            where |= {band: [number - 1 for number in numbers]} if band else {}
            values = np.asarray(array.isel(where).transpose(*order).values)
            return values if band else values[None]

        return by_name
    values = np.asarray(array.values)[tuple(0 if dim in others else slice(None) for dim in dims)]
    kept = [dim for dim in dims if dim not in others]
    whole = np.transpose(values, [kept.index(dim) for dim in order]).reshape(-1, *_shape_of(array, y, x))

    def by_position(numbers: Sequence[int], rows: slice, cols: slice) -> NDArray[Any]:
        return whole[[number - 1 for number in numbers]][:, rows, cols]

    return by_position


def _shape_of(array: Any, y: str, x: str) -> tuple[int, int]:
    sizes = dict(zip(map(str, array.dims), array.shape, strict=True))
    return sizes[y], sizes[x]


def _coordinate(array: Any, name: str | None) -> Any:
    """A coordinate by name, None if there is none."""
    if name is None:
        return None
    with suppress(Exception):  # mappings and attributes of whatever kind
        coords = getattr(array, "coords", None)
        if coords is None:
            return getattr(array, name)
        if name in coords:  # `get` would make one up: xarray counts the pixels of a dimension without coordinates
            return coords[name]
    return None


def _numbers(coordinate: Any) -> NDArray[Any] | None:
    """Values of a coordinate."""
    return None if coordinate is None else np.asarray(getattr(coordinate, "values", coordinate))


def _names(array: Any, attrs: Mapping[str, Any], band: str | None, count: int, name: str) -> list[str]:
    """Descriptions of the bands: labels of their dimension that are text, else what the attributes say."""
    labels = _numbers(_coordinate(array, band))
    if labels is not None and labels.shape == (count,) and labels.dtype.kind in "UO" and all(map(str, labels)):
        return [str(label) for label in labels]
    for key in ("long_name", "descriptions"):
        value = attrs.get(key)
        if isinstance(value, str) and count == 1:
            return [value]
        if isinstance(value, (tuple, list)) and len(value) == count:
            return [str(text or "") for text in value]
    return [name if name != "array" else ""] if count == 1 else [""] * count


def _nodata(array: Any, attrs: Mapping[str, Any], count: int, dtype: np.dtype[Any]) -> tuple[float | None, ...]:
    with suppress(Exception):  # rioxarray's accessor, where it is imported
        value = array.rio.nodata
        if value is not None:
            return (float(value),) * count
    found = _floats(attrs, ("_FillValue", "missing_value", "nodata", "nodatavals"), count, np.nan)
    return tuple(None if not occurs(value, dtype) else value for value in found)


def _floats(attrs: Mapping[str, Any], keys: Sequence[str], count: int, default: float) -> list[float]:
    """A number for every band, from the first attribute that tells one for all or one for each."""
    for key in keys:
        with suppress(TypeError, ValueError):
            values = [] if attrs.get(key) is None else [float(v) for v in np.atleast_1d(attrs[key])]
            if len(values) in (1, count):
                return values * (count // len(values))
    return [default] * count


def _mappings(array: Any, attrs: Mapping[str, Any], around: Any) -> Iterator[Mapping[str, Any]]:
    """Attributes of what may hold the georeference: grid mappings, the array, its dataset."""
    encoding = getattr(array, "encoding", None) or {}
    for name in (attrs.get("grid_mapping"), encoding.get("grid_mapping"), "spatial_ref", "crs"):
        for holder in (array, around):
            found = getattr(_coordinate(holder, name), "attrs", None) if holder is not None else None
            if found:
                yield found
        if name in (getattr(around, "data_vars", None) or ()):
            yield around[name].attrs
    yield attrs
    yield getattr(around, "attrs", None) or {}


def _crs(array: Any, attrs: Mapping[str, Any], x: str, y: str, around: Any) -> tuple[Any, tuple[str, ...]]:
    """The CRS as the array tells it, and what was taken for granted."""
    with suppress(Exception):  # rioxarray's accessor
        if array.rio.crs is not None:
            return array.rio.crs.to_wkt(), ()
    for found in _mappings(array, attrs, around):
        declared = found.get("crs_wkt") or found.get("spatial_ref") or found.get("crs")
        if declared:
            return declared, ()
    for name in ("epsg", "proj:epsg"):
        code = _numbers(_coordinate(array, name))
        if code is not None and code.size == 1 and str(code.item()).isdigit():
            return int(code.item()), ()
    units = [(getattr(_coordinate(array, name), "attrs", None) or {}).get("units", "") for name in (x, y)]
    if str(units[0]).startswith("degree") and str(units[1]).startswith("degree"):
        return "EPSG:4326", ("The array has coordinates in degrees and no CRS: taken as WGS 84 (EPSG:4326).",)
    return None, ()


def _transform(
    array: Any, attrs: Mapping[str, Any], x: str, y: str, sizes: Mapping[str, int], around: Any
) -> Affine | None:
    """From the coordinates of rows and columns where there are some, else as the grid mapping has it."""
    declared = _declared_transform(array, attrs, around)
    places = [_numbers(_coordinate(array, name)) for name in (x, y)]
    if any(values is None or values.shape != (sizes[name],) for values, name in zip(places, (x, y), strict=True)):
        return declared
    steps = [_step(values, name) for values, name in zip(places, (x, y), strict=True)]  # type: ignore[arg-type]
    across = steps[0] or (declared.a if declared else abs(steps[1]))
    down = steps[1] or (declared.e if declared else -abs(across))
    if not across:
        return declared
    west, north = (float(values[0]) for values in places)  # type: ignore[index]
    west -= _lead(west, across, None if declared is None else (declared.c, declared.a))
    north -= _lead(north, down, None if declared is None else (declared.f, declared.e))
    return Affine(across, 0, west, 0, down, north)


def _lead(first: float, step: float, declared: tuple[float, float] | None) -> float:
    """From the edge of the first pixel to its coordinate: half a pixel, or nothing where a transform (its origin and
    step are `declared`) shows that coordinates are those of edges, as stackstac has them."""
    if declared is None or not math.isclose(declared[1], step, rel_tol=1e-6):
        return step / 2
    places = (first - declared[0]) / step
    return 0.0 if abs(places - round(places)) < _STRAIGHT else step / 2


def _declared_transform(array: Any, attrs: Mapping[str, Any], around: Any) -> Affine | None:
    for found in _mappings(array, attrs, around):
        with suppress(TypeError, ValueError):
            if "GeoTransform" in found:
                return Affine.from_gdal(*map(float, str(found["GeoTransform"]).split()))
            if "transform" in found:
                return Affine(*[float(v) for v in found["transform"]][:6])
    return None


def _step(values: NDArray[Any], name: str) -> float:
    """Between neighbours; 0 for a single value.

    Raises:
        UsageError: they are no numbers, or not evenly spaced.
    """
    if values.dtype.kind not in "uif" or not np.isfinite(values).all():
        raise UsageError(f"The coordinate {name} of the array must hold numbers, got {values.dtype}.")
    if len(values) < 2:
        return 0.0
    exact = values.astype(np.float64)
    step = (exact[-1] - exact[0]) / (len(exact) - 1)
    apart = np.abs(exact - (exact[0] + step * np.arange(len(exact)))).max()
    rounding = 8 * np.finfo(values.dtype).eps * np.abs(exact).max() if values.dtype.kind == "f" else 0.0
    if step == 0 or apart > max(_STRAIGHT * abs(step), rounding):
        between = np.diff(exact)
        raise UsageError(
            f"The coordinate {name} of the array is not evenly spaced (steps of {between.min():.6g} to "
            f"{between.max():.6g}); sort or resample it first, for example with .sortby({name!r}) or .interp."
        )
    return float(step)


def _day(array: Any) -> str | None:
    """The day of a time coordinate that has one value."""
    for name in TIME_NAMES:
        value = _numbers(_coordinate(array, name))
        if value is not None and value.size == 1 and value.dtype.kind == "M":
            return str(value.astype("datetime64[D]").item())
    return None
