"""Rasters that are one file and name no other: told by how they begin, opened by the one driver that is for them."""

from __future__ import annotations

import os
from pathlib import Path

from earthwords.errors import SourceError

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


def plain_driver(path: Path) -> str:
    """The driver that a file is opened by.

    Raises:
        SourceError: it is another kind of file, or what lies beside it names others.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        beside = Path(f"{path}.aux.xml")
        more = beside.read_bytes() if beside.is_file() else b""
    except OSError as error:
        raise SourceError(f"{path.name} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    driver = next((name for begin, name in BEGINS.items() if head.startswith(begin)), None)
    if driver is None:
        raise SourceError(
            f"{path.name} is no GeoTIFF, PNG, JPEG or JPEG 2000; convert it, for example by gdal_translate."
        )
    if _NAMES_FILES in more:
        raise SourceError(f"{beside.name} names overviews in another file; remove it.")
    return driver


def only_plain_files() -> bool:
    """Whether the environment wants it so."""
    return os.environ.get(SETTING, "") not in ("", "0")
