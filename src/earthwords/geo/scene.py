"""An open raster, read in windows of stretched red, green and blue."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from earthwords.errors import SourceError, UsageError, printable, printable_notes
from earthwords.geo.bands import BandChoice, Bands
from earthwords.geo.grids.georeference import Bounds, window_of_bounds
from earthwords.geo.grids.working import working_grid
from earthwords.geo.resample import chunks, resample, source_window
from earthwords.geo.scene_notes import colour_notes, mask_notes
from earthwords.geo.sensors import formula
from earthwords.geo.sources.gdal_dataset import aside
from earthwords.geo.sources.network import Network, public
from earthwords.geo.sources.opening import Opened, Pixels, is_path, needs_network, open_source
from earthwords.geo.sources.pixels import PixelSource
from earthwords.geo.sources.remote import RemotePixels
from earthwords.geo.sources.stac import StacSource, single
from earthwords.geo.stretch import Stretch, make_stretch
from earthwords.geo.vectors.aoi import Aoi, AoiOnGrid, aoi_of
from earthwords.types import Grid, Raster, Window

MOST_FILES = 50
"""Files of a mosaic that are told one by one where it has changed."""

_T = TypeVar("_T")


class Scene:
    """An open source. A context manager; make one with `open_scene`.

    `grid` is `native` cut into pixels of another size: both cover exactly the same ground. Reads are
    serialised by a lock, so threads may share a scene.
    """

    source: str
    native: Grid
    """The grid of the whole source file."""
    grid: Grid
    """The working grid, of the ground sample distance asked for; `native` by default."""
    region: Window
    """The part asked for, in native pixels."""
    bands: tuple[str, ...]
    stretch: Stretch
    notes: tuple[str, ...]
    """Sentences for the user: what was assumed about bands, numbers, masks and georeference."""
    asked_gsd: float | None
    """The ground sample distance that was asked for, if any."""
    aoi: AoiOnGrid | None = None
    """What lies outside of it is looked at where it decides about the inside, and not computed."""
    taken: str | None = None
    """The day, `YYYY-MM-DD`, if somebody else than the file tells it, such as a STAC Item."""

    def __init__(
        self,
        pixels: Pixels,
        *,
        native: Grid,
        grid: Grid,
        region: Window,
        stretch: Stretch,
        notes: tuple[str, ...] = (),
        asked_gsd: float | None = None,
    ) -> None:
        self.source = pixels.source
        self.native = native
        self.grid = grid
        self.region = region
        self.bands = pixels.choice.names
        self.stretch = stretch
        self.notes = printable_notes(notes)
        self.asked_gsd = asked_gsd
        self._pixels = pixels
        self._again: Callable[[tuple[int, ...]], Scene] | None = None
        """Opens the same source by other bands."""
        self._numbers: tuple[int, ...] = ()
        """Of all bands that show something."""
        self._stale = False
        """Whether the last read failed."""
        self._lock = threading.Lock()

    @property
    def choice(self) -> BandChoice:
        """Which bands are read as red, green and blue, and what is known of them."""
        return self._pixels.choice

    def others(self) -> list[Scene]:
        """The source by those of its bands that are not read as red, green and blue, three at a time, on its grids.

        Each must be closed. None of an array whose bands have no numbers.
        """
        left = [number for number in self._numbers if number not in self.choice.numbers]
        if self._again is None or not left:
            return []
        found = []
        for first in range(0, len(left), 3):
            numbers = left[first : first + 3]
            twin = self._again((*numbers, *[numbers[-1]] * (3 - len(numbers))))
            twin.grid, twin.region, twin.aoi = self.grid, self.region, self.aoi
            found.append(twin)
        return found

    def at(self, gsd: float | None) -> Scene:
        """The same open source with a working grid of `gsd` metres (None: its own pixels).

        Both share the file, so closing one closes the other.

        Raises:
            UsageError: as `working_grid`.
        """
        twin = copy.copy(self)
        twin.grid = working_grid(self.native, gsd)
        return twin

    def within(self, most: int) -> Scene:
        """As `at`, with a working grid of at most `most` pixels a side; without need for a CRS."""
        twin = copy.copy(self)
        shrink = max(1.0, max(self.native.shape) / most)
        twin.grid = self.native.resized(*(max(1, round(side / shrink)) for side in self.native.shape))
        return twin

    def gridded(self, shape: tuple[int, int]) -> Scene:
        """As `at`, with a working grid of so many rows and columns."""
        if shape == self.grid.shape:
            return self
        twin = copy.copy(self)
        twin.grid = self.native.resized(*shape)
        return twin

    def sized(self, side: int) -> Scene:
        """As `within`, but enlarged too: the longer side of the working grid has `side` pixels."""
        twin = copy.copy(self)
        longer = max(self.native.shape)
        twin.grid = self.native.resized(*(max(1, round(length * side / longer)) for length in self.native.shape))
        return twin

    def read(self, window: Window) -> Raster:
        """A window of the working grid: float32 `(3, row, col)`, 0..1 after the stretch, invalid pixels 0.

        A pixel has the same value, to the bit, in whichever window it is read. Shrinking averages with a
        triangle filter over valid pixels only; memory stays bounded by the window, however fine the source.

        Raises:
            UsageError: the window leaves the grid.
            SourceError: the file is damaged there.
        """
        _check_inside(window, self.grid)
        if self.grid.shape == self.native.shape:
            return self.read_rgb(window)
        data = np.zeros((3, window.height, window.width), np.float32)
        valid = np.zeros((window.height, window.width), bool)
        for part in chunks(window, source=self.native.shape, target=self.grid.shape):
            rows, cols = part.slices_in(window)
            data[:, rows, cols], valid[rows, cols] = self._resampled(part)
        return Raster(data=data, valid=valid, grid=self.grid.window(window), bands=self.bands)

    def shrunk(self, window: Window, *, most: int) -> Raster:
        """A window of the native grid with at most `most` pixels a side, shrunk as `read` does where it is larger."""
        _check_inside(window, self.native)
        share = min(1.0, most / max(window.height, window.width))
        if share == 1:
            return self.read_rgb(window)
        twin = copy.copy(self)
        height, width = (max(1, round(length * share)) for length in self.native.shape)
        twin.grid = self.native.resized(height, width)
        tall, wide = height / self.native.height, width / self.native.width
        row, col = min(round(window.row * tall), height - 1), min(round(window.col * wide), width - 1)
        rows, cols = max(1, round(window.height * tall)), max(1, round(window.width * wide))
        return twin.read(Window(row=row, col=col, height=min(rows, height - row), width=min(cols, width - col)))

    def read_rgb(self, window: Window) -> Raster:
        """A window of the native grid, otherwise as `read`."""
        data, valid = self._stretched(window)
        return Raster(data=data, valid=valid, grid=self.native.window(window), bands=self.bands)

    def everywhere(self) -> Scene:
        """The same open source without its area of interest."""
        twin = copy.copy(self)
        twin.aoi = None
        return twin

    def read_wanted(self, window: Window) -> Raster:
        """As `read_rgb`, and nothing of what lies outside of the area of interest: what outputs show."""
        if self.aoi is None:
            return self.read_rgb(window)
        _check_inside(window, self.native)
        inside = self.aoi.inside(window)
        if not inside.any():
            data = np.zeros((3, *inside.shape), np.float32)
            return Raster(data=data, valid=inside, grid=self.native.window(window), bands=self.bands)
        raster = self.read_rgb(window)
        return replace(raster, data=np.where(inside, raster.data, np.float32(0)), valid=raster.valid & inside)

    def read_native(self, window: Window) -> Raster:
        """A window of the native grid in the sensor's values: `(3, row, col)` in the file's own data type.

        Scale and offset, where the file gives any, are applied and make it float32; a colour table is
        applied too. Invalid pixels keep what the file holds.
        """
        _check_inside(window, self.native)
        with self._lock:
            if self._pixels.closed:
                raise SourceError(f"{self.source} was closed; open it again with open_scene.")
            if self._stale:
                _apart(self._pixels, self._pixels.renew)
            self._stale = True
            data, valid = _apart(self._pixels, lambda: self._pixels.read(window))
            self._stale = False
        return Raster(data=data, valid=valid, grid=self.native.window(window), bands=self.bands)

    @property
    def is_grey(self) -> bool:
        """Whether one band stands for red, green and blue."""
        return self._pixels.choice.repeated

    @property
    def is_false_colour(self) -> bool:
        """Whether a band stands for red, green or blue that is another, as far as names tell."""
        choice = self._pixels.choice
        return not choice.repeated and choice.true_colour is False

    def tags(self) -> dict[str, str]:
        """What outputs record about how the scene was read."""
        numbers = ",".join(str(number) for number in self._pixels.choice.numbers)
        tags = {
            "EARTHWORDS_SOURCE": public(self.source),
            "EARTHWORDS_BANDS": f"{numbers} ({', '.join(self.bands)})",
            "EARTHWORDS_STRETCH": self.stretch.describe(self.bands),
        }
        pixels, gsd = self._pixels, self.grid.gsd_m
        if pixels.choice.sensor is not None:
            scaling = getattr(pixels, "scaling", None)
            how = "" if scaling is None else f": {formula(*scaling)}"
            tags["EARTHWORDS_SENSOR"] = pixels.choice.sensor + how
        if pixels.mask is not None:
            tags["EARTHWORDS_MASK"] = str(pixels.mask)
        if self.aoi is not None:
            tags["EARTHWORDS_AOI"] = self.aoi.tag
        tags = {key: printable(value) for key, value in tags.items()}
        return tags if gsd is None else {**tags, "EARTHWORDS_GSD": f"{gsd:.6g} m"}

    def identity(self) -> dict[str, str]:
        """What tells whether the source is still the same: its files with size and time, else its address."""
        shape = f"{self.native.height} x {self.native.width} x {len(self.bands)}"
        files = _apart(self._pixels, self._pixels.files)
        if len(files) > MOST_FILES:
            listed = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
            files = {"files of the source": f"{len(files)}, hash {listed}"}
        return {"source": public(self.source), "size of the source": shape, **files}

    def date(self) -> str | None:
        """The day it was taken, `YYYY-MM-DD`, as far as the metadata tell."""
        if self.taken is not None:
            return self.taken
        with self._lock:
            return _apart(self._pixels, self._pixels.date)

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        with self._lock:
            self._pixels.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.grid.shape
        return f"Scene({self.source!r}, {height} x {width} pixels, bands {', '.join(self.bands)})"

    def _resampled(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        shapes = {"source": self.native.shape, "target": self.grid.shape}
        data, valid = self._stretched(source_window(window, **shapes))
        return resample(data, valid, window, **shapes)

    def _stretched(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        raster = self.read_native(window)
        return np.where(raster.valid, self.stretch.apply(raster.data), np.float32(0)), raster.valid


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """How to open a scene, here or in another process; the fields are the arguments of `open_scene`."""

    source: str
    bands: tuple[int | str, ...] | None = None
    gsd: float | None = None
    bounds: Bounds | None = None
    nodata: float | None = None
    stretch: str = "auto"
    mask: str | None = None
    aoi: Aoi | None = None
    offline: bool = False
    allow_remote_parts: bool = False
    days: tuple[tuple[str, str], ...] = ()
    """Sources and the days that they were taken, of which STAC Items tell."""

    def open(self) -> Scene:
        """The scene; see `open_scene`."""
        scene = open_scene(**{name: value for name, value in vars(self).items() if name != "days"})
        scene.taken = dict(self.days).get(self.source, scene.taken)
        return scene

    def settings(self) -> dict[str, str]:
        """How it is read, whichever the source: option -> value as text."""
        ways = {name: value for name, value in vars(self).items() if name not in _NOT_OF_THE_RESULT}
        return {name: str(value) for name, value in ways.items() if value is not None}


_NOT_OF_THE_RESULT = ("source", "offline", "allow_remote_parts", "days")


def open_scene(
    source: Any,
    *,
    bands: Bands | None = None,
    gsd: float | None = None,
    bounds: Bounds | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    mask: str | Path | ArrayLike | None = None,
    transform: Affine | Sequence[float] | None = None,
    crs: Any = None,
    aoi: Any = None,
    asset: str | None = None,
    offline: bool = False,
    allow_remote_parts: bool = False,
) -> Scene:
    """Open any raster GDAL can read: a path, a URL (http, https, s3, ...) or a `/vsi...` path; or what is open already.

    Args:
        source: the raster. Or an open rasterio dataset (which stays open), a rasterio `MemoryFile`, an xarray DataArray
            or Dataset (read in windows, so one that lies on disk or in dask stays there), or an array: see
            `pixels_of_array` for its shapes. Or a STAC Item: a file, a URL or an object of pystac.
        bands: three numbers (1-based) or names (a band's description or colour), such as `[4, 3, 2]` or `"4,3,2"`; one
            may be repeated. Or a sensor of `SENSORS`, such as `"sentinel-2"`: by the names of the bands, else by their
            order, with that sensor's scale and fill where the source gives none. Default: red, green and blue as far
            as the file tells, else the first three; a single band is repeated.
        gsd: ground sample distance in metres of the working grid. Default: the source's own pixels. Of an array that
            tells neither CRS nor transform: the size of its pixels.
        bounds: `(west, south, east, north)` in the scene's CRS; sets `Scene.region`, nothing else.
        nodata: value meaning "nothing here", instead of the file's own.
        stretch: `"auto"`, `"percentile"`, `"none"`, `"LOW,HIGH"` or what radar's numbers are (`"amplitude"`,
            `"power"`, `"db"`, `"db:-25,0"`), see `make_stretch`. Found once, from the
            whole scene, whatever the bounds.
        mask: what else hides pixels, such as clouds: a quality band (`"scl"`, `"qa"`), a raster on the same ground, or
            either with the values that hide, such as `"clouds.tif:3,8-10"`; see `open_mask`. Or an array `(row, col)`
            of the scene's size, 0 or False where hidden.
        transform: of an array: from `(col, row)` of pixel corners to `(x, y)`, an `Affine` or its six numbers.
        crs: of an array with a transform: what pyproj or rasterio makes a CRS of.
        aoi: polygons within which alone the scene is computed: a file of any CRS, a GeoDataFrame, or a shapely polygon
            in the scene's CRS; sets `Scene.aoi` and `Scene.region`, that within `bounds` where both are given.
        asset: of a STAC Item; default: its one raster with data, else `visual`.
        offline: open no connection, and refuse what needs one.
        allow_remote_parts: let local files that point to servers (a VRT, a description of a service) read from there.

    Raises:
        SourceError: missing, not a raster, damaged, without bands or without any valid pixel, or made of parts that
            may not be read.
        UsageError: an argument does not fit the raster.
    """
    network = Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)
    source = single(source, asset=asset, network=network)
    how: dict[str, Any] = {"bands": bands, "nodata": nodata, "gsd": gsd, "mask": mask, "network": network}
    how |= {"transform": transform, "crs": crs}
    if needs_network(source, mask, network) and is_path(source):
        pixels = RemotePixels(source=str(source), how=how)
        facts = pixels.facts
        opened = Opened(pixels=pixels, bands=facts.bands, native=facts.native, notes=facts.notes)
    elif is_path(source):
        opened = aside(lambda: open_source(source, **how))
    else:
        opened = open_source(source, **how)
    scene = _scene(opened, stretch=stretch, gsd=gsd, bounds=bounds, aoi=None if aoi is None else aoi_of(aoi))
    scene.taken = source.days.get(source) if isinstance(source, StacSource) else None
    if stretch.count(",") != 1:  # numbers given for red, green and blue mean nothing for other bands
        again: dict[str, Any] = {"nodata": nodata, "stretch": stretch, "mask": mask, "transform": transform, "crs": crs}
        again |= {"offline": offline, "allow_remote_parts": allow_remote_parts}
        scene._again = lambda numbers: open_scene(source, bands=numbers, **again)
        scene._numbers = tuple(band.number for band in opened.bands if band.role != "alpha")
    return scene


def _scene(opened: Opened, *, stretch: str, gsd: float | None, bounds: Bounds | None, aoi: Aoi | None) -> Scene:
    pixels, native = opened.pixels, opened.native
    try:
        region = _region(native, bounds)
        area = None if aoi is None else aoi.on(native, region, pixels.source)
        found = _apart(pixels, lambda: _stretch(pixels, stretch))
        scene = Scene(
            pixels,
            native=native,
            grid=native if opened.sized else working_grid(native, gsd),
            region=region if area is None else area.window,
            stretch=found,
            notes=(*opened.notes, *mask_notes(pixels, native), *colour_notes(pixels), *([area.note] if area else [])),
            asked_gsd=None if opened.sized else gsd,
        )
        scene.aoi = area
        return scene
    except BaseException:
        pixels.close()
        raise


def _region(native: Grid, bounds: Bounds | None) -> Window:
    if bounds is None:
        return Window(row=0, col=0, height=native.height, width=native.width)
    return window_of_bounds(native, bounds)


def _apart(pixels: Pixels, call: Callable[[], _T]) -> _T:
    """Call where GDAL's settings for a file are nobody else's; arrays and open datasets are their owner's matter."""
    own = isinstance(pixels, PixelSource) and pixels.network is not None
    return aside(call) if own else call()


def _stretch(pixels: Pixels, how: str) -> Stretch:
    """The scene's stretch; takes the sample even if not needed where the scene might be empty."""
    sample = pixels.sample() if pixels.may_hide_pixels else None
    return make_stretch(how, dtype=pixels.dtype, sample=lambda: pixels.sample() if sample is None else sample)


def _check_inside(window: Window, grid: Grid) -> None:
    least, most = min(window.row, window.col), (window.row_stop > grid.height or window.col_stop > grid.width)
    if least < 0 or most or min(window.height, window.width) < 1:
        raise UsageError(f"{window} leaves the grid of {grid.height} x {grid.width} pixels.")
