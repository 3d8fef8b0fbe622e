"""Opening rasters: the GDAL settings, and every way in which a source can refuse."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from earthwords.errors import SourceError, brief, printable
from earthwords.paths import trouble, utf8_name

LOCAL_OPTIONS: dict[str, str | int] = {"GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE", "GDAL_CACHEMAX": 2**28}
"""A JPEG that ends early is an error, not a grey half image. Decoded blocks take 256 MiB at most (a row of blocks of
80,000 columns, three 16-bit bands), not 5 % of the machine's memory."""

REMOTE_OPTIONS: dict[str, str | int] = {
    **LOCAL_OPTIONS,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "VSI_CACHE": "TRUE",
}
"""https://developmentseed.org/titiler/advanced/performance_tuning/"""

_PNG_TAIL = 4096


def is_remote(source: str) -> bool:
    """Whether `source` is read over a network: a URL with a scheme, or a GDAL network file system."""
    networks = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsiwebhdfs")
    scheme, _, rest = source.partition("://")
    return source.startswith(networks) or (bool(rest) and "file" not in scheme.lower())


def is_local_path(source: str) -> bool:
    """Whether `source` is a plain path: no URL, no `/vsi...`, no GDAL prefix such as `NETCDF:...`."""
    prefix = source.partition(":")[0] if ":" in source else ""
    return not source.startswith("/vsi") and (len(prefix) <= 1 or os.path.lexists(source))


def gdal_environment(source: str) -> rasterio.Env:
    """The GDAL settings to open and read `source` with; what the user's environment sets is left alone."""
    options = REMOTE_OPTIONS if is_remote(source) else LOCAL_OPTIONS
    return rasterio.Env(**{key: value for key, value in options.items() if key not in os.environ})


def open_dataset(source: str) -> DatasetReader:
    """Open a raster with at least one band.

    Raises:
        SourceError: `source` is missing, is no raster, or holds no band.
    """
    _check_name(source)
    if is_local_path(source):
        _check_local(Path(source))
    try:
        with gdal_environment(source), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(utf8_name(source))
    except UnicodeError as error:
        raise SourceError(
            f"{source} names its CRS in text that is not UTF-8 ({_bytes_of(error)}); name it anew, for example with "
            "gdal_edit.py -a_srs EPSG:CODE."
        ) from error
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise SourceError(_cannot_open(source, error)) from error
    _check_bands(source, dataset)
    return dataset


def read_band(source: str | Path, band: int = 1) -> NDArray[Any]:
    """A whole band as it is in the file, `(row, col)`; for label rasters that fit in memory.

    Raises:
        SourceError: as `open_dataset`, or the file is damaged.
    """
    with open_dataset(str(source)) as dataset, reading(str(source), f"band {band}"):
        return np.asarray(dataset.read(band))


@contextmanager
def reading(source: str, what: str) -> Iterator[None]:
    """Turn any failure of GDAL inside the block into a `SourceError` naming `source` and `what`."""
    try:
        with gdal_environment(source):
            yield
    except UnicodeError as error:
        raise SourceError(
            f"Cannot read {what} of {source}: it holds text that is not UTF-8 ({_bytes_of(error)})."
        ) from (error)
    except (RasterioError, CPLE_BaseError) as error:
        cause = error.__cause__ or error
        raise SourceError(
            f"Cannot read {what} of {source}: the file seems truncated or damaged ({one_line(cause)}); "
            "copy or download it again."
        ) from error


def one_line(error: BaseException) -> str:
    """GDAL's own words, on one line and without the final full stop."""
    text = getattr(error, "errmsg", "") or str(error)
    return brief(" ".join(str(text).split()), most=300)


def _check_name(source: str) -> None:
    try:
        utf8_name(source)
    except UnicodeError as error:
        raise SourceError(
            f"{printable(source)} has a name that is not UTF-8 text, which GDAL cannot open; rename it, for example "
            "with convmv."
        ) from error


def _bytes_of(error: UnicodeError) -> str:
    """The text in question, as well as it can be shown."""
    return brief(legible(error.object) if isinstance(error, UnicodeDecodeError) else error, most=60)


def legible(text: bytes) -> str:
    """Text that should be UTF-8 but may be of older software."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def _check_local(path: Path) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder, not a raster; name a file inside it.")
    if (error := unreadable(path)) is not None:
        raise error
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes); copy or download it again.")
    _check_png(path)
    _check_vrt(path)


def unreadable(path: Path) -> SourceError | None:
    """Why no raster can be read at a path."""
    why = trouble(path)
    if why is None:
        return None
    return missing(path) if why == "does not exist" else SourceError(f"{path} {why}; {_advice(path)}.")


def _advice(path: Path) -> str:
    """What to do about a path where no file can be read."""
    there = os.path.exists(path)
    return "save what it holds as a file, or change its rights" if there else "correct or change that path"


def missing(path: Path) -> SourceError:
    """The error for a path where nothing is."""
    return SourceError(f"{path} does not exist. {_similar(path)}")


def _similar(path: Path) -> str:
    siblings: list[str] = []
    with suppress(OSError):
        siblings = [name for name in os.listdir(path.parent) if os.path.exists(path.parent / name)]
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"Did you mean {str(path.with_name(close[0]))!r}?" if close else "Check the path."


def _check_png(path: Path) -> None:
    """GDAL reads a PNG that ends early as zeros without a word, so look for the end ourselves."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return
        file.seek(max(path.stat().st_size - _PNG_TAIL, 0))
        if b"IEND" not in file.read():
            raise SourceError(f"{path} is a PNG that ends too early; copy or download it again.")


def _check_vrt(path: Path) -> None:
    """A message of GDAL that is not UTF-8 gets lost on its way, and a source that is not found reads as zeros."""
    with path.open("rb") as file:
        if b"<VRTDataset" not in file.read(512):
            return
        file.seek(0)
        try:
            file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is a VRT that is not UTF-8 text ({brief(error)}); make it anew.") from error


def _cannot_open(source: str, error: BaseException) -> str:
    if is_remote(source):
        return f"Cannot open {source} ({one_line(error)}); check the address and your connection."
    return f"{source} is not a raster that GDAL can read ({one_line(error)})."


def _check_bands(source: str, dataset: DatasetReader) -> None:
    if dataset.count:
        return
    parts = dataset.subdatasets
    dataset.close()
    if parts:
        listed = ", ".join(parts[:8]) + (", ..." if len(parts) > 8 else "")
        raise SourceError(f"{source} holds several rasters; name one of them: {listed}.")
    raise SourceError(f"{source} has no bands, so there is nothing to read.")
