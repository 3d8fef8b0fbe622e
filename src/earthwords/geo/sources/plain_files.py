"""Rasters that are one file and name no other: told by how they begin, opened by the one driver that is for them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earthwords.errors import SourceError
from earthwords.files.paths import utf8_name

BEGINS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}
"""First bytes to GDAL's driver."""
SETTING = "EARTHWORDS_PLAIN_FILES"
"""In the environment: 1 lets sources be such files alone."""
_NAMES_FILES = b"OVERVIEW_FILE"
"""In `.aux.xml`: overviews in another file, which may lie anywhere."""
_RASTERS = (".ovr", ".msk")
"""Ends of files beside a raster that GDAL reads pixels of, by any driver."""
_IMAGINE = b"EHFA_HEADER_TAG"
"""How a `.aux` of ERDAS IMAGINE begins, which may name further files."""


def plain_driver(path: Path) -> str:
    """The driver that a file is opened by.

    Raises:
        SourceError: it is another kind of file, or what lies beside it names others.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        beside = sorted(_beside(path))
    except OSError as error:
        raise SourceError(f"{path.name} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    driver = next((name for begin, name in BEGINS.items() if head.startswith(begin)), None)
    if driver is None:
        raise SourceError(
            f"{path.name} is no GeoTIFF, PNG, JPEG or JPEG 2000; convert it, for example by gdal_translate."
        )
    for other in beside:
        _check_beside(path, other)
    return driver


def check_opened(name: str, dataset: Any) -> None:
    """Refuse an open dataset whose own metadata name overviews in another file; before its overviews are asked for.

    Raises:
        SourceError: they do.
    """
    if "OVERVIEW_FILE" in {key.upper() for key in dataset.tags(ns="OVERVIEWS")}:
        raise SourceError(f"{name} names overviews in another file, which stays closed; remove that from its tags.")


def _beside(path: Path) -> Iterator[Path]:
    """Files of the same folder that GDAL may take for a part of this one, in any case of letters."""
    begin = f"{path.stem}.".lower()
    for name in os.listdir(path.parent):
        if name != path.name and name.lower().startswith(begin):
            yield path.parent / name


def _check_beside(path: Path, other: Path) -> None:
    """Refuse what would let GDAL read elsewhere: a link that leads away, or a raster that names other files."""
    folder, suffix = Path(os.path.realpath(path.parent)), other.suffix.lower()
    if Path(os.path.realpath(other)).parent != folder:
        raise SourceError(f"{other.name} beside {path.name} is a link to another folder; put the file itself there.")
    if suffix not in (*_RASTERS, ".aux", ".xml"):
        return
    if not other.is_file():
        raise SourceError(f"{other.name} beside {path.name} is no plain file; remove it.")
    try:
        with other.open("rb") as file:
            begin = file.read(len(_IMAGINE))
            more = file.read() if suffix == ".xml" else b""
    except OSError as error:
        raise SourceError(f"{other.name} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    if suffix == ".aux" and begin == _IMAGINE:
        raise SourceError(f"{other.name} beside {path.name} may name other files; remove it.")
    if suffix == ".xml" and _NAMES_FILES in begin + more:
        raise SourceError(f"{other.name} names overviews in another file; remove it.")
    if suffix in _RASTERS:
        if BEGINS.get(begin[:4]) != "GTiff":
            raise SourceError(f"{other.name} beside {path.name} is no TIFF; make it anew, for example by gdaladdo -ro.")
        _check_raster(other)


def _check_raster(path: Path) -> None:
    """See `check_opened`, of overviews or a mask beside a raster."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(utf8_name(path), driver="GTiff") as dataset:
                check_opened(path.name, dataset)
        except (RasterioError, UnicodeError) as error:
            raise SourceError(f"{path.name} cannot be read; make it anew, for example by gdaladdo -ro.") from error


def only_plain_files() -> bool:
    """Whether the environment wants it so."""
    return os.environ.get(SETTING, "") not in ("", "0")
