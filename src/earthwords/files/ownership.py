"""Files of fixed names in a folder of results: only those that earthwords wrote are replaced, as they tell."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError
from earthwords.files.reading import open_file, read_json

_HEAD = 2**16
_INDEX = ("vectors.npy", "codes.npy", "tiles.parquet", "sources.parquet")
"""Beside the `index.json` of an index."""
_LOG = b"step,name,value"
_UNLIKE = (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, zipfile.BadZipFile)
"""What files of others make of a test."""
_TOLD = ("log.csv", "checkpoint.pt")
"""What says that a folder is one of a training."""
_CHECKPOINT = (b"optimizer", b"average", b"settings")


def check_ours(paths: Iterable[Path]) -> None:
    """Refuse to replace files that others wrote; where there is none, all is well.

    Raises:
        UsageError: naming one.
    """
    for path in paths:
        if os.path.lexists(path) and not is_ours(path):
            raise not_ours(path)


def not_ours(path: Path) -> UsageError:
    """The error for a file that would be lost."""
    return UsageError(f"{path} was not written by earthwords and would be lost; move it away or choose another folder.")


def is_ours(path: Path) -> bool:
    """Whether a file with a name that earthwords uses says that earthwords wrote it, or lies among what does."""
    test = _TESTS.get(path.name, _is_of_training)
    with suppress(*_UNLIKE):
        if test(path):
            return True
    return path.name == "checkpoint.pt" and _beside(path, "log.csv")


def _json(path: Path) -> Any:
    return read_json(path, most=None)


def _head(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(_HEAD)


def _is_index(path: Path) -> bool:
    if all((path.parent / name).exists() for name in _INDEX):
        return True  # also where it is damaged
    return bool({"format", "earthwords", "settings"} <= _json(path).keys())


def _is_batch(path: Path) -> bool:
    return all({"source", "status", "outputs"} <= scene.keys() for scene in _json(path)["scenes"])


def _is_results(path: Path) -> bool:
    return bool({"earthwords", "results"} <= _json(path).keys())


def _is_times(path: Path) -> bool:
    return all("seconds" in run for run in _json(path).values())


def _is_table(path: Path) -> bool:
    return _head(path).startswith(b"# Results\n\nPercent, unless named otherwise.") or _beside(path, "results.json")


def _is_page(path: Path) -> bool:
    return b"Made by earthwords" in _head(path) or _beside(path, "results.json")


def _is_log(path: Path) -> bool:
    return _head(path).startswith(_LOG) or _beside(path, "checkpoint.pt")


def _is_checkpoint(path: Path) -> bool:
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(name) as data:
            head = data.read(2**26)
    return all(word in head for word in _CHECKPOINT)


def _is_of_training(path: Path) -> bool:
    """What a training leaves at its end, such as weights; those of an encoder lie in a folder of their own."""
    above = path.parent.with_name(path.name) if path.parent.name == "encoder" else path
    return path.is_file() and any(_told_by(place.with_name(name)) for place in (path, above) for name in _TOLD)


def _beside(path: Path, name: str) -> bool:
    """Whether a file of ours lies there, which says so itself; and the path is a file, too."""
    return path.is_file() and _told_by(path.with_name(name))


def _told_by(other: Path) -> bool:
    return other.exists() and _is_ours_itself(other)


def _is_ours_itself(path: Path) -> bool:
    """As `is_ours`, whatever lies beside it."""
    with suppress(*_UNLIKE):
        return _head(path).startswith(_LOG) if path.name == "log.csv" else _TESTS[path.name](path)
    return False


_TESTS: dict[str, Callable[[Path], bool]] = {
    "index.json": _is_index,
    "batch.json": _is_batch,
    "results.json": _is_results,
    "times.json": _is_times,
    "results.md": _is_table,
    "report.html": _is_page,
    "log.csv": _is_log,
    "checkpoint.pt": _is_checkpoint,
}
"""By name; others are those of a training."""
