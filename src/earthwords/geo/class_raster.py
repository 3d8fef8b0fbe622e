"""A raster of classes: our own label maps and those of others, read in strips, at points, and on another grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from earthwords.errors import SourceError, UsageError
from earthwords.geo.class_names import VOCABULARY, ValueName, names_of, read_value_names
from earthwords.geo.grids.crs import raster_crs
from earthwords.geo.grids.georeference import grid_of
from earthwords.geo.sources.gdal_dataset import aside, open_dataset, reading
from earthwords.geo.sources.network import Network
from earthwords.geo.vectors.aoi import Aoi, AoiOnGrid
from earthwords.types import Grid, Window

MOST_CLASSES = 1000
_STRIP_PIXELS = 2**22
_TOLERANCE = 1e-3
"""Pixels that a place in another grid may be off; rasterio fails with 0."""
_T = TypeVar("_T")


class ClassRaster:
    """An open single-band raster whose whole numbers are classes; a context manager.

    What is hidden is what GDAL's mask of the band hides: nodata, a mask, alpha; and NaN.
    """

    def __init__(self, source: str, dataset: DatasetReader, grid: Grid, names: dict[int, ValueName]) -> None:
        self.source = source
        self.grid = grid
        self.names = names
        """Value to what it means, as far as anybody tells."""
        self.notes: tuple[str, ...] = ()
        self.tags: dict[str, str] = dataset.tags()
        self.asked = frozenset(names if VOCABULARY in self.tags else ())
        """Values of classes that were looked for, wherever they are; of maps of others nobody knows."""
        self.aoi: AoiOnGrid | None = None
        """Outside of it all is hidden."""
        self._dataset = dataset
        self._masked = MaskFlags.all_valid not in dataset.mask_flag_enums[0]
        self._warped: WarpedVRT | None = None
        self._alpha: int | None = None

    def __enter__(self) -> ClassRaster:
        return self

    def __exit__(self, *error: object) -> None:
        if self._warped is not None:
            self._warped.close()
        self._dataset.close()

    def title(self, value: int) -> str:
        """The name of a value, or the number itself."""
        return self.names[value].title if value in self.names else str(value)

    def strips(self) -> Iterator[tuple[int, NDArray[Any], NDArray[np.bool_]]]:
        """First row, values and valid `(row, col)` of full-width strips, from top to bottom, in bounded memory.

        Raises:
            SourceError: the file is damaged, or a valid pixel is no whole number.
        """
        height, width = self.grid.shape
        block = self._dataset.block_shapes[0][0]
        rows = max(1, _STRIP_PIXELS // width)
        rows = rows // block * block or min(rows, block)
        for row in range(0, height, rows):
            yield row, *self.read(row, min(rows, height - row))

    def read(self, row: int, height: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and valid `(row, col)` of full-width rows; values of hidden pixels mean nothing."""
        return self._guarded(f"rows {row}..{row + height}", lambda: self._read(row, 0, height, self.grid.width))

    def at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Values and valid `(n,)` of single pixels, which must lie in the grid."""
        values, valid = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        tall, wide = self._dataset.block_shapes[0]
        order = np.lexsort((cols, rows, cols // wide, rows // tall))

        def read() -> None:
            for i in order:
                found, seen = self._read(int(rows[i]), int(cols[i]), 1, 1)
                values[i], valid[i] = int(found[0, 0]) if seen[0, 0] else 0, seen[0, 0]

        self._guarded("pixels", read)
        return values, valid

    def lay_on(self, grid: Grid) -> bool:
        """From now on be read on the pixels of another grid, by the value under each of its pixel centres.

        Returns:
            Whether the grid is really another one.

        Raises:
            UsageError: nothing leads from one to the other.
        """
        if self.grid.shape == grid.shape and same_place(self.grid, grid):
            return False
        if self.grid.crs is None or grid.crs is None:
            raise UsageError(
                f"{self.source} has {self.grid.height} x {self.grid.width} pixels and the map {grid.height} x "
                f"{grid.width}, and without a CRS on both sides they cannot be laid on each other."
            )
        own = self._dataset.nodata is not None or _has_alpha(self._dataset)
        self._alpha = None if own else 2

        def warp() -> WarpedVRT:
            return WarpedVRT(
                self._dataset, crs=raster_crs(grid), transform=grid.transform, height=grid.height, width=grid.width,
                resampling=Resampling.nearest, tolerance=_TOLERANCE, add_alpha=not own,
            )  # fmt: skip

        self._warped = self._guarded("the grid", warp)
        self.grid = grid
        return True

    def _read(self, row: int, col: int, height: int, width: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        dataset = self._dataset if self._warped is None else self._warped
        inside = None if self.aoi is None else self.aoi.inside(Window(row=row, col=col, height=height, width=width))
        if inside is not None and not inside.any():
            return np.zeros(inside.shape, np.int64 if dataset.dtypes[0][0] == "f" else dataset.dtypes[0]), inside
        window = RasterioWindow(col, row, width, height)
        values = np.asarray(dataset.read(1, window=window))
        if self._warped is not None and self._alpha is not None:
            valid = np.asarray(dataset.read(self._alpha, window=window)) != 0
        elif self._masked:
            valid = np.asarray(dataset.read_masks(1, window=window)) != 0
        else:
            valid = np.ones(values.shape, bool)
        valid = valid if inside is None else valid & inside
        if values.dtype.kind == "f":
            values, valid = self._whole(values, valid)
        return values, valid

    def _whole(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Floating-point numbers that are whole ones, as these; NaN is hidden."""
        valid = valid & ~np.isnan(values)
        whole = np.where(valid, values, 0)
        wrong = whole[(whole != np.rint(whole)) | (np.abs(whole) > 2**53)]
        if len(wrong):
            raise SourceError(
                f"{self.source} holds {wrong[0]:g}, and classes are whole numbers: name a raster of classes, such as "
                "labels.tif."
            )
        return whole.astype(np.int64), valid

    def _guarded(self, what: str, call: Callable[[], _T]) -> _T:
        def run() -> _T:
            with reading(self.source, what, Network.NONE):
                return call()

        return aside(run)


def open_classes(source: str | Path, *, names: str | Path | None = None, aoi: Aoi | None = None) -> ClassRaster:
    """Open a local raster of classes; of a folder that `segment` made, its labels.tif.

    Args:
        source: the raster.
        names: file with names of its values, see `read_value_names`; instead of what the raster tells.
        aoi: polygons outside of which all is hidden.

    Raises:
        SourceError: missing, no raster, damaged, or of numbers that are no classes.
        UsageError: it has several bands, or `aoi` is of another place.
    """
    path = Path(source)
    own = path / "labels.tif"
    source = str(own) if path.is_dir() and own.is_file() else str(source)
    given = None if names is None else read_value_names(names)

    def opened() -> ClassRaster:
        dataset = open_dataset(source, network=Network.NONE)
        try:
            with reading(source, "the header", Network.NONE):
                return _classes(source, dataset, given, aoi)
        except BaseException:
            dataset.close()
            raise

    return aside(opened)


def _classes(source: str, dataset: DatasetReader, given: dict[int, ValueName] | None, aoi: Aoi | None) -> ClassRaster:
    if dataset.count > 1 and not (dataset.count == 2 and _has_alpha(dataset)):
        raise UsageError(
            f"{source} has {dataset.count} bands, and a map of classes has one: name a raster of classes, such as "
            "labels.tif."
        )
    if "complex" in dataset.dtypes[0]:
        raise SourceError(f"{source} holds complex numbers, and classes are whole numbers; name a raster of classes.")
    grid, notes = grid_of(dataset)
    found = ClassRaster(source, dataset, grid, _distinct(names_of(dataset) if given is None else given))
    found.notes = notes
    if aoi is not None:
        found.aoi = aoi.on(grid, Window(row=0, col=0, height=grid.height, width=grid.width), source)
        found.notes = (*notes, found.aoi.counted_note)
    return found


def _distinct(names: dict[int, ValueName]) -> dict[int, ValueName]:
    """The same, where values that share a title tell their value too."""
    titles = Counter(name.title for name in names.values())
    return {
        value: name if titles[name.title] == 1 else replace(name, names=(f"{name.title} ({value})", *name.names))
        for value, name in names.items()
    }


def _has_alpha(dataset: DatasetReader) -> bool:
    return MaskFlags.alpha in dataset.mask_flag_enums[0]


def same_place(one: Grid, other: Grid) -> bool:
    """Whether grids of one shape have the same pixels: in one CRS, or none on either side that tells a difference."""
    if one.crs is None or other.crs is None:
        unknown = one.transform.is_identity or other.transform.is_identity
        return (one.crs is None and other.crs is None) and (unknown or _close(one, other))
    return _close(one, other) and one.crs.equals(other.crs, ignore_axis_order=True)


def _close(one: Grid, other: Grid) -> bool:
    """Corners within a thousandth of a pixel."""
    move = ~one.transform @ other.transform
    ends = ((0, 0), (one.width, 0), (0, one.height))
    return all(abs(a - b) < 1e-3 for end in ends for a, b in zip(move @ end, end, strict=True))


class ValueIndex:
    """The values that occur, numbered in the order in which they are met."""

    def __init__(self, known: Sequence[int] = ()) -> None:
        self.listed: list[int] = list(known)

    def index(self, values: NDArray[Any], valid: NDArray[np.bool_], *, source: str = "The raster") -> NDArray[np.int32]:
        """Number of each pixel's value, -1 where it is not valid.

        Raises:
            SourceError: there are too many values for classes.
        """
        found = pd.unique(values[valid])
        new = sorted({int(value) for value in found}.difference(self.listed))
        self.listed += new
        if len(self.listed) > MOST_CLASSES:
            raise SourceError(
                f"{source} holds more than {MOST_CLASSES:,} different values: it is no map of classes; name a raster "
                "of classes, such as labels.tif."
            )
        known = np.array(self.listed or [0], np.int64)
        order = np.argsort(known, kind="stable")
        if values.dtype.itemsize <= 2 and values.dtype.kind in "ui":
            limits = np.iinfo(values.dtype)
            table = np.full(limits.max - limits.min + 1, -1, np.int32)
            inside = (known >= limits.min) & (known <= limits.max)
            table[known[inside] - limits.min] = np.arange(len(known), dtype=np.int32)[inside]
            places = table[values.astype(np.int32) - limits.min]
        else:
            at = np.clip(np.searchsorted(known[order], values), 0, len(known) - 1)
            places = order[at].astype(np.int32)
        return np.where(valid, places, np.int32(-1))
