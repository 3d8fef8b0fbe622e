"""Results below the folder as resources that an assistant may list and read."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from earthwords.errors import UsageError, printable
from earthwords.serve.mcp.root import RESULTS, Root

SCHEME = f"earthwords://{RESULTS}/"
TYPES = {".json": "application/json", ".geojson": "application/geo+json", ".png": "image/png", ".csv": "text/csv"}
"""Suffixes that are resources."""
MOST_BYTES = 8 * 2**20
"""Of a resource; larger ones are files alone."""
MOST_LISTED = 1_000
MOST_DEPTH = 6


def uri_of(path: Path, root: Root) -> str | None:
    """The address of a file; None: it is no resource."""
    if path.suffix.lower() not in TYPES or not path.is_relative_to(root.results) or not _is_small(path):
        return None
    return SCHEME + quote(path.relative_to(root.results).as_posix())


def listed(root: Root) -> list[Path]:
    """All resources, those of the newest results first."""
    found: list[Path] = []
    for place, folders, files in os.walk(root.results):
        depth = len(Path(place).relative_to(root.results).parts)
        folders[:] = [name for name in sorted(folders) if not name.startswith(".") and depth < MOST_DEPTH]
        paths = (Path(place, name) for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if _is_plain(path, root) and uri_of(path, root) is not None]
    return sorted(found, key=lambda path: -path.stat().st_mtime)[:MOST_LISTED]


def path_of(uri: str, root: Root) -> Path:
    """The file of an address.

    Raises:
        UsageError: there is none, or it is no resource.
    """
    if not uri.startswith(SCHEME):
        raise UsageError(f"{printable(uri)} is no resource; they begin with {SCHEME}.")
    name = unquote(uri.removeprefix(SCHEME))
    path = root.existing(f"{RESULTS}/{name}")
    if not _is_plain(path, root) or uri_of(path, root) is None:
        raise UsageError(f"{printable(name)} is no resource: no {', '.join(TYPES)}, or above {MOST_BYTES:,} bytes.")
    return path


def _is_plain(path: Path, root: Root) -> bool:
    """Whether a path is a file below the results, wherever links lead."""
    real = Path(os.path.realpath(path))
    return real.is_file() and real.is_relative_to(root.results)


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= MOST_BYTES
    except OSError:
        return False
