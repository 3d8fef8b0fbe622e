"""Pixels of an array with named dimensions, read in windows as if it were a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, brief, is_out_of_memory
from earthwords.geo.bands import BandChoice, likeness
from earthwords.geo.masks import Mask
from earthwords.geo.sources.labelled import Labelled
from earthwords.geo.sources.pixels import SAMPLE_SIDE, UNSCALED, equals
from earthwords.types import Window

_ROWS = 512


@dataclass(kw_only=True)
class LabelledPixels:
    """Reads windows of an array with named dimensions; the counterpart of `PixelSource`."""

    array: Labelled
    choice: BandChoice
    nodata: float | None = None
    """In every chosen band, in place of the array's own values."""
    scaling: tuple[float, float] | None = None
    """Of a sensor, for an array that has none of its own."""
    mask: Mask | None = None
    hidden: float | None = None
    """Share of the observed pixels that `mask` hides, as far as `sample` has seen."""
    likeness: float | None = None
    """How alike the three bands are where `sample` has seen them, see `bands.likeness`."""
    closed: bool = False

    @property
    def source(self) -> str:
        """The array's file or name."""
        return self.array.source

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of `read`'s data."""
        return self._raw_dtype if self._scaling == [UNSCALED] * 3 else np.dtype(np.float32)

    @property
    def may_hide_pixels(self) -> bool:
        """Whether any pixel could be invalid."""
        return (
            self._raw_dtype.kind == "f"
            or self.mask is not None
            or self._alpha is not None
            or all(value is not None for value in self._nodata)
        )

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Data `(3, row, col)` of `dtype` and valid `(row, col)`; invalid pixels keep the array's values."""
        rows, cols = window.slices
        raw, _, valid = self._read_raw(rows, cols)
        return self._finish(raw), valid & self._shown(window, valid.shape)

    def sample(self) -> list[NDArray[Any]]:
        """For each chosen band, `(n,)` values of `dtype` spread over the whole array.

        Raises:
            SourceError: no pixel is valid.
        """
        height, width = self.array.shape
        step = max(1, -(-max(height, width) // SAMPLE_SIDE))
        spread = slice(min(step // 2, height - 1), None, step), slice(min(step // 2, width - 1), None, step)
        raw, band_valid, observed = self._read_raw(*spread)
        valid = observed & self._shown(Window(row=0, col=0, height=height, width=width), observed.shape)
        if self.mask is not None and observed.any():
            self.hidden = 1 - float(valid.sum() / observed.sum())
        if len(set(self.choice.numbers)) == 3:
            self.likeness = likeness(raw, valid)
        found = [self._observed(raw, band_valid, valid)] if valid.any() else list(self._scan())
        if not found:
            by = "" if self.mask is None else f", here also by the mask {self.mask}"
            raise SourceError(f"{self.source} has no valid pixel: all are nodata, transparent, NaN or masked{by}.")
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def _scan(self) -> Iterator[list[NDArray[Any]]]:
        """Values of all rows that have any."""
        height, width = self.array.shape
        for row in range(0, height, _ROWS):
            window = Window(row=row, col=0, height=min(_ROWS, height - row), width=width)
            raw, band_valid, valid = self._read_raw(*window.slices)
            valid &= self._shown(window, valid.shape)
            if valid.any():
                yield self._observed(raw, band_valid, valid)

    def _read_raw(self, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """As `PixelSource` has it: values, what each band has observed, and which pixels are valid."""
        numbers = sorted({*self.choice.numbers, *([] if self._alpha is None else [self._alpha])})
        read = self._loaded(numbers, rows, cols)
        raw = read[[numbers.index(number) for number in self.choice.numbers]]
        pairs = zip(raw, self._nodata, strict=True)
        band_valid = np.stack([np.ones(v.shape, bool) if nodata is None else ~equals(v, nodata) for v, nodata in pairs])
        valid: NDArray[np.bool_] = np.asarray(band_valid.any(axis=0))
        if raw.dtype.kind == "f":
            valid &= np.isfinite(raw).all(axis=0)
        if self._alpha is not None:
            valid &= read[numbers.index(self._alpha)] != 0
        return raw, band_valid, valid

    def _loaded(self, numbers: Sequence[int], rows: slice, cols: slice) -> NDArray[Any]:
        try:
            return self.array.read(numbers, rows, cols)
        except Exception as error:  # of whatever library the array lies in
            if is_out_of_memory(error):
                raise
            raise SourceError(f"Cannot read {self.source} ({type(error).__name__}: {brief(error)}).") from error

    def _observed(
        self, raw: NDArray[Any], band_valid: NDArray[np.bool_], valid: NDArray[np.bool_]
    ) -> list[NDArray[Any]]:
        chosen = [valid & own for own in band_valid]
        return [values[own if own.any() else valid] for values, own in zip(self._finish(raw), chosen, strict=True)]

    def _shown(self, window: Window, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Where `mask` hides nothing, for a window decimated to `shape`."""
        if self.mask is None:
            return np.ones(shape, bool)
        return ~self.mask.hidden(window, (shape[0], shape[1]), self._band)

    def _band(self, number: int, window: Window, shape: tuple[int, int]) -> NDArray[Any]:
        """A band decimated to `shape`."""
        steps = [-(-length // count) for length, count in zip((window.height, window.width), shape, strict=True)]
        rows, cols = (
            slice(part.start + step // 2 if step // 2 < part.stop - part.start else part.start, part.stop, step)
            for part, step in zip(window.slices, steps, strict=True)
        )
        return np.asarray(self._loaded([number], rows, cols)[0])

    def _finish(self, raw: NDArray[Any]) -> NDArray[Any]:
        scaling = self._scaling
        if scaling == [UNSCALED] * 3:
            return raw
        return np.stack([v * scale + offset for v, (scale, offset) in zip(raw, scaling, strict=True)]).astype("f4")

    @property
    def _scaling(self) -> list[tuple[float, float]]:
        own = [self.array.scaling[number - 1] for number in self.choice.numbers]
        return own if self.scaling is None or own != [UNSCALED] * 3 else [self.scaling] * 3

    @property
    def _nodata(self) -> list[float | None]:
        own = [self.array.nodata[number - 1] for number in self.choice.numbers]
        return own if self.nodata is None else [self.nodata] * 3

    @property
    def _raw_dtype(self) -> np.dtype[Any]:
        return np.result_type(*(self.array.dtypes[number - 1] for number in self.choice.numbers))

    @property
    def _alpha(self) -> int | None:
        return next((band.number for band in self.array.bands if band.role == "alpha"), None)

    def renew(self) -> None:
        """Nothing to do: the array is what it is."""

    def files(self) -> dict[str, str]:
        """Hash of the pixels, in place of files."""
        digest = hashlib.sha256()
        height, width = self.array.shape
        for row in range(0, height, _ROWS):
            window = Window(row=row, col=0, height=min(_ROWS, height - row), width=width)
            for part in self.read(window):
                digest.update(np.ascontiguousarray(part).tobytes())
        return {"pixels": digest.hexdigest()[:16]}

    def date(self) -> str | None:
        """The day of the array's time coordinate."""
        return self.array.day

    def close(self) -> None:
        """Reading afterwards is an error; the array itself stays as it is."""
        self.closed = True
        if self.mask is not None:
            self.mask.close()
