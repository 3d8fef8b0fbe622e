"""Every error a user can meet, and the kind of note that may become one.

A sentence says what was wrong, the value, and what to do next.

`exit_code` is what the command line returns: 2 for wrong use, 1 for a failure while working.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class EarthwordsError(Exception):
    """Base of all errors raised on purpose. The message is meant to be read by a person."""

    exit_code = 1


class UsageError(EarthwordsError, ValueError):
    """An argument is wrong: unknown name, empty vocabulary, impossible window, ..."""

    exit_code = 2


class SourceError(EarthwordsError):
    """An input cannot be read: missing, truncated, not a raster, without any valid pixel."""


class ServerError(SourceError):
    """A server does not answer in time; to ask again at once is of no use."""


class WindowError(SourceError):
    """A window cannot be read or computed, twice."""


class OutputError(EarthwordsError):
    """An output cannot be written: exists, not writable, disk full, unknown suffix."""


class WeightsError(EarthwordsError):
    """A checkpoint is missing, of the wrong shape, incomplete, or unsafe to load."""


class Caution(str):
    """A note that a result means little, or less than it seems; `--strict` makes an error of it."""

    __slots__ = ()


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """`"Did you mean 'a'?"` for the closest known name, else the list of all of them."""
    names = sorted(known)
    folded = {name.lower(): name for name in names}
    close = difflib.get_close_matches(value.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {folded[close[0]]!r}?"
    return "Known: " + ", ".join(names) + "."


def number_of(number: int, thing: str) -> str:
    """`"1 image"`, `"1,200 images"`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def some_of(names: Iterable[str], *, most: int = 8) -> str:
    """`"road, water and 12 more"`: a few of many names."""
    listed = list(names)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def unknown(kind: str, value: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is in no table."""
    return UsageError(f"Unknown {kind} {value!r}. {did_you_mean(value, known)}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the GPU has too little memory, whatever library says so."""
    what = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(
        words in what for words in ("OutOfMemory", "allocate memory", "enough memory")
    )


def brief(error: BaseException | str, *, most: int = 200) -> str:
    """The first line of a library's message, without what is not printable, and never a page of it."""
    line = next((line for line in str(error).splitlines() if line.strip()), "") or type(error).__name__
    line = "".join(c for c in line.strip() if c.isprintable()).rstrip(".")
    return line if len(line) <= most else f"{line[:most]}..."


def printable(text: str) -> str:
    """`text` for one line of a terminal: what would steer it, break the line or change its direction is escaped.

    Bytes of a file name that are no text look like `\\xe9`. Letters, signs and spaces of all languages stay.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_notes(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes, as `printable` shows them; a `Caution` stays one."""
    return tuple(note if note.isprintable() else type(note)(printable(note)) for note in notes)


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs":
        return letter
    if "\udc80" <= letter <= "\udcff":  # how Python keeps a byte that it could not decode
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


_JOINERS = "\u200c\u200d"
"""Between letters of Persian and Indian words, and in joined signs."""
