"""Clouds, shadows and fill as "no observation": what the bands and files that come with scenes say about pixels.

A mask is asked for as `WHAT` or `WHAT:VALUES`. `WHAT` is a kind of quality band in the scene itself (`scl`, `qa`, or
another name of `KINDS`), a raster on the same ground, or a band of the scene by name or number. `VALUES` are those that
hide a pixel: numbers, ranges such as `8-10` and bits such as `bit3`, separated by commas. Without them a known kind
hides what `KINDS` says, and any other mask its zeros, as GDAL's masks do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from earthwords.errors import SourceError, UsageError, did_you_mean
from earthwords.files.paths import IMAGES, is_local_path, missing, with_stem
from earthwords.geo.bands import Band, bands_of
from earthwords.geo.grids.georeference import grid_of, show_bounds
from earthwords.geo.sensors import plain
from earthwords.geo.sources.gdal_dataset import open_dataset, reading
from earthwords.geo.sources.network import Network, is_remote
from earthwords.types import Grid, Window

Values = NDArray[Any]
BandReader = Callable[[int, Window, tuple[int, int]], Values]
"""A band of the scene by number: a window of it, decimated by nearest neighbour to a shape `(row, col)`."""


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """Which values hide a pixel."""

    ranges: tuple[tuple[int, int], ...] = ()
    """First and last of each."""
    bits: tuple[int, ...] = ()
    """Any of them set hides."""
    zeros: bool = False
    """0 hides, and so does NaN."""
    spared_by: int | None = None
    """Number of a band of the mask's file whose 1 keeps a pixel."""

    def hides(self, values: Values) -> NDArray[np.bool_]:
        """Where a pixel is hidden."""
        hidden = np.zeros(values.shape, bool)
        if self.zeros:
            hidden |= ~(values != 0) | np.isnan(values)
        for first, last in self.ranges:
            hidden |= (values >= first) & (values <= last)
        if self.bits:
            whole = np.nan_to_num(values, nan=0, posinf=0, neginf=0).astype(np.int64)
            hidden |= (whole & sum(1 << bit for bit in self.bits)) != 0
        return hidden

    def __str__(self) -> str:
        numbers = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges)
        bits = ", ".join(map(str, self.bits))
        parts = [f"values {numbers}" if numbers else "", f"bits {bits}" if bits else "", "zeros" if self.zeros else ""]
        return " and ".join(filter(None, parts))


KINDS: dict[str, MaskRule] = {
    # Sen2Cor's classes: no data, saturated, cloud shadow, clouds of medium and high probability, thin cirrus; snow (11)
    # stays: https://sentiwiki.copernicus.eu/web/s2-processing
    "scl": MaskRule(ranges=((0, 1), (3, 3), (8, 10))),
    # Landsat Collection 2: fill, dilated cloud, cirrus, cloud, cloud shadow:
    # https://www.usgs.gov/landsat-missions/landsat-collection-2-quality-assessment-bands
    "qa_pixel": MaskRule(bits=(0, 1, 2, 3, 4)),
    # Landsat Collection 1: of Level 2 fill, cloud shadow, cloud; of Level 1 fill, cloud:
    # https://www.usgs.gov/landsat-missions/landsat-collection-1-level-1-quality-assessment-band
    "pixel_qa": MaskRule(bits=(0, 3, 5)),
    "bqa": MaskRule(bits=(0, 4)),
    # Sentinel-2 in Earth Engine: opaque clouds, cirrus:
    # https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED
    "qa60": MaskRule(bits=(10, 11)),
    # HLS: cloud, beside cloud or shadow, shadow; its fill, 255, has all of these bits:
    # https://lpdaac.usgs.gov/documents/1698/HLS_User_Guide_V2.pdf
    "fmask": MaskRule(bits=(1, 2, 3)),
    # PlanetScope: band 1 is 1 where clear, band 2 is 1 on snow, which stays; the older UDM has bits for what is wrong:
    # https://docs.planet.com/data/imagery/udm/
    "udm2": MaskRule(zeros=True, spared_by=2),
    "udm": MaskRule(ranges=((1, 255),)),
}
"""Name of a quality band or file to what hides."""

ANY = "qa"
"""Stands for the first of `KINDS` that the scene has."""

_MOST_PIXELS = 2**24
"""Of a mask that is finer than the scene, read at once."""
_ITEMS = re.compile(r"-?\d+(?:-\d+)?|bit\d+")


@dataclass(frozen=True, kw_only=True)
class BandMask:
    """A band of the scene itself."""

    name: str
    number: int
    rule: MaskRule

    def hidden(self, window: Window, shape: tuple[int, int], read: BandReader) -> NDArray[np.bool_]:
        """`(row, col)` of `shape`, for a window of the scene decimated to it."""
        return self.rule.hides(read(self.number, window, shape))

    def files(self) -> list[str]:
        """None of its own."""
        return []

    def renew(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to let go of."""

    def __str__(self) -> str:
        return f"{self.name} (band {self.number}: {self.rule})"


@dataclass(frozen=True, kw_only=True)
class ArrayMask:
    """An array of the scene's size."""

    valid: NDArray[np.bool_]
    """`(row, col)`."""

    def hidden(self, window: Window, shape: tuple[int, int], read: BandReader) -> NDArray[np.bool_]:
        """As `BandMask.hidden`."""
        rows, cols = (
            start + np.floor((np.arange(count) + 0.5) * length / count).astype(np.intp)
            for start, length, count in ((window.row, window.height, shape[0]), (window.col, window.width, shape[1]))
        )
        return ~self.valid[np.ix_(rows, cols)]

    def files(self) -> list[str]:
        """None."""
        return []

    def renew(self) -> None:
        """Nothing to do: memory does not fail."""

    def close(self) -> None:
        """Nothing to let go of."""

    def __str__(self) -> str:
        return "an array (zeros)"


@dataclass(kw_only=True)
class FileMask:
    """A raster on the scene's ground, of any resolution, read by nearest neighbour."""

    source: str
    dataset: DatasetReader
    network: Network
    number: int
    rule: MaskRule
    to_mask: Affine
    """From `(col, row)` of the scene to those of the mask."""

    def hidden(self, window: Window, shape: tuple[int, int], read: BandReader) -> NDArray[np.bool_]:
        """As `BandMask.hidden`; exact where nothing is decimated."""
        exact = shape == (window.height, window.width)
        if exact and self._pixels_for(window) > _MOST_PIXELS and max(shape) > 1:
            axis = int(shape[1] > shape[0])
            halves = window.halves(axis)
            return np.concatenate([self.hidden(half, (half.height, half.width), read) for half in halves], axis=axis)
        rows = window.row + (np.arange(shape[0])[:, None] + 0.5) * (window.height / shape[0])
        cols = window.col + (np.arange(shape[1])[None, :] + 0.5) * (window.width / shape[1])
        t = self.to_mask
        across, down = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        height, width = self.dataset.shape
        part = _around(down, across, height, width)
        # for an overview of a large mask not more pixels than are needed
        most = max(part.height, part.width) if exact else 2 * max(shape)
        size = min(part.height, most), min(part.width, most)
        i = _places(down, part.row, part.height, size[0])
        j = _places(across, part.col, part.width, size[1])
        with reading(self.source, "the mask", self.network):
            hidden = self.rule.hides(self._read(self.number, part, size))
            if self.rule.spared_by is not None and self.dataset.count >= self.rule.spared_by:
                hidden &= self._read(self.rule.spared_by, part, size) != 1
        return np.asarray(hidden[i, j])

    def _pixels_for(self, window: Window) -> float:
        """About how many pixels of the mask lie under a window."""
        t = self.to_mask
        high = abs(t.d) * window.width + abs(t.e) * window.height
        return high * (abs(t.a) * window.width + abs(t.b) * window.height)

    def _read(self, number: int, part: Window, size: tuple[int, int]) -> Values:
        area = RasterioWindow(part.col, part.row, part.width, part.height)
        return np.asarray(self.dataset.read(number, window=area, out_shape=size, resampling=Resampling.nearest))

    def files(self) -> list[str]:
        """All that it is made of."""
        return list(self.dataset.files)

    def renew(self) -> None:
        """Open the file again, as `PixelSource.renew` does."""
        self.dataset.close()
        self.dataset = open_dataset(self.source, network=self.network)

    def close(self) -> None:
        """Close the file."""
        self.dataset.close()

    def __str__(self) -> str:
        return f"{os.path.basename(self.source.partition('?')[0])} (band {self.number}: {self.rule})"


Mask = BandMask | ArrayMask | FileMask


def open_mask(wanted: Any, *, bands: Sequence[Band], native: Grid, network: Network, source: str = "") -> Mask:
    """The mask that is asked for, for a scene with these bands and this grid.

    Args:
        wanted: see the top of this file; `{stem}` in it stands for the name of the scene's file without suffix. Or an
            array `(row, col)` of the scene's size, 0 or False where a pixel is hidden.
        bands: of the scene.
        native: the scene's own grid.
        network: what may be reached.
        source: the scene.

    Raises:
        UsageError: the scene has no such band, or the raster lies elsewhere.
        SourceError: the raster is missing or no raster.
    """
    if not isinstance(wanted, (str, int, os.PathLike)):
        return _array_mask(wanted, native)
    what, rule = split_mask(with_stem(str(wanted), source))
    kind = what.lower()
    band = _band_of_kind(bands, tuple(KINDS) if kind == ANY else (kind,)) if kind == ANY or kind in KINDS else None
    if band is not None:
        return BandMask(name=band[0].name, number=band[0].number, rule=rule or replace(KINDS[band[1]], spared_by=None))
    if is_remote(what) or what.startswith("/vsi") or os.path.exists(what):
        return _file_mask(what, rule, native, network)
    named = [band for band in bands if what in (str(band.number), f"band {band.number}") or kind == plain(band.name)]
    if len(named) == 1:
        return BandMask(name=named[0].name, number=named[0].number, rule=rule or MaskRule(zeros=True))
    raise _no_mask(what, bands)


def split_mask(text: str) -> tuple[str, MaskRule | None]:
    """`WHAT` and the rule of `VALUES`, None without them.

    Raises:
        UsageError: there is nothing, or a range that ends before it starts.
    """
    what, colon, items = text.strip().rpartition(":")
    listed = [item.strip().lower() for item in items.split(",")]
    if not (colon and what and all(map(_ITEMS.fullmatch, listed))) or os.path.exists(text):
        what, listed = text.strip(), []
    if not what:
        raise UsageError("The mask is empty; name a band such as scl, or a raster.")
    if not listed:
        return what, None
    ranges, bits = [], []
    for item in listed:
        if item.startswith("bit"):
            bits.append(int(item[3:]))
            continue
        first, last = re.fullmatch(r"(-?\d+)(?:-(\d+))?", item).groups()  # type: ignore[union-attr]
        ranges.append((int(first), int(first if last is None else last)))
    if any(first > last for first, last in ranges) or any(bit > 62 for bit in bits):
        raise UsageError(f"The values {items!r} of the mask are not numbers, ranges such as 8-10 or bits such as bit3.")
    return what, MaskRule(ranges=tuple(ranges), bits=tuple(bits))


def _array_mask(wanted: Any, native: Grid) -> ArrayMask:
    values = np.asarray(wanted)
    if values.shape != native.shape or values.dtype.kind not in "buif":
        raise UsageError(
            f"A mask must be an array of the scene's {native.height} x {native.width} pixels, 0 where hidden, or the "
            f"name of a band or raster; got {values.dtype} of shape {values.shape}."
        )
    return ArrayMask(valid=~MaskRule(zeros=True).hides(values))


def _band_of_kind(bands: Sequence[Band], kinds: Sequence[str]) -> tuple[Band, str] | None:
    """The first band that is named as one of some kinds, such as `SCL` or `20220125_SCL_20m`."""
    for kind in kinds:
        for band in bands:
            if re.fullmatch(rf"(?:.*_)?{kind}(?:_\d+m)?", plain(band.description)):
                return band, kind
    return None


def _file_mask(source: str, rule: MaskRule | None, native: Grid, network: Network) -> FileMask:
    dataset = open_dataset(source, network=network)
    try:
        with reading(source, "the header of the mask", network):
            bands = bands_of(dataset)
            grid, _ = grid_of(dataset)
            found = _band_of_kind(bands, tuple(KINDS)) or _kind_of_file(source, bands)
        number, kind = (found[0].number, found[1]) if found else (1, None)
        if "complex" in dataset.dtypes[number - 1]:
            raise SourceError(f"The mask {source} holds complex numbers; name another raster.")
        to_mask = _placed(source, grid, native)
        chosen = rule or (KINDS[kind] if kind else MaskRule(zeros=True))
        return FileMask(source=source, dataset=dataset, network=network, number=number, rule=chosen, to_mask=to_mask)
    except BaseException:
        dataset.close()
        raise


def _kind_of_file(source: str, bands: Sequence[Band]) -> tuple[Band, str] | None:
    """The kind that a file's name tells, such as `LC08_..._QA_PIXEL.TIF`."""
    stem = Path(source.partition("?")[0]).stem.lower()
    kinds = [kind for kind in KINDS if re.search(rf"(?:^|[^a-z0-9]){kind}(?:$|[^a-z0-9])", stem)]
    return (bands[0], kinds[0]) if kinds else None


def _placed(source: str, grid: Grid, native: Grid) -> Affine:
    """From the scene's pixels to the mask's.

    Raises:
        UsageError: the mask is in another CRS, without one, or does not cover the scene.
    """
    where = f"The mask {source}"
    if grid.crs is None or native.crs is None:
        if grid.shape == native.shape and (grid.transform.is_identity or grid.transform == native.transform):
            return Affine.identity()
        if grid.crs is not native.crs or grid.transform.is_identity or native.transform.is_identity:
            raise UsageError(
                f"{where} and the scene cannot be laid on each other: one has no georeference, and they have "
                f"{grid.height} x {grid.width} and {native.height} x {native.width} pixels."
            )
    elif not grid.crs.equals(native.crs, ignore_axis_order=True):
        raise UsageError(
            f"{where} is in {grid.crs.name} and the scene in {native.crs.name}; warp it first, for example with "
            "gdalwarp -r near."
        )
    to_mask: Affine = ~grid.transform @ native.transform
    corners = [to_mask @ corner for corner in ((0, 0), (native.width, 0), (0, native.height), native.shape[::-1])]
    cols, rows = zip(*corners, strict=True)
    if min(cols) < -1 or min(rows) < -1 or max(cols) > grid.width + 1 or max(rows) > grid.height + 1:
        raise UsageError(
            f"{where} does not cover the scene: its bounds are {show_bounds(grid.bounds)}, those of the scene "
            f"{show_bounds(native.bounds)}."
        )
    return to_mask


def _around(down: Values, across: Values, height: int, width: int) -> Window:
    """The pixels of a mask that are asked for."""
    row, row_stop = (int(np.clip(np.floor(edge), 0, height - 1)) for edge in (down.min(), down.max()))
    col, col_stop = (int(np.clip(np.floor(edge), 0, width - 1)) for edge in (across.min(), across.max()))
    return Window(row=row, col=col, height=row_stop - row + 1, width=col_stop - col + 1)


def _places(values: Values, first: int, length: int, size: int) -> NDArray[np.intp]:
    """Indices into `length` pixels from `first` that were decimated to `size`."""
    pixel = np.clip(np.floor(values + 1e-6) - first, 0, length - 1)
    return np.asarray(np.floor((pixel + 0.5) * (size / length)), np.intp)


def _no_mask(what: str, bands: Sequence[Band]) -> UsageError | SourceError:
    """Why nothing of that name can be a mask."""
    if is_local_path(what) and (os.sep in what or Path(what).suffix.lower() in IMAGES):
        return missing(Path(what))
    names = [band.name for band in bands]
    if what.lower() == ANY or what.lower() in KINDS:
        named = " or ".join(kind.upper() for kind in (KINDS if what.lower() == ANY else (what.lower(),)))
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "none has a name"
        return UsageError(f"No band of the scene is named {named} (its bands: {listed}); name a band, or a raster.")
    close = did_you_mean(what, {*names, *KINDS, ANY})
    return UsageError(f"The mask {what!r} is neither a raster nor a band of the scene. {close}")
