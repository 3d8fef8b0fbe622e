"""Standard streams that may be closed, full, gone, or of a narrow encoding: what is told never ends what is done."""

from __future__ import annotations

import codecs
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from earthwords.errors import printable


class Stream:
    """A text stream that never raises: what cannot be encoded is escaped, and the first failure is kept for later."""

    failure: OSError | ValueError | None = None

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write, as far as the stream takes it."""
        if self.failure is None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                narrow = self.stream.encoding or "ascii"
                return self.write(text.encode(narrow, "backslashreplace").decode(narrow))
            except (OSError, ValueError) as error:
                self.failure = error
        return len(text)

    def flush(self) -> None:
        """Flush, as far as the stream takes it."""
        if self.failure is None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.failure = error

    @property
    def is_wide(self) -> bool:
        """Whether it takes letters of every language."""
        with suppress(LookupError):
            return codecs.lookup(self.stream.encoding or "ascii").name.startswith("utf")
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def record(self) -> None:
        """After a failure: what is still held back goes nowhere, so that the end of the process is quiet."""
        if self.failure is not None:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextmanager
def standard_streams() -> Iterator[tuple[Stream, Stream]]:
    """`sys.stdout` and `sys.stderr` as a `Stream` each, and warnings of libraries as one line."""
    before = sys.stdout, sys.stderr, warnings.showwarning
    out, err = (Stream(stream if stream is not None else _nowhere()) for stream in before[:2])
    sys.stdout, sys.stderr, warnings.showwarning = out, err, _warn
    try:
        yield out, err
    finally:
        sys.stdout, sys.stderr, warnings.showwarning = before
        for stream in (out, err):
            stream.flush()
            stream.record()


def occupy_standard_files() -> None:
    """A closed standard stream leaves its number to the next file that is opened, and others would write there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def begin_in_utf8() -> None:
    """Where the locale is not UTF-8, begin again in Python's UTF-8 mode: names and words are UTF-8 on every disk.

    https://docs.python.org/3/library/os.html#utf8-mode
    """
    is_utf8 = codecs.lookup(sys.getfilesystemencoding()).name == "utf-8"
    named = "utf8" in sys._xoptions  # also for `-X utf8=0`, of which `sys.flags` says nothing
    if is_utf8 or named or os.name == "nt" or not sys.executable:
        return
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    print(printable(f"{category.__name__}: {message}"), file=sys.stderr)
