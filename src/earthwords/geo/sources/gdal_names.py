"""What GDAL's names mean: the files inside `GTIFF_DIR:1:a.tif`, `/vsizip/a.zip/b.tif`, `NETCDF:"a.nc":red`, ..."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from earthwords.errors import SourceError
from earthwords.files.paths import trouble

_MOST_LETTERS = 2**13
"""Of a name: twice the longest path."""
_STARTS = re.compile(r"^|/vsi[a-z0-9_]+/|://|[:\"=,{]")
_STOPS = re.compile(r"$|[\"?!}:&/]")


def places_in(text: str, *, folder: Path | None = None) -> Iterator[Path]:
    """What there is under the names that a text may stand for: the path itself alone, or else any inside it.

    Args:
        folder: that the names are relative to.
    """
    folder = folder or Path()
    if len(text) > _MOST_LETTERS or "\0" in text:
        return
    if text and os.path.lexists(whole := folder / text) and not whole.is_dir():
        yield whole
        return
    for start in _STARTS.finditer(text):
        for stop in _STOPS.finditer(text, start.end()):
            if stop.start() > start.end() and os.path.lexists(path := folder / text[start.end() : stop.start()]):
                yield path


def check_waits(text: str, *, folder: Path | None = None) -> None:
    """Refuse a name of a pipe, a socket or a device, alone or inside a name of GDAL's: it would be waited for.

    Raises:
        SourceError: naming it.
    """
    for path in places_in(text, folder=folder):
        why = trouble(path)
        if why is not None and "not a file" in why and not path.is_dir():
            raise SourceError(f"{path} {why}; save what it holds as a file.")
