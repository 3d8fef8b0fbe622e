"""Standard error for events alone: what libraries and other processes write there becomes events, too."""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from earthwords.cli.streams import Stream
from earthwords.jobs.events import Events

_END = b"\0nothing more is said\n"
_END_WITHIN_S = 5.0

Say = Callable[[str], None]


@contextmanager
def events_on(err: Stream, *, quiet: bool) -> Iterator[Events]:
    """Events on standard error, and nothing else.

    Args:
        err: what is `sys.stderr` now.
        quiet: what others say there goes nowhere.
    """
    with _numbered(err) as (stream, read):
        events = Events(stream)

        def say(line: str) -> None:
            if line.strip() and not quiet:
                events.say(line.rstrip())

        def warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not quiet:
                events.note(f"{category.__name__}: {message}")

        before = sys.stderr, warnings.showwarning
        sys.stderr, warnings.showwarning = _Lines(say), warn
        try:
            with _forwarding(read, say):
                yield events
        finally:
            sys.stderr, warnings.showwarning = before


class _Lines(io.TextIOBase):
    """A text stream whose lines are said."""

    def __init__(self, say: Say) -> None:
        self._say, self._begun, self._lock = say, "", threading.Lock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text.replace("\r", "\n")).split("\n")
        for line in lines:
            self._say(line)
        return len(text)


@contextmanager
def _numbered(err: Stream) -> Iterator[tuple[Stream, int | None]]:
    """Standard error under another number, and a pipe under its own: the end where all others' words come out.

    None instead of a pipe where `sys.stderr` is not the standard error of the process, such as in a notebook.
    """
    try:
        is_own = err.fileno() == 2
    except (OSError, ValueError, AttributeError):
        is_own = False
    if not is_own:
        yield err, None
        return
    err.flush()
    own = os.fdopen(os.dup(2), "w", encoding="ascii", newline="\n")
    stream = Stream(own)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    try:
        yield stream, read
    finally:
        stream.flush()
        os.dup2(own.fileno(), 2)
        os.close(read)
        with suppress(OSError, ValueError):
            own.close()


@contextmanager
def _forwarding(read: int | None, say: Say) -> Iterator[None]:
    """A thread says the lines that come out of a pipe, those that were written within the context."""
    if read is None:
        yield
        return

    def forward() -> None:
        rest = b""
        while data := os.read(read, 65536):
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if line == _END.strip(b"\n"):
                    return
                say(line.decode("utf-8", "backslashreplace"))

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(2, b"\n" + _END)
        thread.join(_END_WITHIN_S)
