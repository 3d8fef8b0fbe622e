"""What a run tells a person: one line at a time, and a bar with rate and time left. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Report = Callable[[int, int], None]

LINE_EVERY_S = 30.0
"""Between the lines that stand in for a bar where nobody watches, such as in a log file."""


class Talk:
    """Says things unless asked to be quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def say(self, sentence: str) -> None:
        """One line."""
        if not self.quiet:
            print(sentence, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, what: str, total: int, *, unit: str) -> Iterator[Bar]:
        """A progress bar; it is called with the number of units done since the last call."""
        if self.quiet:
            yield Bar()
        elif not sys.stderr.isatty():
            yield _Lines(self, what, total, unit)
        else:
            with _rich_bar(unit) as progress:
                yield _Rich(progress, what, total)

    @contextmanager
    def download(self, what: str) -> Iterator[Report]:
        """A bar over megabytes; the function it yields takes the bytes done and the bytes in all, 0 if unknown."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        with _rich_bar("MB") as progress:
            task = progress.add_task(what, total=None)

            def report(done: int, total: int) -> None:
                progress.update(task, completed=done / 1e6, total=total / 1e6 if total else None)

            yield report


class Bar:
    """Progress that nobody sees."""

    def __call__(self, done: float) -> None:
        """So many units were done since the last call."""

    def skip(self, units: float) -> None:
        """So many units need not be done: they count neither as done nor as left."""


class _Rich(Bar):
    """Progress as a bar."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self.progress, self.total = progress, max(1.0, total)
        self.task = progress.add_task(what, total=self.total)

    def __call__(self, done: float) -> None:
        self.progress.advance(self.task, done)

    def skip(self, units: float) -> None:
        self.total = max(1.0, self.total - units)
        self.progress.update(self.task, total=self.total)


class _Lines(Bar):
    """Progress as a line every now and then."""

    def __init__(self, talk: Talk, what: str, total: int, unit: str) -> None:
        self.talk = talk
        self.what, self.total, self.unit = what, max(1.0, total), unit
        self.done = 0.0
        self.began = self.told = time.monotonic()

    def __call__(self, done: float) -> None:
        self.done += done
        now = time.monotonic()
        if now - self.told < LINE_EVERY_S or not self.done:
            return
        self.told = now
        rate = self.done / (now - self.began)
        left = (self.total - self.done) / rate
        self.talk.say(
            f"{self.what}: {self.done / self.total:.0%}, {_rate(rate, self.unit)}, about {duration(left)} left"
        )

    def skip(self, units: float) -> None:
        self.total = max(1.0, self.total - units)


def _rate(rate: float, unit: str) -> str:
    """Such as `3.2 windows/s`, or `1.5 windows/min` for what takes long."""
    return f"{rate:,.1f} {unit}/s" if rate >= 0.1 else f"{60 * rate:,.1f} {unit}/min"


def duration(seconds: float) -> str:
    """Such as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _rich_bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task) -> Text:  # type: ignore[no-untyped-def]
            return Text(_rate(task.speed, unit) if task.speed else "", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
