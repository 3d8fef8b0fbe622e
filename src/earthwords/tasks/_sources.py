"""Which rasters a SRC means, and where the results of each go. Loads nothing heavy: every verb asks here first."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from earthwords.errors import UsageError

RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg")
"""What is taken from a folder."""


def find_sources(src: str) -> list[str] | None:
    """The rasters of a folder, of a pattern with * or ?, or of a list `@FILE`; None: `src` is a single one.

    Raises:
        UsageError: there are none, or the list cannot be read.
    """
    if src.startswith("@"):
        try:
            lines = Path(src[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"Cannot read the list {src[1:]} ({error}).") from error
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    elif os.path.isdir(src):
        found = sorted(
            str(path)
            for path in Path(src).rglob("*")
            if path.suffix.lower() in RASTERS and not any(part.startswith(".") for part in path.relative_to(src).parts)
        )
    elif not os.path.exists(src) and "://" not in src and any(letter in src for letter in "*?["):
        found = sorted(path for path in glob.glob(src, recursive=True) if os.path.isfile(path))
    else:
        return None
    if not found:
        raise UsageError(f"No raster was found for {src}; a folder is searched for {', '.join(RASTERS)}.")
    return found


def places_of(sources: Sequence[str], dst: Path, root: str) -> dict[str, Path]:
    """Source to its DST.

    Raises:
        UsageError: two scenes would have the same outputs, or `dst` is a single file.
    """
    if "{stem}" not in str(dst) and dst.suffix and not dst.is_dir():
        raise UsageError(
            f"{len(sources)} scenes cannot go into the one file {dst}; name a folder, or a pattern such as "
            f"maps/{{stem}}{dst.suffix}."
        )
    places: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for source in sources:
        path = Path(source)
        inside = path.parent.relative_to(root) if os.path.isdir(root) and path.is_relative_to(root) else Path()
        place = Path(str(dst).replace("{stem}", path.stem)) if "{stem}" in str(dst) else dst / inside / path.stem
        if place in taken:
            raise UsageError(f"{taken[place]} and {source} would both be written to {place}; rename one of them.")
        places[source], taken[place] = place, source
    return places
