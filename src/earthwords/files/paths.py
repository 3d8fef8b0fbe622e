"""What names mean, and in words what is wrong with a path: the reason that the system gives is often not the one that
helps."""

from __future__ import annotations

import difflib
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from earthwords.errors import SourceError, UsageError

IMAGES = (
    ".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".nc", ".hdf", ".h5",
    ".ecw", ".sid", ".asc", ".bil", ".dat", ".ntf", ".nitf", ".grb", ".grib", ".jxl", ".gti",
)  # fmt: skip
"""Suffixes of what is offered where an image is wanted."""
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Suffixes of those that Pillow reads, and that tell no place."""

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def trouble(path: str | Path) -> str | None:
    """Why no file can be read at `path`, to follow its name in a sentence; None: one can.

    Only regular files count: a pipe or a device would be waited for without end.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return _unreachable(Path(path), error)
    except ValueError:  # NUL, or text that is none
        return "is not a possible path"
    if not stat.S_ISREG(mode):
        kind = next((words for test, words in _KINDS if test(mode)), "something else")
        return f"is {kind}, not a file"
    return None if os.access(path, os.R_OK) else "may not be read (permission denied)"


def with_stem(text: str, source: str) -> str:
    """A name in which `{stem}` stands for that of a source, without folder and suffix."""
    return text.replace("{stem}", Path(source.partition("?")[0]).stem)


def utf8_name(path: str | Path) -> str:
    """A path as GDAL takes it, which is UTF-8 everywhere; Python may have read it in another way (`LC_ALL=C`).

    Raises:
        UnicodeError: it is not UTF-8 text.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8")
    return str(path)


def _unreachable(path: Path, error: OSError) -> str:
    """Why the system cannot tell anything about a path."""
    if error.errno == errno.ENAMETOOLONG:
        return "is too long for a path"
    if error.errno == errno.ELOOP:
        return "is a link that leads in a circle"
    if error.errno == errno.EACCES:
        closed = next((str(p) for p in reversed(path.parents) if not os.access(p, os.X_OK)), str(path.parent))
        return f"cannot be reached: the folder {closed} may not be entered (permission denied)"
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return f"cannot be reached ({(error.strerror or str(error)).lower()})"
    if path.is_symlink():
        return f"is a link to {os.readlink(path)}, which does not exist"
    for parent in reversed(path.parents):
        if parent.is_symlink() and not parent.exists():
            return f"does not exist: {parent} is a link to {os.readlink(parent)}, which does not exist"
        if parent.exists() and not parent.is_dir():
            return f"does not exist: {parent} is a file, not a folder"
    return "does not exist"


def is_local_path(source: str) -> bool:
    """Whether `source` is a plain path: no URL, no `/vsi...`, no GDAL prefix such as `NETCDF:...`."""
    prefix = source.partition(":")[0] if ":" in source else ""
    return not source.startswith("/vsi") and (len(prefix) <= 1 or os.path.lexists(source))


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
    """The error for a path where a raster should be and nothing is."""
    return SourceError(f"{path} does not exist. {similar(path, is_image)}")


def is_image(path: Path) -> bool:
    """Whether a file may hold pixels, by its name."""
    return path.suffix.lower() in IMAGES and path.is_file()


def similar(path: Path, wanted: Callable[[Path], bool]) -> str:
    """`"Did you mean 'a'?"` for what lies beside a path, has nearly its name and is of the kind wanted."""
    beside: list[str] = []
    with suppress(OSError):
        beside = os.listdir(path.parent)
    for name in difflib.get_close_matches(path.name, beside, n=len(beside) or 1):
        if wanted(path.with_name(name)):
            return f"Did you mean {str(path.with_name(name))!r}?"
    return "Check the path."


def check_folder(path: Path, *, what: str) -> Path:
    """The same path, if it is a folder.

    Args:
        what: it should hold.

    Raises:
        UsageError: it is none.
    """
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder; name the one that holds {what}. {similar(path, Path.is_dir)}")
    return path
