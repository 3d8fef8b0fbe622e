"""A job in numbered parts, a worker that computes parts, an executor that has workers compute jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias, TypeVar

import torch

from earthwords.errors import WindowError

T = TypeVar("T")
Tick: TypeAlias = Callable[[float], None]
"""Told how far the work has come: so many units since the last call."""
Done: TypeAlias = tuple[int, Any]
"""A part of a job and what became of it."""

POLL_S = 0.5
ATTEMPTS = 3
"""Times that workers may die without a part done in between: then there is too little memory, maybe."""


class Job(Protocol):
    """Work in numbered parts, each computed on its own; can be sent to another process."""

    def compute(self, worker: Worker, index: int) -> tuple[int, Any]:
        """What the bar is told when a part is done, and what became of the part."""

    def place(self, index: int) -> str:
        """Where a part lies, in words."""


class Executor(Protocol):
    """Computes jobs."""

    def compute(self, work: Job, wanted: set[int], tick: Tick) -> Iterator[Done]:
        """The parts that are wanted, in any order; `tick` is told how far they bring the job, and 0 now and then."""

    def close(self) -> None:
        """End at once; what other threads have computed fails. Once is enough."""


class Worker:
    """A process of its own, which keeps the model and the scene that it used last."""

    def __init__(self, *, cores: int | None = None, number: int = 0) -> None:
        """
        Args:
            cores: of this worker; None: all of them.
            number: among the workers of this machine, from 0.
        """
        if cores is not None:
            torch.set_num_threads(cores)
        self.number = number
        self._kept: dict[str, tuple[Any, Any]] = {}

    def compute(self, job: Job, index: int) -> tuple[int, Any]:
        """A part of a job, see `Job`."""
        return job.compute(self, index)

    def pid(self) -> int:
        """Of the process."""
        return os.getpid()

    def keep(self, kind: str, key: Any, make: Callable[[], T]) -> T:
        """What was made for `key` last time, else made anew."""
        before = self._kept.get(kind)
        if before is None or before[0] != key:
            if before is not None and hasattr(before[1], "close"):
                before[1].close()
            self._kept[kind] = key, make()
        kept: T = self._kept[kind][1]
        return kept


def check_deaths(deaths: int, work: Job, left: set[int]) -> None:
    """Raise a `WindowError` where workers died again and again without a part done."""
    if deaths >= ATTEMPTS:
        raise WindowError(
            f"Workers died {ATTEMPTS} times without a part done, at {work.place(min(left))} first; is the memory "
            "enough? Use fewer --workers."
        )
