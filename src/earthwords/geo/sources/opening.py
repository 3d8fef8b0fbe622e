"""Whatever can be handed in as a scene: files and addresses, open rasterio datasets, xarray objects, arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.io import BufferedDatasetWriter, DatasetReader, DatasetWriter, MemoryFile
from rasterio.vrt import WarpedVRT

from earthwords.errors import SourceError, UsageError
from earthwords.files.output_tags import OWN, marks_output
from earthwords.geo.bands import (
    Band,
    BandChoice,
    Bands,
    bands_of,
    choose_bands,
    descriptions_of,
    named_sensor,
    shows_spectrum,
    without_roles,
)
from earthwords.geo.grids.georeference import grid_of
from earthwords.geo.masks import open_mask
from earthwords.geo.sensors import formula, sensor
from earthwords.geo.sources.arrays import ArrayPixels, checked_grid, grid_of_array, pixels_of_array
from earthwords.geo.sources.gdal_dataset import open_dataset, reading
from earthwords.geo.sources.labelled import is_labelled, labelled
from earthwords.geo.sources.labelled_pixels import LabelledPixels
from earthwords.geo.sources.network import Network
from earthwords.geo.sources.pixels import (
    UNSCALED,
    PixelSource,
    check_dtypes,
    check_nodata,
    check_occurs,
    dtype_of,
    scaling_of,
)
from earthwords.geo.sources.remote import RemotePixels
from earthwords.types import Grid

DATASETS = (DatasetReader, DatasetWriter, BufferedDatasetWriter, WarpedVRT)
MAX_SIDE = 50_000_000
"""Most pixels a side of a source: the earth at 0.8 m."""
_ALPHA_SIDE = 256

Pixels = PixelSource | LabelledPixels | ArrayPixels | RemotePixels


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A source that can be read."""

    pixels: Pixels
    bands: tuple[Band, ...]
    """All that there are; of an array without names none."""
    native: Grid
    notes: tuple[str, ...]
    sized: bool = False
    """Whether the ground sample distance that was asked for said how large the pixels are."""


def is_path(source: Any) -> bool:
    """Whether a source is named, by path or address, rather than handed in."""
    return isinstance(source, (str, os.PathLike))


def open_source(
    source: Any,
    *,
    bands: Bands | None = None,
    nodata: float | None = None,
    transform: Affine | Sequence[float] | None = None,
    crs: Any = None,
    gsd: float | None = None,
    mask: Any = None,
    network: Network = Network.NAMED,
) -> Opened:
    """Open a source, with its mask; the arguments are those of `open_scene`.

    Args:
        network: what may be reached.

    Raises:
        SourceError, UsageError: as `open_scene`.
    """
    opened = _open(source, bands, nodata, gsd, {"transform": transform, "crs": crs}, network)
    if mask is None:
        return opened
    pixels = opened.pixels
    try:
        found = open_mask(mask, bands=opened.bands, native=opened.native, network=network, source=pixels.source)
    except BaseException:
        pixels.close()
        raise
    if isinstance(pixels, ArrayPixels):
        pixels.hide(found)
    elif not isinstance(pixels, RemotePixels):
        pixels.mask = found
    return opened


def needs_network(source: Any, mask: Any, network: Network) -> bool:
    """Whether a server may have to be asked for a scene.

    Raises:
        UsageError: one would have to, and may not.
    """
    reached = [is_path(name) and network.reaches(str(name)) for name in (source, mask)]
    return any(reached)


def _open(
    source: Any,
    bands: Bands | None,
    nodata: float | None,
    gsd: float | None,
    where: dict[str, Any],
    network: Network,
) -> Opened:
    """A source without its mask."""
    transform, crs = where["transform"], where["crs"]
    if is_labelled(source):
        return _open_labelled(source, bands, nodata, gsd, where)
    if is_path(source) or isinstance(source, (*DATASETS, MemoryFile)):
        if transform is not None or crs is not None:
            raise UsageError("A transform and a CRS are given with arrays only; a raster has its own.")
        return _open_raster(source, bands, nodata, network)
    if bands is not None:
        raise UsageError("The bands of an array cannot be chosen: bands are for files and named dimensions; index it.")
    image = source if isinstance(source, np.ma.MaskedArray) else np.asarray(source)
    pixels = pixels_of_array(image, nodata=nodata)
    native, notes = checked_grid(grid_of_array(pixels.valid.shape, gsd=gsd, **where))
    sized = gsd is not None and transform is None
    return Opened(pixels=pixels, bands=(), native=native, notes=(*notes, *pixels.choice.notes), sized=sized)


def _open_raster(source: Any, bands: Bands | None, nodata: float | None, network: Network) -> Opened:
    """A file, or a dataset that is open already and stays so."""
    handed = isinstance(source, DATASETS)
    if isinstance(source, MemoryFile):
        dataset = source.open()
    else:
        dataset = source if handed else open_dataset(str(source), network=network)
    name, reach = str(source) if is_path(source) else dataset.name, None if handed else network
    try:
        if handed:
            _check_handed(name, dataset)
        with reading(name, "the header", reach):
            all_bands = bands_of(dataset)
            alpha_notes = _no_alpha(dataset, all_bands, sensor_named=named_sensor(bands) is not None)
            all_bands = without_roles(all_bands) if alpha_notes else all_bands
            choice = choose_bands(all_bands, bands)
            check_dtypes(name, dataset, choice)
            _check_size(name, dataset.height, dataset.width)
            native, notes = grid_of(dataset)
            check_nodata(dataset, choice, nodata)
            notes = (*notes, f"{name} {OWN}.") if marks_output(dataset.tags()) else notes
            reads = _Reads(scaling=None, nodata=nodata)
            if choice.sensor is not None:
                reads = _by_sensor(
                    choice,
                    dtype=dtype_of(dataset, choice),
                    known=_known(name, dataset),
                    scaled=scaling_of(dataset, choice) != [UNSCALED] * 3,
                    filled=_has_nodata(dataset, choice, opaque=bool(alpha_notes)),
                    nodata=nodata,
                )
        pixels = PixelSource(
            source=name,
            dataset=dataset,
            choice=choice,
            nodata=reads.nodata,
            scaling=reads.scaling,
            opaque=bool(alpha_notes),
            network=reach,
        )
        all_notes = (*notes, *alpha_notes, *choice.notes, *reads.notes)
        return Opened(pixels=pixels, bands=all_bands, native=native, notes=all_notes)
    except BaseException:
        if not handed:
            dataset.close()
        raise


def _open_labelled(source: Any, bands: Bands | None, nodata: float | None, gsd: float | None, where: Any) -> Opened:
    """An xarray object, or one like it; what it does not know of its place may be given."""
    array = labelled(source)
    _check_size(array.source, *array.shape)
    choice = choose_bands(array.bands, bands)
    dtypes = [array.dtypes[number - 1] for number in choice.numbers]
    for dtype in dtypes:
        check_occurs(nodata, dtype)
    known = {name: value for name, value in (("transform", array.transform), ("crs", array.crs)) if value is not None}
    for name, value in where.items():
        if value is not None and name in known:
            raise UsageError(f"The array has its own {'CRS' if name == 'crs' else name}; leave {name}= out.")
    placed = {**where, **known}
    sized = gsd is not None and placed["transform"] is None
    lost: tuple[str, ...] = ()
    if placed["transform"] is None and "crs" in known:
        placed["crs"] = None
        lost = () if sized else ("A CRS but no coordinates: working in pixels, areas in pixels.",)
    native, notes = checked_grid(grid_of_array(array.shape, gsd=gsd, **placed))
    reads = _Reads(scaling=None, nodata=nodata)
    if choice.sensor is not None:
        reads = _by_sensor(
            choice,
            dtype=np.result_type(*dtypes),
            known="\n".join((array.source, *(band.description for band in array.bands))),
            scaled=any(array.scaling[number - 1] != UNSCALED for number in choice.numbers),
            filled=any(array.nodata[number - 1] is not None for number in choice.numbers),
            nodata=nodata,
        )
    pixels = LabelledPixels(array=array, choice=choice, nodata=reads.nodata, scaling=reads.scaling)
    all_notes = (*array.notes, *lost, *notes, *choice.notes, *reads.notes)
    return Opened(pixels=pixels, bands=array.bands, native=native, notes=all_notes, sized=sized)


@dataclass(frozen=True, kw_only=True)
class _Reads:
    """What a sensor's numbers mean."""

    scaling: tuple[float, float] | None
    nodata: float | None
    notes: tuple[str, ...] = ()


def _by_sensor(
    choice: BandChoice, *, dtype: np.dtype[Any], known: str, scaled: bool, filled: bool, nodata: float | None
) -> _Reads:
    """Scale, offset and fill of the sensor that was named, where the source gives none of its own."""
    row = sensor(str(choice.sensor))
    level = row.level(dtype.name, known)
    reads = _Reads(scaling=None, nodata=nodata)
    if scaled:
        reads = replace(reads, notes=("Scale and offset are the file's own.",))
    elif level is not None:
        why = level.name if level.pattern else f"{level.name}, which is assumed"
        note = f"Numbers become reflectance as {formula(level.scale, level.offset)} ({row.name}, {why})."
        reads = replace(reads, scaling=(level.scale, level.offset), notes=(note,))
    elif dtype != np.uint8:
        what = "Floating-point numbers" if dtype.kind == "f" else f"Numbers of this kind ({dtype})"
        reads = replace(reads, notes=(f"{what} have no scale known for {row.name} and are taken as they are.",))
    fill = row.fill if level is None else level.fill
    if nodata is not None or filled or fill is None or dtype.kind == "f":
        return reads
    note = f"{fill:g} in all three bands means no observation ({row.name}), as the file names no nodata value."
    return replace(reads, nodata=fill, notes=(*reads.notes, note))


def _known(source: str, dataset: DatasetReader) -> str:
    """What may tell the product: path, tags and names of bands, one a line."""
    tags = {**dataset.tags(), **dataset.tags(ns="IMAGERY")}
    path = os.path.abspath(source) if os.path.exists(source) else source
    return "\n".join(
        (path, *(f"{key}={value}" for key, value in tags.items()), *filter(None, descriptions_of(dataset)))
    )


def _no_alpha(dataset: DatasetReader, bands: Sequence[Band], *, sensor_named: bool) -> tuple[str, ...]:
    """A sentence where a band that GDAL calls alpha is none: GDAL calls the fourth of four bands of bytes so.

    That is so where the band is named as a part of the spectrum, and where a sensor was asked for and the band holds
    other values than nothing and everything.
    """
    alpha = next((band for band in bands if band.role == "alpha"), None)
    if alpha is None:
        return ()
    if shows_spectrum(alpha):
        return (f"Band {alpha.number} is named {alpha.description!r}: it is not taken for transparency.",)
    if not sensor_named:
        return ()
    shape = tuple(min(side, _ALPHA_SIDE) for side in dataset.shape)
    values = dataset.read(alpha.number, out_shape=shape)
    if np.isin(values, (0, values.max())).all():
        return ()
    return (f"Band {alpha.number} holds many values: it is not taken for transparency.",)


def _has_nodata(dataset: DatasetReader, choice: BandChoice, *, opaque: bool) -> bool:
    """Whether the file tells in any way where there is nothing."""
    flags = {flag for number in choice.numbers for flag in dataset.mask_flag_enums[number - 1]}
    masking = flags - {MaskFlags.all_valid} - ({MaskFlags.alpha, MaskFlags.per_dataset} if opaque else set())
    return bool(masking) or any(dataset.nodatavals[number - 1] is not None for number in choice.numbers)


def _check_handed(name: str, dataset: Any) -> None:
    if dataset.closed:
        raise SourceError(f"The dataset {name} is closed; open it again.")
    if dataset.mode.startswith("w"):
        raise SourceError(f"The dataset {name} is being written; close it and open it for reading.")
    if not dataset.count:
        raise SourceError(f"{name} has no bands, so there is nothing to read.")


def _check_size(source: str, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE:
        raise SourceError(
            f"{source} claims to be {height:,} x {width:,} pixels, but no raster has more than {MAX_SIDE:,} a side; "
            "the file seems damaged."
        )
