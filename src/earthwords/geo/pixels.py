"""Native pixels of an open raster: the chosen bands, and which pixels hold an observation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from earthwords.errors import SourceError, UsageError
from earthwords.geo.bands import BandChoice, alpha_band
from earthwords.geo.dates import date_of
from earthwords.geo.source import open_dataset, reading
from earthwords.types import Window

Pixels: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]

SAMPLE_SIDE = 1024
"""Longest side, in pixels, of the overview that statistics are taken from."""

_TAGS = ("IMAGERY", "EXIF")
"""Domains of metadata, beside the main one, that may tell a date."""
_SCAN_PIXELS = 2**22
_SCAN_VALUES = 2**20


@dataclass(kw_only=True)
class PixelSource:
    """Reads three bands of a raster as one array, with a mask.

    A pixel is valid unless all chosen bands equal their nodata value, any of them is NaN or infinite, its
    alpha is 0, or the file's mask hides it. One band equal to nodata is not enough: a dark roof may well
    have a blue of 0.
    """

    source: str
    dataset: DatasetReader
    choice: BandChoice
    nodata: tuple[float | None, ...]
    """Per chosen band; None: no value means "nothing here"."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of `read`'s data: the file's own, float32 where scale and offset apply, uint8 of a colour table."""
        if self.choice.through_palette:
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if self.is_scaled else self._raw_dtype

    @property
    def is_scaled(self) -> bool:
        """Whether the file gives a scale or an offset for a chosen band."""
        return any(scale != 1 or offset != 0 for scale, offset in self._scaling)

    @property
    def may_hide_pixels(self) -> bool:
        """Whether any pixel could be invalid, as far as the file's header tells."""
        return (
            self._raw_dtype.kind == "f"
            or all(value is not None for value in self.nodata)
            or alpha_band(self.dataset) is not None
            or self._has_mask
            or self.choice.through_palette
        )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return bool(self.dataset.closed)

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self.dataset.close()

    def renew(self) -> None:
        """Open the file again: after a failure GDAL may give zeros for the blocks that it could not read."""
        self.dataset.close()
        self.dataset = open_dataset(self.source)

    def files(self) -> dict[str, str]:
        """Of every local file that the source is made of: size and time of the last change."""
        found = {}
        for name in self.dataset.files:
            with suppress(OSError):
                about = os.stat(name)
                found[name] = f"{about.st_size} bytes, changed {about.st_mtime_ns}"
        return found

    def date(self) -> str | None:
        """The day it was taken, see `date_of`."""
        with reading(self.source, "the metadata"):
            domains = [None, *(name for name in self.dataset.tag_namespaces() if name in _TAGS)]
            tags = [self.dataset.tags(ns=name) for name in domains]
        return next((day for day in map(date_of, tags) if day is not None), None)

    def read(self, window: Window) -> tuple[Pixels, Mask]:
        """Data `(3, row, col)` of `dtype` and valid `(row, col)`; invalid pixels keep the file's values.

        Raises:
            SourceError: the file is damaged there.
        """
        raw, valid = self._read_raw(window, window.height, window.width)
        return self._finish(raw), valid

    def sample(self) -> list[Pixels]:
        """For each chosen band, `(n,)` values of `dtype` spread over the whole scene, nodata excluded.

        Raises:
            SourceError: the scene has no valid pixel at all, or is damaged.
        """
        height, width = self.dataset.shape
        shrink = min(1.0, SAMPLE_SIDE / max(height, width))
        whole = Window(row=0, col=0, height=height, width=width)
        raw, valid = self._read_raw(whole, max(1, round(height * shrink)), max(1, round(width * shrink)))
        if not valid.any():
            return self._scan()
        return self._observed(raw, valid)

    def _scan(self) -> list[Pixels]:
        """Values from all pixels, block after block: the last word before calling a scene empty."""
        found: list[list[Pixels]] = []
        for window in self._strips():
            raw, valid = self._read_raw(window, window.height, window.width)
            if valid.any():
                found.append(self._observed(raw, valid))
            if sum(len(values[0]) for values in found) > _SCAN_VALUES:
                break
        if not found:
            raise SourceError(
                f"{self.source} has no valid pixel in bands {self.choice.numbers}: all are nodata or masked; "
                "check the nodata value, or choose other bands."
            )
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def _strips(self) -> Iterator[Window]:
        height, width = self.dataset.shape
        block = self.dataset.block_shapes[0][0]
        rows = max(1, _SCAN_PIXELS // width // block) * block
        for row in range(0, height, rows):
            yield Window(row=row, col=0, height=min(rows, height - row), width=width)

    def _read_raw(self, window: Window, height: int, width: int) -> tuple[Pixels, Mask]:
        """The file's own values and the mask, decimated to `height x width` by nearest neighbour."""
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        how = {"window": area, "resampling": Resampling.nearest}
        unique = sorted(set(self.choice.numbers))
        where = f"rows {window.row}..{window.row_stop}, columns {window.col}..{window.col_stop}"
        with reading(self.source, where):
            read = self._read_bands(unique, (height, width), how)
            raw = read[[unique.index(number) for number in self.choice.numbers]]
            valid = self._valid(raw, {"out_shape": (height, width), **how})
        return raw, valid

    def _read_bands(self, numbers: list[int], shape: tuple[int, int], how: dict[str, Any]) -> Pixels:
        """`(band, row, col)`, in a type that holds all of them where their own differ."""
        if len({self.dataset.dtypes[number - 1] for number in numbers}) == 1:
            return np.asarray(self.dataset.read(numbers, out_shape=(len(numbers), *shape), **how))
        return np.stack([self.dataset.read(number, out_shape=shape, **how) for number in numbers])

    def _valid(self, raw: Pixels, how: dict[str, Any]) -> Mask:
        valid = ~np.logical_and.reduce(
            [_equals(values, nodata) for values, nodata in zip(raw, self.nodata, strict=True)]
        )
        if raw.dtype.kind == "f":
            valid &= np.isfinite(raw).all(axis=0)
        alpha = alpha_band(self.dataset)
        if alpha is not None:
            valid &= self.dataset.read(alpha, **how) != 0
        if self._has_mask:
            valid &= self.dataset.read_masks(self.choice.numbers[0], **how) != 0
        if self.choice.through_palette:
            valid &= self._colours(raw[0])[..., 3] != 0
        return valid

    def _observed(self, raw: Pixels, valid: Mask) -> list[Pixels]:
        """Values of valid pixels per band; a single band's nodata value counts only if all are that."""
        data = self._finish(raw)
        result = []
        for values, own, nodata in zip(data, raw, self.nodata, strict=True):
            seen = valid & ~_equals(own, nodata)
            result.append(values[seen if seen.any() else valid])
        return result

    def _finish(self, raw: Pixels) -> Pixels:
        if self.choice.through_palette:
            return np.ascontiguousarray(np.moveaxis(self._colours(raw[0])[..., :3], -1, 0))
        if not self.is_scaled:
            return raw
        scaled = [values * float(scale) + offset for values, (scale, offset) in zip(raw, self._scaling, strict=True)]
        return np.stack(scaled).astype(np.float32)

    @property
    def _scaling(self) -> list[tuple[float, float]]:
        scales, offsets = self.dataset.scales, self.dataset.offsets
        return [(scales[number - 1], offsets[number - 1]) for number in self.choice.numbers]

    @property
    def _raw_dtype(self) -> np.dtype[Any]:
        types = {self.dataset.dtypes[number - 1] for number in self.choice.numbers}
        return np.result_type(*types)

    @property
    def _has_mask(self) -> bool:
        flags = self.dataset.mask_flag_enums[self.choice.numbers[0] - 1]
        return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags

    def _colours(self, indices: Pixels) -> NDArray[np.uint8]:
        """`(row, col, rgba)` of palette indices, transparent where the table has no entry."""
        colours = self.dataset.colormap(self.choice.numbers[0])
        table = np.zeros((2 + max(colours, default=-1), 4), np.uint8)
        for index, colour in colours.items():
            table[index] = colour
        known = (indices >= 0) & (indices < len(table) - 1)
        return np.asarray(table[np.where(known, indices, len(table) - 1).astype(np.intp)])


def nodata_of(dataset: DatasetReader, choice: BandChoice, override: float | None) -> tuple[float | None, ...]:
    """The value meaning "nothing here", per chosen band.

    Raises:
        UsageError: `override` cannot occur in the file's data type.
    """
    if override is None:
        return tuple(dataset.nodatavals[number - 1] for number in choice.numbers)
    for number in choice.numbers:
        dtype = np.dtype(dataset.dtypes[number - 1])
        if not _fits(override, dtype):
            raise UsageError(
                f"The nodata value {override:g} cannot occur in {dtype} data; leave it away or correct it."
            )
    return (float(override),) * 3


def check_dtypes(source: str, dataset: DatasetReader, choice: BandChoice) -> None:
    """Raise `SourceError` for complex numbers, which are no picture, and for a palette that is not there."""
    if choice.through_palette:
        _check_palette(source, dataset, choice.numbers[0])
    for number in choice.numbers:
        if "complex" in dataset.dtypes[number - 1]:
            raise SourceError(
                f"Band {number} of {source} holds complex numbers ({dataset.dtypes[number - 1]}); "
                "convert it to amplitude or intensity first."
            )


def _check_palette(source: str, dataset: DatasetReader, number: int) -> None:
    try:
        dataset.colormap(number)
    except ValueError as error:
        raise SourceError(
            f"Band {number} of {source} should hold indices of a colour table, but the file has none; "
            f"read it as grey with --bands {number},{number},{number}."
        ) from error


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _equals(values: Pixels, nodata: float | None) -> Mask:
    if nodata is None or not _fits(nodata, values.dtype):
        return np.zeros(values.shape, bool)
    if np.isnan(nodata):
        return np.isnan(values)
    with np.errstate(over="ignore"):
        return values == values.dtype.type(nodata)
