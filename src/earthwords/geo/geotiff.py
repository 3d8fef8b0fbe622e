"""Rows in, cloud optimised GeoTIFF out, in bounded memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from earthwords.errors import EarthwordsError, OutputError, UsageError, unknown
from earthwords.files.atomic import StagedWriter, shown, staging, without_hidden
from earthwords.files.paths import utf8_name
from earthwords.files.plaintext import utf8
from earthwords.files.reading import read_bytes
from earthwords.geo.grids.crs import add_epoch, raster_crs
from earthwords.geo.sources.gdal_dataset import one_line
from earthwords.types import Colour, Grid

_NUMBER: tuple[str, ...] = ()
"""Stands for any whole number from 0."""
_COMPRESSIONS = ("NONE", "LZW", "DEFLATE", "ZSTD", "LERC", "LERC_DEFLATE", "LERC_ZSTD", "LZMA")
_RESAMPLINGS = ("NEAREST", "AVERAGE", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS", "MODE", "RMS")
_PREDICTORS = ("YES", "NO", "STANDARD", "FLOATING_POINT", "1", "2", "3")

CREATION_OPTIONS: dict[str, tuple[str, ...]] = {
    "COMPRESS": _COMPRESSIONS,
    "LEVEL": _NUMBER,
    "PREDICTOR": _PREDICTORS,
    "BLOCKSIZE": _NUMBER,
    "NUM_THREADS": _NUMBER,
    "BIGTIFF": ("YES", "NO", "IF_NEEDED", "IF_SAFER"),
    "GEOTIFF_VERSION": ("AUTO", "1.0", "1.1"),
    "RESAMPLING": _RESAMPLINGS,
    "OVERVIEW_RESAMPLING": _RESAMPLINGS,
    "OVERVIEWS": ("AUTO", "NONE"),
    "OVERVIEW_COUNT": _NUMBER,
    "OVERVIEW_COMPRESS": ("AUTO", *_COMPRESSIONS),
    "OVERVIEW_PREDICTOR": _PREDICTORS,
    "SPARSE_OK": ("YES", "NO", "TRUE", "FALSE"),
    "STATISTICS": ("AUTO", "YES", "NO"),
}
"""Options of GDAL's COG driver and their values (https://gdal.org/en/stable/drivers/raster/cog.html).
GDAL ignores unknown ones in silence, so they are checked here. Those that reproject are left out: an
output lies exactly on its grid; and those that change values, such as JPEG, WEBP and NBITS."""

_BUFFER_BYTES = 2**26
_TILE = 512


class RasterWriter(StagedWriter):
    """Writes full-width rows, top to bottom; a context manager.

    Until the block ends everything lies in a hidden folder beside `path`; then the file appears at once,
    as a COG with overviews, and `path + ".aux.xml"` with the category names if there are any. After an
    exception, `KeyboardInterrupt` included, nothing is left and an older file stays as it was.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        grid: Grid,
        dtype: DTypeLike,
        count: int = 1,
        nodata: float | None = None,
        colours: Sequence[Colour] | None = None,
        categories: Sequence[str] | None = None,
        band_names: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        creation_options: Mapping[str, str] | None = None,
        overwrite: bool = False,
        resampling: str = "nearest",
    ) -> None:
        """
        Args:
            path: the GeoTIFF.
            grid: CRS, transform and shape of the output.
            dtype: of the pixels.
            count: bands.
            nodata: value of pixels without an observation.
            colours: RGB of value 0, 1, ...: a colour table (uint8 and uint16, one band).
            categories: names of value 0, 1, ...
            band_names: descriptions, one per band.
            tags: metadata of the file; `CLASS_0`, ... are added for categories.
            creation_options: for GDAL's COG driver, over the defaults: `--co KEY=VAL`.
            overwrite: replace an existing file.
            resampling: of the overviews: `"nearest"`, `"mode"` or `"average"`.

        Raises:
            UsageError: the file exists, or an option is unknown or does not fit.
        """
        self.path = Path(path)
        self.grid = grid
        self.count = count
        self.dtype = np.dtype(dtype)
        self.nodata = nodata
        self._colours = tuple(colours or ())
        self._categories = tuple(categories or ())
        self._band_names = tuple(map(utf8, band_names))
        all_tags = {**(tags or {}), **{f"CLASS_{i}": name for i, name in enumerate(self._categories)}}
        self._tags = {utf8(key): utf8(str(value)) for key, value in all_tags.items()}
        self._overwrite = overwrite
        self._options = cog_options(self.dtype, resampling=resampling, given=creation_options or {})
        self._check()
        self._block_rows = _rows_per_block(grid.width * count * self.dtype.itemsize)
        self._pending: list[NDArray[Any]] = []
        self._received = self._written = 0
        self._stack = ExitStack()

    def __enter__(self) -> RasterWriter:
        with ExitStack() as stack:
            folder = stack.enter_context(staging(self.path, overwrite=self._overwrite))
            self._scratch, self._result = folder / f"scratch-{self.path.name}", folder / self.path.name
            with _gdal_writes(self.path):
                self._dataset = self._open()
                stack.callback(_close_quietly, self._dataset)
            self._stack = stack.pop_all()
        return self

    def write(self, row: int, data: ArrayLike) -> None:
        """The next rows: `(row, col)` or `(band, row, col)`, full width, the first of them being `row`.

        Raises:
            UsageError: rows out of order, a wrong shape, or values that `dtype` cannot hold.
            OutputError: the disk is full.
        """
        block = self._as_block(np.asarray(data))
        stop = row + block.shape[1]
        if row != self._received or stop > self.grid.height:
            raise UsageError(
                f"Rows of {shown(self.path)} must come in order: expected row {self._received} of "
                f"{self.grid.height}, got rows {row}..{stop}."
            )
        self._received = stop
        self._pending.append(block)
        self._flush()

    def _flush(self) -> None:
        """Hand whole rows of tiles to GDAL; keep the rest, unless it ends the raster."""
        ready = self._received - self._written
        if self._received < self.grid.height:
            ready -= ready % self._block_rows
        if not ready:
            return
        rows = np.concatenate(self._pending, axis=1)
        window = Window(0, self._written, self.grid.width, ready)
        with _gdal_writes(self.path):
            self._dataset.write(rows[:, :ready], window=window)
        self._written += ready
        self._pending = [rows[:, ready:].copy()]

    def _finish(self) -> None:
        if self._written != self.grid.height:
            raise OutputError(f"Only {self._received} of {self.grid.height} rows of {shown(self.path)} were written.")
        with _gdal_writes(self.path):
            self._dataset.close()
            _check_complete(self._scratch, self.path)
            if self._categories:
                _write_categories(Path(f"{self._scratch}.aux.xml"), self._categories)
            rasterio.shutil.copy(utf8_name(self._with_epoch()), utf8_name(self._result), driver="COG", **self._options)
            sparse = self._options.get("SPARSE_OK", "NO").upper() in ("YES", "TRUE")
            _check_complete(self._result, self.path, sparse=sparse)

    def _open(self) -> DatasetWriter:
        identity = self.grid.transform.is_identity
        dataset = rasterio.open(
            utf8_name(self._scratch),
            "w",
            driver="GTiff",
            height=self.grid.height,
            width=self.grid.width,
            count=self.count,
            dtype=self.dtype.name,
            nodata=self.nodata,
            crs=raster_crs(self.grid),
            transform=None if identity else self.grid.transform,
            tiled=True,
            blockxsize=_TILE,
            blockysize=self._block_rows,
            compress="DEFLATE",
            zlevel=1,
            bigtiff="IF_SAFER",
        )
        if self._colours:
            dataset.write_colormap(1, {i: (*colour, 255) for i, colour in enumerate(self._colours)})
        dataset.update_tags(**self._tags)
        for i, name in enumerate(self._band_names):
            dataset.set_band_description(i + 1, name)
        return dataset

    def _with_epoch(self) -> Path:
        """What the result is copied from: the pixels, or a VRT of them that tells the epoch of the coordinates."""
        source = self.grid.source_crs
        if source is None or source.epoch is None:
            return self._scratch
        dated = self._scratch.with_suffix(".vrt")
        rasterio.shutil.copy(utf8_name(self._scratch), utf8_name(dated), driver="VRT")
        dated.write_bytes(add_epoch(read_bytes(dated), source.epoch))
        return dated

    def _as_block(self, data: NDArray[Any]) -> NDArray[Any]:
        """A copy as `(band, row, col)` of the file's type."""
        block = data[None] if data.ndim == 2 else data
        if block.ndim != 3 or block.shape[0] != self.count or block.shape[2] != self.grid.width:
            raise UsageError(
                f"Rows of {shown(self.path)} must be ({self.count}, rows, {self.grid.width}), got {data.shape}."
            )
        _check_castable(block, self.dtype)
        return block.astype(self.dtype)

    def _check(self) -> None:
        if self._colours and (self.count != 1 or self.dtype not in (np.uint8, np.uint16)):
            raise UsageError(f"A colour table needs one band of uint8 or uint16, got {self.count} of {self.dtype}.")
        if self._band_names and len(self._band_names) != self.count:
            raise UsageError(f"{self.count} bands need as many names, got {len(self._band_names)}.")


def cog_options(
    dtype: DTypeLike, *, resampling: str = "nearest", given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """GDAL's options for a COG: our defaults, and over them those `given` (`--co KEY=VAL`).

    Raises:
        UsageError: a key or a value that GDAL would ignore in silence, or refuse only at the end of the work.
    """
    chosen = {key.upper(): str(value) for key, value in (given or {}).items()}
    for key, value in chosen.items():
        _check_option(key, value, np.dtype(dtype))
    if resampling.upper() not in _RESAMPLINGS:
        raise unknown("resampling", resampling, [name.lower() for name in _RESAMPLINGS])
    options = {
        "COMPRESS": "DEFLATE",
        "BLOCKSIZE": str(_TILE),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
        "OVERVIEW_RESAMPLING": resampling.upper(),
        **chosen,
    }
    if np.dtype(dtype).kind == "f" and options["COMPRESS"].upper() in ("DEFLATE", "LZW", "ZSTD"):
        options.setdefault("PREDICTOR", "FLOATING_POINT")
    return options


def _check_option(key: str, value: str, dtype: np.dtype[Any]) -> None:
    if key not in CREATION_OPTIONS:
        raise unknown("creation option", key, CREATION_OPTIONS)
    known = CREATION_OPTIONS[key]
    if known and value.upper() not in known:
        raise unknown(f"value for {key}", value, known)
    if not known and not value.isdecimal() and (key, value.upper()) != ("NUM_THREADS", "ALL_CPUS"):
        raise UsageError(f"The creation option {key} is a whole number, not {value!r}.")
    if key == "BLOCKSIZE" and not (128 <= int(value) <= 4096 and int(value) % 16 == 0):
        raise UsageError(f"BLOCKSIZE is a multiple of 16 between 128 and 4096, not {value}.")
    if key.endswith("PREDICTOR") and value.upper() in ("3", "FLOATING_POINT") and dtype.kind != "f":
        raise UsageError(f"{key}={value} is for floating-point numbers, and {dtype} is none; use YES.")


@contextmanager
def _gdal_writes(path: Path) -> Iterator[None]:
    """Turn any failure of GDAL inside the block into an `OutputError`."""
    try:
        with rasterio.Env(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except EarthwordsError:
        raise
    except Exception as error:  # rasterio raises GDAL's own errors here, which have no public base class
        raise OutputError(
            f"Cannot write {shown(path)} ({without_hidden(one_line(error.__cause__ or error))}); is the disk full?"
        ) from error


def _close_quietly(dataset: DatasetWriter) -> None:
    """Close what is to be deleted anyway; a full disk makes even that fail, and GDAL would print it."""
    with rasterio.Env(), suppress(Exception):
        dataset.close()


def _check_complete(file: Path, path: Path, *, sparse: bool = False) -> None:
    """Raise `OutputError` if a tile of `file` is missing: GDAL does not report every failed write.

    In a sparse file empty tiles are left out on purpose.
    """
    size = file.stat().st_size
    with rasterio.open(utf8_name(file)) as dataset:
        together = dataset.profile.get("interleave") == "pixel"  # a tile holds all bands
        for (row, col), _ in dataset.block_windows(1):
            for band in range(1, 2 if together else dataset.count + 1):
                offset, length = (
                    int(dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band) or 0)
                    for what in ("OFFSET", "SIZE")
                )
                if offset + length > size or not (length or sparse):
                    raise OutputError(f"Cannot write {shown(path)} (it came out truncated); is the disk full?")


def _write_categories(path: Path, names: Sequence[str]) -> None:
    """Add category names to a PAM file; GDAL carries them on to the COG."""
    root = ElementTree.parse(path).getroot() if path.exists() else ElementTree.Element("PAMDataset")
    band = root.find("PAMRasterBand[@band='1']")
    if band is None:
        band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    listed = ElementTree.SubElement(band, "CategoryNames")
    for name in names:
        ElementTree.SubElement(listed, "Category").text = name
    ElementTree.ElementTree(root).write(path, encoding="utf-8")


def _rows_per_block(row_bytes: int) -> int:
    """Rows of a tile such that a full-width row of tiles fits the buffer; a multiple of 16."""
    return next((rows for rows in (512, 256, 128, 64, 32) if rows * row_bytes <= _BUFFER_BYTES), 16)


def _check_castable(block: NDArray[Any], dtype: np.dtype[Any]) -> None:
    if dtype.kind == "f" or np.can_cast(block.dtype, dtype) or not block.size:
        return
    limits = np.iinfo(dtype)
    if block.dtype.kind not in "iu" or block.min() < limits.min or block.max() > limits.max:
        raise UsageError(
            f"Values of {block.dtype} between {block.min()} and {block.max()} do not fit into {dtype} pixels."
        )
