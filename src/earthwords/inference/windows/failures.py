"""What went wrong with windows, and what is done about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from earthwords.errors import SourceError, UsageError, WindowError, is_out_of_memory
from earthwords.types import Grid, Window

ON_ERROR = ("stop", "nodata")

T = TypeVar("T")


@dataclass(kw_only=True)
class FailurePolicy:
    """Keeps what happened while a scene was worked on; shared by threads."""

    on_error: str = "stop"
    """What a window that fails twice does: `stop` everything, or leave `nodata`."""
    failures: list[str] = field(default_factory=list)
    """A sentence for every part that was left out."""
    ranks: list[int] = field(default_factory=list)
    """Channels that were upsampled, for every window of a linear upsampler that does not keep all energy."""
    presence: list[dict[int, float]] = field(default_factory=list)
    """For every window the probability that a class is there at all, by its label, where a network tells it."""

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise UsageError(f"What to do on errors is one of {', '.join(ON_ERROR)}, not {self.on_error!r}.")

    def twice(self, work: Callable[[], T], *, where: Callable[[], str]) -> T | None:
        """What `work` gives at its first or second try; None if both fail and failures are allowed.

        Raises:
            WindowError: both fail and failures are not allowed.
            MemoryError and the like: as they are, at once; smaller batches help, another try does not.
        """
        try:
            return work()
        except Exception as error:
            if is_out_of_memory(error):
                raise
        try:
            return work()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.record(error, where=where())
            return None

    def record(self, error: Exception, *, where: str) -> None:
        """Record a failure, or raise it where that is not allowed."""
        unreadable = isinstance(error, SourceError)
        if self.on_error == "stop":
            if unreadable:
                raise WindowError(f"{str(error).rstrip('.')}; or go on without it: --on-error nodata.") from error
            raise WindowError(
                f"The window at {where} failed twice ({_reason(error)}); go on without it by --on-error nodata."
            ) from error
        sentence = f"{where}: {'cannot be read' if unreadable else _reason(error)}"
        self.add([sentence])

    def add(self, sentences: Iterable[str]) -> None:
        """What was left out elsewhere, such as by a worker; each sentence is kept once."""
        self.failures.extend(sentence for sentence in dict.fromkeys(sentences) if sentence not in self.failures)


def largest(presence: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """Of every class over all windows."""
    found: dict[int, float] = {}
    for window in presence:
        for label, value in window.items():
            found[label] = max(value, found.get(label, 0.0))
    return dict(sorted(found.items()))


def from_the_top(failures: Iterable[str]) -> tuple[str, ...]:
    """In the order in which their places lie in the scene, whoever met them first."""

    def numbers(sentence: str) -> tuple[list[int], str]:
        return [int(number) for number in re.findall(r"\d+", sentence.partition(" of ")[0])], sentence

    return tuple(sorted(failures, key=numbers))


def _reason(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def place(grid: Grid, window: Window) -> str:
    """Where a window lies, in pixels and on the map."""
    x, y = grid.transform @ (window.col + window.width / 2, window.row + window.height / 2)
    pixels = (
        f"rows {window.row}..{window.row_stop}, columns {window.col}..{window.col_stop} of {grid.height} x {grid.width}"
    )
    return pixels if grid.crs is None else f"{pixels} (around x {x:.10g}, y {y:.10g})"
