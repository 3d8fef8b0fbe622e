"""What a run tells: one line at a time, and a bar with rate and time left. All on stderr, as text or as events."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from earthwords.compiling import listen_to_compiling
from earthwords.errors import Caution, printable
from earthwords.jobs import events

if TYPE_CHECKING:
    from rich.progress import Progress

Report = Callable[[int, int], None]

LINE_EVERY_S = 30.0
"""Between the lines that stand in for a bar where nobody watches, such as in a log file."""
EVENT_EVERY_S = 0.5
"""Between two events of one bar; the first and the last always come."""
COMPILING, WRITING = "compiling, first run only", "writing"


@contextmanager
def going_on(sentence: Callable[[], str]) -> Iterator[None]:
    """After a failure or Ctrl-C tell from where the same command goes on; an empty sentence: from nowhere."""
    try:
        yield
    except BaseException as error:
        note = sentence()
        if note:
            error.add_note(note)
        raise


class Console:
    """Says things unless asked to be quiet."""

    def __init__(self, *, quiet: bool, verbose: bool = False) -> None:
        self.quiet, self.verbose = quiet, verbose
        self._noted: set[str] = set()

    def say(self, sentence: str) -> None:
        """One line. A stream that is closed or full does not end the work."""
        if self.quiet:
            return
        if (told := events.current()) is not None:
            told.say(sentence)
        elif sys.stderr is not None:
            with suppress(OSError, ValueError):
                print(printable(sentence), file=sys.stderr, flush=True)

    def detail(self, sentence: str) -> None:
        """One line for those who asked how it is computed."""
        if self.verbose:
            self.say(sentence)

    def outputs(self, paths: Mapping[str, Path], failures: Sequence[str] = ()) -> None:
        """What was written, and what was left out."""
        told = None if self.quiet else events.current()
        for kind, path in paths.items():
            if told is None:
                self.say(f"{kind}: {path}")
            else:
                told.output(kind, path)
        for failure in failures:
            self.left_out(failure)

    def left_out(self, failure: str) -> None:
        """One of many that the result lacks, and why."""
        told = None if self.quiet else events.current()
        if told is None:
            self.say(f"Left out: {failure}")
        else:
            told.note(Caution(f"Left out: {failure}"))

    def notes(self, notes: Iterable[str]) -> None:
        """A line for each that was not said before."""
        told = None if self.quiet else events.current()
        for note in notes:
            if note in self._noted:
                continue
            self._noted.add(note)
            if told is None:
                self.say(f"{'Caution' if isinstance(note, Caution) else 'Note'}: {note}")
            else:
                told.note(note)

    @contextmanager
    def bar(self, what: str, total: int, *, unit: str) -> Iterator[Bar]:
        """A progress bar; it is called with the number of units done since the last call."""
        if not self.quiet and (told := events.current()) is not None:
            with _Told(told, what, total, unit) as bar, listen_to_compiling(bar.compiling):
                yield bar
            return
        if self.quiet or not events.has_bars():
            yield Bar()
            return
        if sys.stderr.isatty():
            with _rich_bar(unit) as progress:
                shown = _Rich(progress, what, total)
                with listen_to_compiling(shown.compiling):
                    yield shown
            return
        lines = _Lines(self, what, total, unit)
        with listen_to_compiling(lines.compiling):
            yield lines

    @contextmanager
    def download(self, what: str) -> Iterator[Report]:
        """A bar over megabytes; the function it yields takes the bytes done and the bytes in all, 0 if unknown."""
        if not self.quiet and (told := events.current()) is not None:
            with _Told(told, what, None, "MB") as bar:
                yield _in_megabytes(bar)
            return
        if self.quiet or not events.has_bars() or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        with _rich_bar("MB") as progress:
            yield _in_megabytes(_Rich(progress, what, None))


class Bar:
    """Progress that nobody sees."""

    def __call__(self, done: float) -> None:
        """So many units were done since the last call."""

    def skip(self, units: float) -> None:
        """So many units need not be done: they count neither as done nor as left."""

    def writing(self) -> None:
        """All units are done; what was made is being written."""

    def compiling(self, begins: bool) -> None:
        """Loops are being compiled, or are not any more: that time says nothing about the rest."""


class _Pace(Bar):
    """Units, and the time that they took without the time of compiling."""

    def __init__(self, total: float | None) -> None:
        self.total = None if total is None else max(1.0, total)
        self.done = 0.0
        self.began = time.monotonic()
        self._lost, self._since, self._depth = 0.0, 0.0, 0
        self._lock = threading.Lock()

    def __call__(self, done: float) -> None:
        with self._lock:
            self.done += done

    def skip(self, units: float) -> None:
        if self.total is not None:
            self.total = max(1.0, self.total - units)

    def compiling(self, begins: bool) -> None:
        with self._lock:  # loops compile each other, and several threads may wait for it
            self._depth += 1 if begins else -1
            if begins and self._depth == 1:
                self._since = time.monotonic()
            elif not begins and self._depth == 0:
                self._lost += time.monotonic() - self._since

    @property
    def is_compiling(self) -> bool:
        return self._depth > 0

    @property
    def rate(self) -> float | None:
        """Units a second; None: nothing is done yet."""
        lost = self._lost + (time.monotonic() - self._since if self._depth else 0.0)
        seconds = time.monotonic() - self.began - lost
        return self.done / seconds if self.done and seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds; None: nobody can know."""
        if self.is_compiling or self.total is None or self.rate is None:
            return None
        return max(0.0, self.total - self.done) / self.rate

    def reach(self, done: float, total: float | None) -> None:
        """So many units are done of so many."""
        self.done, self.total = done, total


def _in_megabytes(bar: _Pace) -> Report:
    def report(done: int, total: int) -> None:
        bar.reach(done / 1e6, total / 1e6 if total else None)

    return report


class _Told(_Pace):
    """Progress as events."""

    def __init__(self, told: events.Events, what: str, total: float | None, unit: str) -> None:
        super().__init__(total)
        self.told, self.what, self.unit = told, what, unit
        self.total = total  # an empty job has a total of 0
        self._told_at, self._last, self._waits = self.began, (-1.0, total), False

    def __enter__(self) -> Self:
        self._tell()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._last != (self.done, self.total):
            self._tell()

    def __call__(self, done: float) -> None:
        super().__call__(done)
        self._tell_in_time()

    def reach(self, done: float, total: float | None) -> None:
        super().reach(done, total)
        self._tell_in_time()

    def writing(self) -> None:
        if self._last != (self.done, self.total):
            self._tell()
        self.told.emit("progress", what=WRITING, done=0, total=None, unit=self.unit, rate=None, left_s=None)

    def compiling(self, begins: bool) -> None:
        super().compiling(begins)
        if begins and not self._waits:
            self._waits = True
            self.told.say(COMPILING)

    def _tell_in_time(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= EVENT_EVERY_S:
            self._told_at = now
            self._tell()

    def _tell(self) -> None:
        self._last = self.done, self.total
        self.told.emit(
            "progress", what=printable(self.what), done=_plain(self.done), total=_plain(self.total), unit=self.unit,
            rate=_plain(self.rate), left_s=_plain(self.left),
        )  # fmt: skip


def _plain(value: float | None) -> float | int | None:
    """A number without digits that say nothing."""
    if value is None or float(value).is_integer():
        return None if value is None else int(value)
    return float(f"{value:.4g}") if value < 1000 else round(value, 1)


class _Rich(_Pace):
    """Progress as a bar."""

    def __init__(self, progress: Progress, what: str, total: float | None) -> None:
        super().__init__(total)
        self.progress = progress
        self.task = progress.add_task(printable(what), total=self.total, pace=self)

    def __call__(self, done: float) -> None:
        super().__call__(done)
        self.progress.update(self.task, completed=self.done)

    def reach(self, done: float, total: float | None) -> None:
        super().reach(done, total)
        self.progress.update(self.task, completed=done, total=total)

    def skip(self, units: float) -> None:
        super().skip(units)
        self.progress.update(self.task, total=self.total)

    def writing(self) -> None:
        self.progress.update(self.task, description=WRITING, total=None, pace=None)


class _Lines(_Pace):
    """Progress as a line every now and then."""

    def __init__(self, console: Console, what: str, total: int, unit: str) -> None:
        super().__init__(total)
        self.console, self.what, self.unit = console, what, unit
        self.line_at = self.began

    def __call__(self, done: float) -> None:
        super().__call__(done)
        now = time.monotonic()
        if now - self.line_at < LINE_EVERY_S or self.rate is None or self.total is None:
            return
        self.line_at = now
        left = COMPILING if self.left is None else f"about {duration(self.left)} left"
        self.console.say(f"{self.what}: {self.done / self.total:.0%}, {_rate(self.rate, self.unit)}, {left}")

    def writing(self) -> None:
        if self.line_at > self.began:  # a short run leaves a log file empty
            self.console.say(WRITING)


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
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        """Rate and time left, or why nobody can know."""

        def render(self, task: Any) -> Text:
            pace = task.fields.get("pace")
            if pace is None:
                return Text("")
            if pace.is_compiling:
                return Text(COMPILING, style="progress.remaining")
            if pace.rate is None:
                return Text("")
            left = "" if pace.left is None else f", {duration(pace.left)} left"
            return Text(f"{_rate(pace.rate, unit)}{left}", style="progress.data.speed")

    class Share(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text("" if task.total is None else f"{task.percentage:>3.0f}%", style="progress.percentage")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Share(),
        Pace(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
