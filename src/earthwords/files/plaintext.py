"""Text in files and for other programs: always UTF-8, whatever the locale, and harmless wherever it is shown."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any

from earthwords.files.reading import read_bytes

MOST_BYTES = 2**26
"""No list of words or files is larger; a raster given by mistake is."""

_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What JSON may hold as it is, but which steers a terminal, changes the direction of a line, or is no text."""
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Unreadable(ValueError):
    """Why a text file cannot be read, in words that follow a colon: `it does not exist`."""


def read_text(path: str | Path, *, most: int | None = MOST_BYTES) -> str:
    """A text file: UTF-8, or what says at its beginning that it is UTF-16, as some programs write it.

    Args:
        most: bytes; None: any number.

    Raises:
        Unreadable: there is no regular file, it is too large, or no such text.
    """
    data = _read(path, most)
    try:
        return _decoded(data)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(f"line {line} is not UTF-8 text; save it as UTF-8") from error


def read_names(path: str | Path) -> list[str]:
    """The lines of a list of paths. One that is not UTF-8 is taken as the system gives it: it may be a file's name.

    Raises:
        Unreadable: as `read_text`.
    """
    data = _read(path)
    try:
        text = _decoded(data)
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
    return [line.strip(" \t\r") for line in text.split("\n")]


def _read(path: str | Path, most: int | None = MOST_BYTES) -> bytes:
    """The bytes of a regular file that looks like text."""
    try:
        data = read_bytes(path, most=most)
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from error
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if b"\0" in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unreadable("it is not a text file")
    return data


def _decoded(data: bytes) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that is readable in any language; what could steer a terminal, and bytes of names, stay escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """`json_text` and a line break, as UTF-8."""
    path.write_text(json_text(value, indent=indent) + "\n", encoding="utf-8")


def utf8(text: str) -> str:
    """`text` for formats that take nothing but UTF-8: bytes of names that are none are escaped."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_cell(value: Any) -> Any:
    """A cell of a table for spreadsheets, which take text that begins with `= + - @` for a formula and run it.

    Such text gets an apostrophe in front, as one types it there; numbers stay numbers.
    """
    if not isinstance(value, str):
        return value
    text = utf8(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
