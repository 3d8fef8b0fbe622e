"""Native pixels of an open raster: the chosen bands, and which pixels hold an observation."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NodataShadowWarning
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from earthwords.errors import SourceError, UsageError
from earthwords.geo.bands import BandChoice, alpha_band, likeness
from earthwords.geo.masks import Mask
from earthwords.geo.sources.dates import date_of
from earthwords.geo.sources.gdal_dataset import open_dataset, reading
from earthwords.geo.sources.network import Network
from earthwords.types import Window

warnings.filterwarnings("ignore", category=NodataShadowWarning, module=re.escape(__name__))  # alpha is read, too

Values: TypeAlias = NDArray[Any]
Flags: TypeAlias = NDArray[np.bool_]

SAMPLE_SIDE = 1024
"""Longest side, in pixels, of the overview that statistics are taken from."""

_TAGS = ("IMAGERY", "EXIF")
"""Domains of metadata, beside the main one, that may tell a date."""
_SCAN_PIXELS = 2**22
_TOLERANCE = 2 * np.finfo(np.float32).eps
_SCAN_VALUES = 2**20
UNSCALED = (1.0, 0.0)
"""Scale and offset of numbers that mean what they are."""


@dataclass(kw_only=True)
class PixelSource:
    """Reads three bands of a raster as one array, with a mask.

    What is hidden is what GDAL's masks hide (https://gdal.org/en/stable/development/rfc/rfc15_nodatabitmask.html): a
    mask of the whole file (a mask inside it or a `.msk`, alpha, the metadata NODATA_VALUES) hides a pixel at once;
    masks of single bands (their nodata values, or the masks of a VRT's bands) hide it where they hide it in all
    chosen bands. One band equal to its nodata value is not enough: a dark roof may well have a blue of 0. Beyond GDAL,
    a pixel is hidden where a chosen band is NaN or infinite, where any band called alpha is 0, and where a colour
    table has no colour or a transparent one, and where `mask` hides it.
    """

    source: str
    dataset: DatasetReader
    choice: BandChoice
    network: Network | None
    """What may be reached when it is read; None for a dataset that was handed in, which is its owner's."""
    nodata: float | None = None
    """Means "nothing here" in every chosen band, in place of the file's own values; a mask of the file still counts."""
    scaling: tuple[float, float] | None = None
    """Scale and offset of a sensor's numbers, for a file that gives none itself."""
    mask: Mask | None = None
    """What else hides pixels, such as clouds."""
    opaque: bool = False
    """Whether a band that GDAL calls alpha is none."""
    hidden: float | None = None
    """Share of the observed pixels that `mask` hides, as far as `sample` has seen."""
    likeness: float | None = None
    """How alike the three bands are where `sample` has seen them, see `bands.likeness`."""
    _ended: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of `read`'s data: the file's own, float32 where scale and offset apply, uint8 of a colour table."""
        if self.choice.through_palette:
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if self.is_scaled else self._raw_dtype

    @property
    def is_scaled(self) -> bool:
        """Whether a chosen band has a scale or an offset."""
        return any(scale != 1 or offset != 0 for scale, offset in self._scaling)

    @property
    def may_hide_pixels(self) -> bool:
        """Whether any pixel could be invalid, as far as the file's header tells."""
        return (
            self._raw_dtype.kind == "f"
            or self.nodata is not None
            or self._alpha is not None
            or any(MaskFlags.all_valid not in self._flags(number) for number in self.choice.numbers)
            or self.choice.through_palette
            or self.mask is not None
        )

    @property
    def closed(self) -> bool:
        """Whether `close` was called, here or on the dataset."""
        return self._ended or bool(self.dataset.closed)

    def close(self) -> None:
        """Close the file, not a dataset that was handed in; reading afterwards is an error."""
        self._ended = True
        if self.network is not None:
            self.dataset.close()
        if self.mask is not None:
            self.mask.close()

    def renew(self) -> None:
        """Open the file again: after a failure GDAL may give zeros for the blocks that it could not read.

        A dataset that was handed in is left open and read no more; where it has no file of its own, that is the end.
        """
        if self.network is not None:
            self.dataset.close()
            self.dataset = open_dataset(self.source, network=self.network)
        else:
            self._ended = True
            with suppress(SourceError):
                self.dataset = open_dataset(self.source, network=Network.NAMED)
                self.network, self._ended = Network.NAMED, False
        if self.mask is not None:
            self.mask.renew()

    def files(self) -> dict[str, str]:
        """Of every local file that the source is made of: size and time of the last change."""
        found = {}
        with reading(self.source, "the names of the files", self.network):
            own = list(self.dataset.files)
        for name in (*own, *(() if self.mask is None else self.mask.files())):
            with suppress(OSError):
                about = os.stat(name)
                found[name] = f"{about.st_size} bytes, changed {about.st_mtime_ns}"
        return found

    def date(self) -> str | None:
        """The day it was taken, see `date_of`."""
        with reading(self.source, "the metadata", self.network):
            domains = [None, *(name for name in self.dataset.tag_namespaces() if name in _TAGS)]
            tags = [self.dataset.tags(ns=name) for name in domains]
        return next((day for day in map(date_of, tags) if day is not None), None)

    def read(self, window: Window) -> tuple[Values, Flags]:
        """Data `(3, row, col)` of `dtype` and valid `(row, col)`; invalid pixels keep the file's values.

        Raises:
            SourceError: the file is damaged there.
        """
        raw, _, valid = self._read_raw(window, window.height, window.width)
        return self._finish(raw), valid & self._shown(window, valid.shape)

    def sample(self) -> list[Values]:
        """For each chosen band, `(n,)` values of `dtype` spread over the whole scene, nodata excluded.

        Raises:
            SourceError: the scene has no valid pixel at all, or is damaged.
        """
        height, width = self.dataset.shape
        shrink = min(1.0, SAMPLE_SIDE / max(height, width))
        whole = Window(row=0, col=0, height=height, width=width)
        raw, band_valid, observed = self._read_raw(whole, max(1, round(height * shrink)), max(1, round(width * shrink)))
        valid = observed & self._shown(whole, observed.shape)
        if self.mask is not None and observed.any():
            self.hidden = 1 - float(valid.sum() / observed.sum())
        if len(set(self.choice.numbers)) == 3:
            self.likeness = likeness(raw, valid)
        if not valid.any():
            return self._scan()
        return self._observed(raw, band_valid, valid)

    def _scan(self) -> list[Values]:
        """Values from all pixels, block after block: the last word before calling a scene empty."""
        found: list[list[Values]] = []
        for window in self._strips():
            raw, band_valid, valid = self._read_raw(window, window.height, window.width)
            valid &= self._shown(window, valid.shape)
            if valid.any():
                found.append(self._observed(raw, band_valid, valid))
            if sum(len(values[0]) for values in found) > _SCAN_VALUES:
                break
        if not found:
            by = "" if self.mask is None else f", here also by the mask {self.mask}"
            raise SourceError(
                f"{self.source} has no valid pixel in bands {self.choice.numbers}: all are nodata or masked{by}; "
                "check the nodata value, or choose other bands."
            )
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def _strips(self) -> Iterator[Window]:
        height, width = self.dataset.shape
        block = self.dataset.block_shapes[0][0]
        rows = max(1, _SCAN_PIXELS // width // block) * block
        for row in range(0, height, rows):
            yield Window(row=row, col=0, height=min(rows, height - row), width=width)

    def _read_raw(self, window: Window, height: int, width: int) -> tuple[Values, Flags, Flags]:
        """The file's own values and what each band has observed, both `(3, row, col)`, and which pixels are valid.

        Decimated to `height x width` by nearest neighbour.
        """
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        how = {"window": area, "resampling": Resampling.nearest}
        unique = sorted(set(self.choice.numbers))
        where = f"rows {window.row}..{window.row_stop}, columns {window.col}..{window.col_stop}"
        with reading(self.source, where, self.network):
            read = self._read_bands(unique, (height, width), how)
            raw = read[[unique.index(number) for number in self.choice.numbers]]
            band_valid = self._band_valid(raw, {"out_shape": (height, width), **how})
            valid = self._valid(raw, band_valid, {"out_shape": (height, width), **how})
        return raw, band_valid, valid

    def _read_bands(self, numbers: list[int], shape: tuple[int, int], how: dict[str, Any]) -> Values:
        """`(band, row, col)`, in a type that holds all of them where their own differ."""
        if len({self.dataset.dtypes[number - 1] for number in numbers}) == 1:
            return np.asarray(self.dataset.read(numbers, out_shape=(len(numbers), *shape), **how))
        return np.stack([self.dataset.read(number, out_shape=shape, **how) for number in numbers])

    def _band_valid(self, raw: Values, how: dict[str, Any]) -> Flags:
        """`(3, row, col)`: False where a band's own mask hides it, or the mask of the whole file."""
        if self.nodata is not None:
            band_valid = ~np.stack([equals(values, self.nodata) for values in raw])
            return band_valid & self._mask(self.choice.numbers[0], how) if self._has_mask else band_valid
        masks = {number: self._mask(number, how) for number in set(self.choice.numbers)}
        return np.stack([masks[number] for number in self.choice.numbers])

    def _mask(self, number: int, how: dict[str, Any]) -> Flags:
        """GDAL's mask of a band, True where it shows the pixel."""
        if MaskFlags.all_valid in self._flags(number):
            return np.ones(how["out_shape"], bool)
        return np.asarray(self.dataset.read_masks(number, **how) != 0)

    def _valid(self, raw: Values, band_valid: Flags, how: dict[str, Any]) -> Flags:
        valid: Flags = np.asarray(band_valid.any(axis=0))
        if raw.dtype.kind == "f":
            valid &= np.isfinite(raw).all(axis=0)
        if self._alpha is not None:
            valid &= self.dataset.read(self._alpha, **how) != 0
        if self.choice.through_palette:
            valid &= self._colours(raw[0])[..., 3] != 0
        return valid

    def _shown(self, window: Window, shape: tuple[int, ...]) -> Flags:
        """Where `mask` hides nothing, for a window decimated to `shape`."""
        if self.mask is None:
            return np.ones(shape, bool)
        return ~self.mask.hidden(window, (shape[0], shape[1]), self._band)

    def _band(self, number: int, window: Window, shape: tuple[int, int]) -> Values:
        """A band as it is in the file, decimated to `shape` by nearest neighbour."""
        area = RasterioWindow(window.col, window.row, window.width, window.height)
        with reading(self.source, f"band {number}", self.network):
            return np.asarray(self.dataset.read(number, window=area, out_shape=shape, resampling=Resampling.nearest))

    def _observed(self, raw: Values, band_valid: Flags, valid: Flags) -> list[Values]:
        """Values of valid pixels per band; those that the band's own mask hides count only if there are no others."""
        chosen = [valid & own for own in band_valid]
        return [values[own if own.any() else valid] for values, own in zip(self._finish(raw), chosen, strict=True)]

    def _finish(self, raw: Values) -> Values:
        if self.choice.through_palette:
            return np.ascontiguousarray(np.moveaxis(self._colours(raw[0])[..., :3], -1, 0))
        if not self.is_scaled:
            return raw
        scaled = [values * float(scale) + offset for values, (scale, offset) in zip(raw, self._scaling, strict=True)]
        return np.stack(scaled).astype(np.float32)

    @property
    def _scaling(self) -> list[tuple[float, float]]:
        own = scaling_of(self.dataset, self.choice)
        return own if self.scaling is None or own != [UNSCALED] * 3 else [self.scaling] * 3

    @property
    def _raw_dtype(self) -> np.dtype[Any]:
        return dtype_of(self.dataset, self.choice)

    @property
    def _has_mask(self) -> bool:
        """Whether the file has a mask of its own, made of neither alpha nor nodata values."""
        flags = self._flags(self.choice.numbers[0])
        return MaskFlags.per_dataset in flags and not {MaskFlags.alpha, MaskFlags.nodata} & set(flags)

    def _flags(self, number: int) -> list[MaskFlags]:
        """What GDAL makes the mask of a band from."""
        flags = list(self.dataset.mask_flag_enums[number - 1])
        return [MaskFlags.all_valid] if self.opaque and MaskFlags.alpha in flags else flags

    @property
    def _alpha(self) -> int | None:
        return None if self.opaque else alpha_band(self.dataset)

    def _colours(self, indices: Values) -> NDArray[np.uint8]:
        """`(row, col, rgba)` of palette indices, transparent where the table has no entry."""
        colours = self.dataset.colormap(self.choice.numbers[0])
        table = np.zeros((2 + max(colours, default=-1), 4), np.uint8)
        for index, colour in colours.items():
            table[index] = colour
        known = (indices >= 0) & (indices < len(table) - 1)
        return np.asarray(table[np.where(known, indices, len(table) - 1).astype(np.intp)])


def scaling_of(dataset: DatasetReader, choice: BandChoice) -> list[tuple[float, float]]:
    """Scale and offset that the file gives, per chosen band; `UNSCALED` where it gives none."""
    scales, offsets = dataset.scales, dataset.offsets
    return [(scales[number - 1], offsets[number - 1]) for number in choice.numbers]


def dtype_of(dataset: DatasetReader, choice: BandChoice) -> np.dtype[Any]:
    """A type that holds the numbers of all chosen bands."""
    return np.result_type(*{dataset.dtypes[number - 1] for number in choice.numbers})


def check_nodata(dataset: DatasetReader, choice: BandChoice, nodata: float | None) -> None:
    """Raise `UsageError` for a value that cannot occur in the chosen bands' data types."""
    for number in choice.numbers:
        check_occurs(nodata, np.dtype(dataset.dtypes[number - 1]))


def check_occurs(nodata: float | None, dtype: np.dtype[Any]) -> None:
    """Raise `UsageError` for a value that cannot occur in this type."""
    if nodata is not None and not occurs(nodata, dtype):
        raise UsageError(f"The nodata value {nodata:g} cannot occur in {dtype} data; leave it out or correct it.")


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


def occurs(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a type can hold a value."""
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


def equals(values: Values, nodata: float) -> Flags:
    """As GDAL compares (`ARE_REAL_EQUAL`): floats to within four float32 units in the last place, doubles too."""
    if np.isnan(nodata):
        return np.asarray(np.isnan(values))
    if values.dtype.kind != "f":
        return np.asarray(values == values.dtype.type(nodata))
    with np.errstate(over="ignore", invalid="ignore"):
        own = values.dtype.type(nodata)
        return np.asarray((values == own) | (np.abs(values - own) < _TOLERANCE * np.abs(values + own)))
