"""Files that others wrote, read within bounds: only regular files, no deep nesting, no more bytes than make sense.

Text is read by `plaintext`, JSON and TOML here, and libraries that open a file themselves are asked after `check_file`.
Everything raises `OSError` or `ValueError` with words that complete "Cannot read PATH: ...".
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

from earthwords.files.paths import trouble

MOST_DEPTH = 64
"""Lists and tables within each other; real files have some ten."""
MOST_SETTINGS = 2**26
"""Bytes of a file of settings, such as a configuration."""
_MOST_TOML = 2**18
_LONG_KEY = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{MOST_DEPTH}}}""")
"""A table in a table in a table: `a.b.c...`."""


class NoFileError(OSError):
    """What a path leads to is not a regular file."""


class NestedError(ValueError):
    """Lists or tables within each other, deeper than any real file has them."""

    def __init__(self) -> None:
        super().__init__(f"its brackets are nested more than {MOST_DEPTH} levels deep")


def check_file(path: str | Path) -> None:
    """Refuse what is not a regular file, for libraries that would open it and wait.

    Raises:
        FileNotFoundError: there is nothing, or a link to nothing.
        NoFileError: such as a folder, a pipe or a device.
    """
    if why := trouble(path):
        raise (NoFileError if os.path.exists(path) else FileNotFoundError)(f"it {why}")


def open_file(path: str | Path) -> BinaryIO:
    """A regular file, open for reading; what became a pipe since it was looked at does not make us wait.

    Raises:
        NoFileError: it is something else.
        OSError: it cannot be opened.
    """
    check_file(path)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NoFileError("it is not a file any more")
    return os.fdopen(handle, "rb")


def read_bytes(path: str | Path, *, most: int | None = None) -> bytes:
    """All of a file of at most `most` bytes.

    Raises:
        OSError: it is no regular file, or cannot be read.
        ValueError: it has more bytes.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if most is not None and size > most else file.read(-1 if most is None else most + 1)
        if most is not None and max(size, len(data)) > most:
            limit = f"{most:,} bytes" if most < 2**20 else f"{most >> 20:,} MiB"
            raise ValueError(f"it has more than {limit}, which no such file has")
        return data


def read_json(path: str | Path, *, most: int | None = MOST_SETTINGS) -> Any:
    """What the JSON of a file says; `most` is None for data, whose size has no bound.

    Raises:
        OSError: as `read_bytes`.
        ValueError: too large, not UTF-8, not JSON, or nested too deeply.
    """
    data = read_bytes(path, most=most)
    try:
        return parse_json(data)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8 text; save it as UTF-8") from error


def parse_json(text: str | bytes) -> Any:
    """What JSON says. Raises `ValueError`: it is not JSON, or nested more than `MOST_DEPTH` levels deep."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise NestedError from None
    opening = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    if sum(map(text.count, opening)) > MOST_DEPTH:  # type: ignore[arg-type]
        _check_depth(found)
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """What TOML says. Raises `ValueError`: it is not TOML, too large for a preset, or nested too deeply."""
    if len(text) > _MOST_TOML:
        raise ValueError(f"it has {len(text):,} characters, far more than the {_MOST_TOML:,} of any preset")
    if _LONG_KEY.search(text):  # for which tomllib takes the square of the time
        raise NestedError
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise NestedError from None
    _check_depth(found)
    return found


def _check_depth(value: Any) -> None:
    """Level by level, so that nothing here is as deep as what it looks at."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MOST_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise NestedError
