"""What a run tells another program: a line of JSON for each thing (`--progress json`, docs/command-line.md)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from earthwords.errors import Caution, UsageError, did_you_mean, printable

How = Literal["auto", "json", "none"]
"""Bars on a terminal and lines in a log file; events; neither bars nor lines of progress."""


class Writable(Protocol):
    """Where events go."""

    def write(self, text: str, /) -> object:
        """Take a whole line."""

    def flush(self) -> object:
        """Send it on."""


class Events:
    """Writes events, whole lines, from any thread. A stream that is closed or full does not end the work."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: str, **fields: Any) -> None:
        """One line, in ASCII: every encoding has its letters."""
        line = json.dumps({"event": event, **fields}) + "\n"
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(line)
            self._stream.flush()

    def say(self, sentence: str) -> None:
        """What happens, for a person."""
        self.emit("say", text=printable(sentence))

    def note(self, note: str) -> None:
        """What is known of the worth of a result."""
        self.emit("note", kind="caution" if isinstance(note, Caution) else "note", text=printable(note))

    def output(self, kind: str, path: Path | str) -> None:
        """A file or folder that was written."""
        self.emit("output", kind=kind, path=str(path))

    def error(self, sentence: str, code: int, traceback: str | None = None) -> None:
        """Why the run ends, and with which exit code."""
        more = {} if traceback is None else {"traceback": traceback}
        self.emit("error", text=printable(sentence), code=code, **more)


@dataclass(frozen=True)
class Shown:
    """How the consoles of this process show what they are told."""

    events: Events | None = None
    """Where events go; None: people are told instead."""
    bars: bool = True
    """Whether people see progress."""


_shown = Shown()


@contextmanager
def shown_as(shown: Shown) -> Iterator[None]:
    """How it is in a context."""
    global _shown
    before, _shown = _shown, shown
    try:
        yield
    finally:
        _shown = before


def current() -> Events | None:
    """Where events go; None: people are told instead."""
    return _shown.events


def has_bars() -> bool:
    """Whether people see progress."""
    return _shown.bars


def check_how(value: str) -> How:
    """The value of `--progress`.

    Raises:
        UsageError: there is no such one.
    """
    names: Sequence[How] = get_args(How)
    for name in names:
        if value == name:
            return name
    raise UsageError(f"--progress is auto, json or none, got {value!r}. {did_you_mean(value, names)}")
