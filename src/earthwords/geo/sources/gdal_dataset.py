"""Opening rasters: the GDAL settings, and every way in which a source can refuse."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
import rasterio.env
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # of which rasterio publishes nothing
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from earthwords.errors import ServerError, SourceError, brief, printable
from earthwords.files.paths import is_local_path, unreadable, utf8_name
from earthwords.geo.sources.network import OFF, Network, is_remote, public, was_blocked
from earthwords.geo.sources.plain_files import check_opened, only_plain_files, plain_driver
from earthwords.geo.sources.vrt import Inspector

LOCAL_OPTIONS: dict[str, str | int] = {"GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE", "GDAL_CACHEMAX": 2**28}
"""A JPEG that ends early is an error, not a grey half image. Decoded blocks take 256 MiB at most (a row of blocks of
80,000 columns, three 16-bit bands), not 5 % of the machine's memory."""

REMOTE_OPTIONS: dict[str, str | int] = {
    **LOCAL_OPTIONS,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # and see `_sidecars`
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "15",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "VSI_CACHE": "TRUE",
}
"""https://developmentseed.org/titiler/advanced/performance_tuning/, and how long a server is waited for: 10 s for a
connection, 15 s of less than 1000 bytes a second, two more tries after errors that pass."""

ENFORCED: dict[str, str | int] = {"GDAL_VRT_ENABLE_PYTHON": "NO", "VRT_NUM_THREADS": "1", "GTI_NUM_THREADS": "1"}
"""Whatever the environment says: no code of a VRT is run, and none of its parts is read by a thread of GDAL's own: its
errors get lost (a missing part would be zeros), and the settings of this thread are not its own."""

_ADDRESS = re.compile(r"(?:[a-z0-9]+://|/vsi[a-z0-9]+/)(?:(?!/vsi)[^?])*(\.[a-z0-9]+)", re.IGNORECASE)
"""A file on a server that is not inside an archive."""
_SINGLE = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".webp")
"""Of rasters that consist of one file and its sidecars."""
_BESIDE = (".msk", ".ovr")
"""Rasters beside a raster: its mask and its overviews."""
_WAITS = ("GDAL_HTTP_CONNECTTIMEOUT", "GDAL_HTTP_LOW_SPEED_TIME")
_PNG_TAIL = 4096
_T = TypeVar("_T")

GDAL_ERRORS = (RasterioError, CPLE_BaseError)
"""What rasterio raises where GDAL fails; some calls let GDAL's own errors through."""


def gdal_environment(source: str, network: Network | None) -> rasterio.Env:
    """The GDAL settings to open and read `source` with; what the user's environment sets is left alone.

    Args:
        source: a path or address.
        network: what may be reached; None for a dataset that the user has opened: whatever that reaches.
    """
    reaches = is_remote(source) if network is None else network.reaches(source)
    options = {**REMOTE_OPTIONS, **_sidecars(source)} if reaches else LOCAL_OPTIONS
    own = settings_around()
    chosen = {key: value for key, value in options.items() if key not in os.environ and key not in own}
    off = {} if reaches or network is None else OFF
    return rasterio.Env(**chosen, **ENFORCED, **off)


def settings_around() -> dict[str, Any]:
    """Of the `rasterio.Env` around the call, such as keys to a bucket."""
    return dict(rasterio.env.getenv()) if rasterio.env.hasenv() else {}


def _sidecars(source: str) -> dict[str, str]:
    """Settings under which GDAL asks a server for the files beside `source` that tell of its mask, place and overviews.

    It asks for each by name, and lists no folder or bucket. Where an address has no such names, as with a signature
    behind a question mark, none is asked for; nor for those of the parts that a local file has on servers, unless that
    file has some beside it.
    """
    if not is_remote(source):
        own = (f"{source}{suffix}" for suffix in (*_BESIDE, ".aux.xml"))
        return {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"} if any(map(os.path.exists, own)) else {}
    found = _ADDRESS.fullmatch(source)
    suffix = found[1].lower() if found else ""
    if suffix not in _SINGLE:
        return {}
    world = {f".{suffix[1]}{suffix[-1]}w", f"{suffix}w", ".wld", ".tab"}
    names = sorted({suffix, ".aux.xml", *_BESIDE, *world})
    return {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE", "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ",".join(names)}


def open_dataset(source: str, *, network: Network) -> DatasetReader:
    """Open a raster with at least one band.

    Raises:
        SourceError: `source` is missing, is no raster, holds no band, or points to what may not be read.
        UsageError: it is remote and may not be read.
    """
    _check_name(source)
    inspector = Inspector(
        source=source, network=network, reaches=network.reaches(source), inside=_vrt_inside, words=_words_of
    )
    if is_local_path(source):
        _check_local(Path(source), inspector)
    else:
        inspector.name(source)
    began = time.monotonic()
    try:
        with gdal_environment(source, network), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(utf8_name(source), driver=_driver(source))
            if only_plain_files():
                check_opened(source, dataset)
            if dataset.driver == "VRT" and not is_local_path(source):
                inspector.text(_vrt_text(dataset), dataset.name)
    except UnicodeError as error:
        raise SourceError(
            f"{source} names its CRS in text that is not UTF-8 ({_bytes_of(error)}); name it anew, for example with "
            "gdal_edit.py -a_srs EPSG:CODE."
        ) from error
    except (*GDAL_ERRORS, OSError) as error:
        if is_remote(source) and _is_silent(began):
            raise ServerError(_silence(f"Cannot open {public(source)}", one_line(error))) from error
        raise SourceError(_cannot_open(source, error, network)) from error
    _check_bands(source, dataset)
    return dataset


def read_band(source: str | Path, band: int = 1) -> NDArray[Any]:
    """A whole band as it is in a local file, `(row, col)`; for label rasters that fit in memory.

    Raises:
        SourceError: as `open_dataset`, or the file is damaged.
    """

    def read() -> NDArray[Any]:
        dataset = open_dataset(str(source), network=Network.NONE)
        with dataset, reading(str(source), f"band {band}", Network.NONE):
            return np.asarray(dataset.read(band))

    return aside(read)


def raster_shape(source: str) -> tuple[int, int]:
    """Height and width of a local raster.

    Raises:
        SourceError: as `open_dataset`.
    """

    def read() -> tuple[int, int]:
        with open_dataset(source, network=Network.NONE) as dataset:
            return dataset.height, dataset.width

    return aside(read)


@contextmanager
def reading(source: str, what: str, network: Network | None) -> Iterator[None]:
    """Turn any failure of GDAL inside the block into a `SourceError` naming `source` and `what`."""
    began = time.monotonic()
    try:
        with gdal_environment(source, network):
            yield
    except UnicodeError as error:
        raise SourceError(
            f"Cannot read {what} of {source}: it holds text that is not UTF-8 ({_bytes_of(error)})."
        ) from (error)
    except GDAL_ERRORS as error:
        cause = one_line(error.__cause__ or error)
        if network is not None and network.reaches(source) and _is_silent(began):
            raise ServerError(_silence(f"Cannot read {what} of {public(source)}", cause)) from error
        if network is not None and not network.reaches(source) and was_blocked(cause):
            raise network.refusal(source, cause) from error
        raise SourceError(
            f"Cannot read {what} of {public(source)}: the file seems truncated or damaged ({cause}); "
            "copy or download it again."
        ) from error


def aside(call: Callable[[], _T]) -> _T:
    """Call, in another thread if this is the main one: there GDAL's settings would be those of all threads."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    future = _second_thread().submit(call)
    try:
        return future.result()
    except BaseException:
        wait([future])  # nothing may be closed that is being read
        raise


@lru_cache(maxsize=1)
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "gdal")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_second_thread.cache_clear)  # a thread stays behind


def one_line(error: BaseException) -> str:
    """GDAL's own words, on one line and without the final full stop."""
    text = getattr(error, "errmsg", "") or str(error)
    return brief(" ".join(str(text).split()), most=300)


def _driver(source: str) -> str | None:
    """The one driver that may open it; None: whichever GDAL finds."""
    return plain_driver(Path(source)) if only_plain_files() else None


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


def _check_local(path: Path, inspector: Inspector) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder, not a raster; name a file inside it.")
    if (error := unreadable(path)) is not None:
        raise error
    inspector.file(path)
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes); copy or download it again.")
    _check_png(path)
    for suffix in _BESIDE:
        sidecar = Path(f"{path}{suffix}")
        if sidecar.exists():
            inspector.file(sidecar)


def _check_png(path: Path) -> None:
    """GDAL reads a PNG that ends early as zeros without a word, so look for the end ourselves."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return
        file.seek(max(path.stat().st_size - _PNG_TAIL, 0))
        if b"IEND" not in file.read():
            raise SourceError(f"{path} is a PNG that ends too early; copy or download it again.")


def _is_silent(began: float) -> bool:
    """Whether GDAL has waited long enough for a server to give up."""
    options = {**REMOTE_OPTIONS, **os.environ, **settings_around()}
    waits = []
    for name in _WAITS:
        with suppress(ValueError, TypeError):  # GDAL takes what is no number for none
            waits.append(float(options[name]))
    return time.monotonic() - began >= 0.9 * min(waits, default=0.0)


def _silence(what: str, cause: str) -> str:
    return (
        f"{what}: the server did not answer in time ({cause}); try again later, or let it take more seconds by "
        f"{' and '.join(_WAITS)} in the environment."
    )


def _vrt_text(dataset: DatasetReader) -> bytes:
    """A VRT as GDAL has understood it."""
    return str(dataset.tags(ns="xml:VRT").get("xml:VRT", "<VRTDataset/>")).encode()


def _vrt_inside(name: str) -> bytes | None:
    """The text of a VRT in an archive or on a server; None: it is none."""
    try:
        with rasterio.open(name, driver="VRT") as dataset:
            return _vrt_text(dataset)
    except (*GDAL_ERRORS, OSError):
        return None


def _words_of(path: Path) -> Iterator[str]:
    from earthwords.geo.vectors.vector_files import words_of  # loads much, for few

    return words_of(path)


def _cannot_open(source: str, error: BaseException, network: Network) -> str:
    reason = one_line(error)
    if is_remote(source):
        return f"Cannot open {public(source)} ({reason}); check the address and your connection."
    if not network.reaches(source) and was_blocked(reason):
        return str(network.refusal(source, reason))
    return f"{source} is not a raster that GDAL can read ({reason})."


def _check_bands(source: str, dataset: DatasetReader) -> None:
    if dataset.count:
        return
    parts = dataset.subdatasets
    dataset.close()
    if parts:
        listed = ", ".join(parts[:8]) + (", ..." if len(parts) > 8 else "")
        raise SourceError(f"{source} holds several rasters; name one of them: {listed}.")
    raise SourceError(f"{source} has no bands, so there is nothing to read.")
