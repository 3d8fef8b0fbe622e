"""An executor computes tasks: this process, several processes, or a Ray cluster. All give the same bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from earthwords.errors import WindowError
from earthwords.jobs.job import Done, Job, Tick, Worker

Task = TypeVar("Task")
Result = TypeVar("Result")
Function = Callable[[Worker, Any], Any]
"""`(worker, task) -> result`; can be pickled, unless it runs here."""
Place = Callable[[Any], str]
Beat = Callable[[], None]

POLL_S = 0.5
ATTEMPTS = 3
"""Times that workers may die without a task done in between: then there is too little memory, maybe."""
AHEAD = 8
"""Tasks a worker that may be done before the oldest one that is not."""


def nowhere(task: object) -> str:
    return "a task"


class Executor(ABC):
    """Computes tasks. Several threads may ask at the same time."""

    workers: int = 1

    @abstractmethod
    def run(
        self, function: Function, tasks: Iterable[Any], *, beat: Beat = lambda: None, place: Place = nowhere
    ) -> Iterator[Done]:
        """Number and result of every task, in any order; few tasks are taken before their turn.

        Args:
            beat: called now and then while nothing is done; what it raises ends the work.
            place: where a task lies, in words, for errors.

        Raises:
            WindowError: workers died again and again.
            Exception: whatever the function raises.
        """

    @abstractmethod
    def close(self) -> None:
        """End at once; what other threads have computed fails. Once is enough."""

    def compute(self, job: Job, wanted: Iterable[int], tick: Tick) -> Iterator[Done]:
        """The parts of a job that are wanted, in any order.

        Args:
            tick: told how far they bring the job, and 0 now and then.
        """
        parts = sorted(wanted)
        for number, (done, result) in self.run(job.compute, parts, beat=lambda: tick(0), place=job.place):
            tick(done)
            yield parts[number], result

    def in_order(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """`map`: the results come in the order of the tasks."""
        return self.ordered(partial(without_worker, function), tasks)

    def ordered(self, function: Callable[[Worker, Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The same, of a function that takes the worker too."""
        return by_number(self.run(function, tasks))


def by_number(results: Iterable[Done]) -> Iterator[Any]:
    """What `Executor.run` gives, in the order of the tasks."""
    early: dict[int, Any] = {}
    turn = 0
    for number, result in results:
        early[number] = result
        while turn in early:
            yield early.pop(turn)
            turn += 1


def without_worker(function: Callable[[Any], Any], worker: Worker, task: Any) -> Any:
    """What the function makes of the task alone."""
    return function(task)


class Local(Executor):
    """This process, task after task."""

    def __init__(self) -> None:
        self.worker = Worker()

    def run(
        self, function: Function, tasks: Iterable[Any], *, beat: Beat = lambda: None, place: Place = nowhere
    ) -> Iterator[Done]:
        """See `Executor`."""
        for number, task in enumerate(tasks):
            yield number, function(self.worker, task)

    def close(self) -> None:
        """See `Executor`."""


class InFlight(Generic[Task]):
    """Tasks on their way: which one is sent next, and which are not done yet."""

    def __init__(self, tasks: Iterable[Task], *, workers: int) -> None:
        self._tasks = enumerate(tasks)
        self._most, self._ahead = 2 * workers, AHEAD * workers
        self._open: dict[int, Task] = {}
        """Taken and not done, oldest first."""
        self._sent: set[int] = set()
        self._ended = False
        self.finished = 0

    def send(self) -> tuple[int, Task] | None:
        """The next task and its number, which counts as sent; None: not now."""
        if len(self._sent) == self._most:
            return None
        again = next((number for number in self._open if number not in self._sent), None)
        if again is None and not self._ended:
            oldest = next(iter(self._open), None)
            if oldest is None or self.finished + len(self._open) < oldest + self._ahead:
                again = self._take()
        if again is None:
            return None
        self._sent.add(again)
        return again, self._open[again]

    def _take(self) -> int | None:
        for number, task in self._tasks:
            self._open[number] = task
            return number
        self._ended = True
        return None

    def done(self, number: int) -> None:
        """A task has its result."""
        del self._open[number]
        self._sent.discard(number)
        self.finished += 1

    def lost(self) -> None:
        """Whatever was sent and is not done must be sent again."""
        self._sent.clear()

    @property
    def oldest(self) -> Task:
        """Of those that are not done."""
        return next(iter(self._open.values()))

    @property
    def is_over(self) -> bool:
        """Whether all tasks are done."""
        return self._ended and not self._open


def check_deaths(deaths: int, where: str) -> None:
    """Raise a `WindowError` where workers died again and again without a task done."""
    if deaths >= ATTEMPTS:
        raise WindowError(
            f"Workers died {ATTEMPTS} times without a part done, at {where} first; is the memory enough? Use fewer "
            "--workers."
        )
