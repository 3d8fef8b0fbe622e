"""An image in memory, read as if it were a file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.crs import CRS as RasterioCRS

from earthwords.errors import SourceError, UsageError, brief
from earthwords.geo.bands import RGB, BandChoice
from earthwords.geo.masks import Mask
from earthwords.geo.sources.pixels import SAMPLE_SIDE, check_occurs, equals
from earthwords.types import Grid, SourceCrs, Window, metres_per_unit

PLANE = (
    'ENGCRS["Plane in metres",EDATUM["Unknown engineering datum"],CS[Cartesian,2],'
    'AXIS["x",east,ORDER[1],LENGTHUNIT["metre",1]],AXIS["y",north,ORDER[2],LENGTHUNIT["metre",1]]]'
)
"""The CRS of an image of which only the size of its pixels is known: metres from its upper left corner."""

_GREY = "One band, repeated as red, green, blue."


@dataclass(kw_only=True)
class ArrayPixels:
    """Reads windows of an array; the counterpart of `PixelSource`."""

    data: NDArray[Any]
    """`(3, row, col)`."""
    valid: NDArray[np.bool_]
    """`(row, col)`."""
    source: str = "array"
    choice: BandChoice = field(default_factory=lambda: BandChoice(numbers=(1, 2, 3), names=RGB, parts=RGB))
    mask: Mask | None = None
    """What else hides pixels; part of `valid` already once `hide` was called."""
    hidden: float | None = None
    """Share of the observed pixels that `mask` hides."""
    closed: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the data."""
        return self.data.dtype

    @property
    def may_hide_pixels(self) -> bool:
        """Whether any pixel is invalid."""
        return not bool(self.valid.all())

    def hide(self, mask: Mask) -> None:
        """Take what `mask` hides out of the valid pixels."""
        self.mask = mask
        height, width = self.valid.shape
        whole = Window(row=0, col=0, height=height, width=width)
        shown = self.valid & ~mask.hidden(whole, (height, width), lambda number, window, shape: self.data[number - 1])
        self.hidden = 1 - float(shown.sum() / max(1, self.valid.sum()))
        self.valid = shown

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
            raise SourceError("The image has no valid pixel: all are transparent, nodata, masked, NaN or infinite.")
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
        if self.mask is not None:
            self.mask.close()


def pixels_of_array(image: NDArray[Any], *, nodata: float | None = None) -> ArrayPixels:
    """`(row, col)` or `(row, col, 1)` grey, `(row, col, 2)` of bytes grey with alpha, `(row, col, 3)`, or
    `(row, col, 4)` with alpha, of numbers; what a masked array hides is not valid.

    Raises:
        UsageError: another shape or type.
    """
    if image.dtype.kind not in "uif":
        raise UsageError(
            f"An image must hold numbers, got {image.dtype}; give a path, an address, an array of numbers, an open "
            "rasterio dataset or an xarray object."
        )
    bands = image.shape[2] if image.ndim == 3 else 1
    known = (1, 3, 4, *([2] if image.dtype == np.uint8 else []))
    if image.ndim not in (2, 3) or not image.size or bands not in known:
        hint = "; move the bands last" if image.ndim == 3 and image.shape[0] in (1, 3, 4) else ""
        raise UsageError(f"An image must be (row, col, 3), (row, col, 4) or (row, col), got {image.shape}{hint}.")
    layers = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    colours, alpha = (layers[:1], layers[1:]) if bands < 3 else (layers[:3], layers[3:])
    valid = np.ones(layers.shape[1:], bool) if not len(alpha) else np.asarray(alpha[0] != 0)
    if isinstance(image, np.ma.MaskedArray):
        valid = valid & ~np.ma.getmaskarray(colours).any(axis=0)
    data = np.asarray(colours)
    if image.dtype.kind == "f":
        valid = valid & np.isfinite(data).all(axis=0)
    if nodata is not None:
        check_occurs(nodata, image.dtype)
        valid = valid & ~equals(data, nodata).all(axis=0)
    if len(data) == 3:
        return ArrayPixels(data=data, valid=valid)
    choice = BandChoice(numbers=(1, 1, 1), names=("band 1",) * 3, notes=(_GREY,))
    return ArrayPixels(data=np.repeat(data, 3, axis=0), valid=valid, choice=choice)


def grid_of_array(
    shape: tuple[int, int],
    *,
    transform: Affine | Sequence[float] | None = None,
    crs: Any = None,
    gsd: float | None = None,
) -> Grid:
    """Where the pixels of an array lie.

    Args:
        shape: rows and columns.
        transform: from `(col, row)` of pixel corners to `(x, y)`: an `Affine`, or its first six numbers.
        crs: anything that pyproj or rasterio makes a CRS of.
        gsd: metres a pixel, of an array of which neither is known; it then lies in a plane of its own.

    Raises:
        UsageError: a CRS without a transform, or no CRS, no transform or no pixel size at all.
    """
    height, width = shape
    if crs is not None and transform is None:
        raise UsageError("A CRS says where an array lies only together with its transform; give both, or gsd alone.")
    if transform is not None:
        own = SourceCrs(wkt=crs.to_wkt()) if isinstance(crs, RasterioCRS) else None
        return Grid(height=height, width=width, transform=_affine(transform), crs=_crs(crs), source_crs=own)
    if gsd is None:
        return Grid(height=height, width=width, transform=Affine.identity(), crs=None)
    if not (np.isfinite(gsd) and gsd > 0):
        raise UsageError(f"The ground sample distance must be a positive number of metres, got {gsd:g}.")
    return Grid(height=height, width=width, transform=Affine.scale(gsd, -gsd), crs=CRS.from_wkt(PLANE))


def checked_grid(grid: Grid) -> tuple[Grid, tuple[str, ...]]:
    """A grid without a CRS that cannot be its own, and the sentence about that."""
    if grid.crs is None:
        return grid, () if grid.transform.is_identity else ("No CRS: working in pixels, areas in pixels.",)
    try:
        degrees = math.degrees(metres_per_unit(grid.crs)) * max(abs(grid.bounds[1]), abs(grid.bounds[3]))
        gsd = grid.gsd_m if not grid.crs.is_geographic or degrees <= 91 else math.inf
    except Exception:  # PROJ's errors of many kinds
        gsd = None
    if gsd is not None and 0 < gsd < math.inf:
        return grid, ()
    why = f"The CRS {grid.crs.name} does not reach the places of the array"
    if gsd == math.inf:
        why = f"The coordinates of the array cannot be degrees of {grid.crs.name}"
    return replace(grid, crs=None), (f"{why}: working in pixels, areas in pixels.",)


def _affine(transform: Affine | Sequence[float]) -> Affine:
    try:
        found = transform if isinstance(transform, Affine) else Affine(*[float(v) for v in transform][:6])
    except (TypeError, ValueError) as error:
        raise UsageError(f"The transform must be an Affine or its six numbers, got {transform!r}.") from error
    if found.a and found.b and found.d and found.f and not found.c and not found.e:
        raise UsageError(f"The transform {tuple(found[:6])} is in GDAL's order; use Affine.from_gdal(*numbers).")
    if not np.isfinite(found[:6]).all() or found.determinant == 0:
        raise UsageError(f"The transform {tuple(found[:6])} makes pixels without area; correct it.")
    return found


def _crs(crs: Any) -> CRS | None:
    try:
        return None if crs is None else CRS.from_user_input(crs)
    except (CRSError, TypeError, ValueError) as error:
        raise UsageError(f"{crs!r} is no CRS ({brief(error)}); give a code such as 'EPSG:32633', or WKT.") from error
