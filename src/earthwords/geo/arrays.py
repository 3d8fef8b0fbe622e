"""An image in memory, read as if it were a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError
from earthwords.geo.bands import RGB, BandChoice
from earthwords.geo.pixels import SAMPLE_SIDE
from earthwords.types import Window


@dataclass(kw_only=True)
class ArrayPixels:
    """Reads windows of an array; the counterpart of `PixelSource`."""

    data: NDArray[Any]
    """`(3, row, col)`."""
    valid: NDArray[np.bool_]
    """`(row, col)`."""
    source: str = "array"
    choice: BandChoice = field(default_factory=lambda: BandChoice(numbers=(1, 2, 3), names=RGB))
    closed: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the data."""
        return self.data.dtype

    @property
    def may_hide_pixels(self) -> bool:
        """Whether any pixel is invalid."""
        return not bool(self.valid.all())

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Copies of data `(3, row, col)` and valid `(row, col)`."""
        return self.data[(slice(None), *window.slices)].copy(), self.valid[window.slices].copy()

    def sample(self) -> list[NDArray[Any]]:
        """For each band, valid values from all over the image.

        Raises:
            SourceError: no pixel is valid.
        """
        step = max(1, -(-max(self.valid.shape) // SAMPLE_SIDE))
        data, valid = self.data[:, ::step, ::step], self.valid[::step, ::step]
        if not valid.any():
            data, valid = self.data, self.valid
        if not valid.any():
            raise SourceError("The image has no valid pixel: all are transparent, NaN or infinite.")
        return [values[valid] for values in data]

    def renew(self) -> None:
        """Nothing to do: memory does not fail."""

    def files(self) -> dict[str, str]:
        """Hash of the pixels, in place of the files that there are none of."""
        digest = hashlib.sha256(np.ascontiguousarray(self.data).tobytes() + self.valid.tobytes())
        return {"pixels": digest.hexdigest()[:16]}

    def date(self) -> None:
        """Nobody tells."""

    def close(self) -> None:
        """Reading afterwards is an error, as with a file."""
        self.closed = True


def pixels_of_array(image: NDArray[Any]) -> ArrayPixels:
    """`(row, col)` grey, `(row, col, 3)` or `(row, col, 4)` with alpha, of numbers.

    Raises:
        UsageError: another shape or type.
    """
    if image.dtype.kind not in "uif":
        raise UsageError(f"An image must hold numbers, got {image.dtype}.")
    if image.ndim not in (2, 3) or not image.size or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        hint = "; move the bands last" if image.ndim == 3 and image.shape[0] in (3, 4) else ""
        raise UsageError(f"An image must be (row, col, 3), (row, col, 4) or (row, col), got {image.shape}{hint}.")
    layers = np.repeat(image[None], 3, axis=0) if image.ndim == 2 else np.moveaxis(image, -1, 0)
    valid = np.ones(layers.shape[1:], bool) if len(layers) == 3 else layers[3] != 0
    if image.dtype.kind == "f":
        valid = valid & np.isfinite(layers[:3]).all(axis=0)
    return ArrayPixels(data=layers[:3], valid=valid)
