"""Plain values that templates show: figures, settings, pictures, tables of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

from PIL import Image

Key = TypeVar("Key")
Item = TypeVar("Item")
Values = dict[str, Any]
"""The arguments of a macro of the templates."""

NONE = "–"
"""Where there is no figure."""
MINUS = "−"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure in a table."""

    text: str = NONE
    value: float | None = None
    best: bool = False  # of several
    bar: bool = False  # of `value` percent
    first: bool = False  # of a group of columns
    change: str = ""  # "up" or "down"
    doubt: str = ""  # why it may be wrong
    note: str = ""  # below it
    title: str = ""  # of the note


Cells = list[str | Figure]
Row = tuple[Any, Sequence[str], Sequence[str | Figure]]
"""Its name (or the arguments of the macro `named`), words and figures."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of figures."""

    caption: str
    heads: Sequence[str]  # of names and words
    rows: Sequence[Row | str]  # or the title of the rows that follow
    numbers: Sequence[str | tuple[str, str]] = ()  # heads of figures; with a note, or without
    groups: Sequence[tuple[str, Sequence[str]]] = ()  # heads of several figures, and the heads of each
    last: str = ""  # head of the last figures, which are words
    span: int = 1  # columns below the last of `heads`


def figures(values: Sequence[float | None], digits: int = 1, *, bar: bool = False) -> list[Figure]:
    """Figures, the best of them marked where there is something to choose between."""
    shown = [value if value is not None and math.isfinite(value) else None for value in values]
    known = [value for value in shown if value is not None]
    best = max(known) if len(known) > 1 and max(known) > min(known) else None
    return [Figure(text=number(v, digits), value=v, best=v is not None and v == best, bar=bar) for v in shown]


def number(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """A figure as text; `NONE` for None and NaN."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", MINUS)


def count(value: Any) -> str:
    """How many, with commas between thousands; a text as it is."""
    return f"{value:,}" if isinstance(value, int) else str(value or "")


def plain(settings: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Settings as text."""

    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return [(name, text(value)) for name, value in settings]


def bars(what: str, names: Iterable[Any], columns: Mapping[str, Sequence[float | None]], *, caption: str) -> Table:
    """A row of bars for each name, the best of each row in bold."""
    rows = [(name, (), figures(row, bar=True)) for name, *row in zip(names, *columns.values(), strict=True)]
    return Table(caption=caption, heads=[what, *columns], rows=rows)


def picture(folder: Path, name: str, alt: str, *, title: str | None = None, text: str = "") -> list[Values]:
    """A picture below the folder; none if it is not there.

    Args:
        name: its path from the folder, `/` between parts.
        alt: what it shows, for readers that do not see it.
        title: the bold begin of its caption.
        text: the rest of its caption.
    """
    path = PurePosixPath(name)
    try:
        if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
            return []
        with Image.open(folder / path) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return []
    address = quote(str(path), safe="/")
    return [{"address": address, "alt": alt, "width": width, "height": height, "title": title, "text": text}]


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    """Those that have a key in common, keys and items in the order they come."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.items())
