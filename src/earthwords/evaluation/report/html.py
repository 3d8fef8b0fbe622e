"""HTML from Python: text is escaped where it is put in, so that no name of a class or a set can become markup."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any, TypeVar
from urllib.parse import quote

from PIL import Image

from earthwords.types import Colour

Key = TypeVar("Key")
Thing = TypeVar("Thing")

VOID = ("img", "meta", "link")
NONE = "–"
"""Where there is no figure."""
MINUS = "−"


class Html(str):
    """Markup; every other string is text."""

    __slots__ = ()


def tag(name: str, /, *inside: str, **attributes: str | int | None) -> Html:
    """An element.

    Args:
        inside: `Html` as it is, other strings escaped.
        attributes: `class_` is `class`, `aria_label` is `aria-label`; None: it is left out.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{told}>" if name in VOID else f"<{name}{told}>{join(inside)}</{name}>")


def join(parts: Sequence[str]) -> Html:
    """One after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def th(*inside: str, scope: str = "col", class_: str | None = None, **attributes: str | int | None) -> Html:
    """The head of a column, or with `scope="row"` of a row."""
    return tag("th", *inside, scope=scope, class_=class_, **attributes)


def td(*inside: str, class_: str | None = "number", **attributes: str | int | None) -> Html:
    """A cell, of a number unless told otherwise."""
    return tag("td", *inside, class_=class_, **attributes)


def table(
    head: Sequence[Sequence[Html]], rows: Sequence[Sequence[Html]], *, caption: str, class_: str | None = None
) -> Html:
    """A table in a box of its own that scrolls sideways where the page is narrower.

    Args:
        head: rows of `th`.
        rows: rows of `th` and `td`.
        caption: what it shows; text, or markup.
    """
    inside = (
        tag("caption", tag("span", caption)),
        tag("thead", *(tag("tr", *cells) for cells in head)),
        tag("tbody", *(tag("tr", *cells) for cells in rows)),
    )
    return tag("div", tag("table", *inside, class_=class_), class_="scroll", tabindex=0)


def number(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """A figure as text; `NONE` for None and NaN."""
    if value is None or not math.isfinite(value):
        return NONE
    told = f"{value:{'+' if sign else ''}.{digits}f}"
    return told.replace("-", MINUS)


def bar(value: float | None, digits: int = 1, *, best: bool = False) -> Html:
    """A cell with a percentage and a bar of that length."""
    if value is None or not math.isfinite(value):
        return td(NONE, class_="bar none")
    told = tag("b" if best else "span", number(value, digits))
    length = min(100.0, max(0.0, value))
    return td(told, tag("i", tag("i", style=f"width:{length:.1f}%")), class_="bar")


def best_of(values: Sequence[float | None]) -> float | None:
    """The largest of several figures, to be set in bold; None where there is nothing to choose between."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return max(known) if len(known) > 1 and max(known) > min(known) else None


def swatch(colour: Colour) -> Html:
    """A square of a colour, RGB 0..255."""
    return tag("i", class_="swatch", style="background:#{:02x}{:02x}{:02x}".format(*colour))


def picture(folder: Path, name: str, alt: str, *caption: str, loading: str = "eager") -> Html | None:
    """A picture below the folder, linked to itself at full size; None if there is none.

    Args:
        name: its path from the folder, `/` between parts.
        caption: below it.
        loading: `lazy` where there are many.
    """
    path = PurePosixPath(name)
    try:
        if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
            return None
        with Image.open(folder / path) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    address = quote(str(path), safe="/")
    shown = tag("img", src=address, alt=alt, width=width, height=height, loading=loading)
    return tag("figure", tag("a", shown, href=address), tag("figcaption", *caption))


def histogram(values: Sequence[float], *, bins: int, label: str) -> Html:
    """A drawing of how percentages are spread from 0 to 100, with a dashed line at the median.

    Args:
        values: at least one.
        label: what it shows, for readers that do not see it.
    """
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value * bins / 100)))] += 1
    left, floor, width, height = 10, 96, 300, 84
    step = width / bins
    drawn = []
    for i, count in enumerate(counts):
        high = height * count / max(counts)
        what = tag("title", f"{100 * i / bins:g} to {100 * (i + 1) / bins:g} %: {count:,} images")
        box = {"x": f"{left + i * step + 0.75:.2f}", "y": f"{floor - high:.1f}"}
        drawn.append(tag("rect", what, **box, width=f"{step - 1.5:.2f}", height=f"{high:.1f}", rx="1"))
    middle = f"{left + width * median(values) / 100:.1f}"
    drawn.append(tag("line", x1=left, y1=floor, x2=left + width, y2=floor))
    drawn.append(tag("line", x1=middle, y1=4, x2=middle, y2=floor, class_="median"))
    for at in range(0, 101, 20):
        drawn.append(tag("text", str(at), x=f"{left + width * at / 100:g}", y=floor + 13, text_anchor="middle"))
    return tag("svg", *drawn, viewBox="0 0 320 114", role="img", aria_label=label)


def folded(summary: str, *inside: str) -> Html:
    """What is opened by a click."""
    return tag("details", tag("summary", summary), *inside)


def facts(pairs: Sequence[tuple[str, str]]) -> Html:
    """Names and what they are."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def bars(what: str, names: Sequence[str], columns: Mapping[str, Sequence[float | None]], *, caption: str) -> Html:
    """A row of bars for each name, the best of each row in bold."""
    rows = []
    for i, name in enumerate(names):
        values = [column[i] for column in columns.values()]
        best = best_of(values)
        rows.append([th(name, scope="row"), *(bar(v, best=best is not None and v == best) for v in values)])
    return table([[th(what), *(th(name) for name in columns)]], rows, caption=caption)


def plain(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def grouped(things: Iterable[Thing], key: Callable[[Thing], Key]) -> list[tuple[Key, list[Thing]]]:
    """Those that have a key in common, keys and things in the order they come."""
    found: dict[Key, list[Thing]] = {}
    for thing in things:
        found.setdefault(key(thing), []).append(thing)
    return list(found.items())
