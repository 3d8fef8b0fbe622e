"""Long work as a job in numbered parts, and the worker that computes a part."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Tick: TypeAlias = Callable[[float], None]
"""Told how far the work has come: so many units since the last call."""
Done: TypeAlias = tuple[int, Any]
"""A part of a job and its result."""


class Job(Protocol):
    """Work in numbered parts, each computed on its own; can be pickled."""

    def compute(self, worker: Worker, index: int) -> tuple[float, Any]:
        """How far the bar goes when a part is done, and the result of the part."""

    def place(self, index: int) -> str:
        """Where a part lies, in words."""


class Worker:
    """Who computes parts, one after another: a process, or an actor of a cluster. It keeps what it loaded last."""

    def __init__(self, *, cores: int | None = None, number: int = 0) -> None:
        """
        Args:
            cores: of this worker; None: all of them.
            number: among the workers of this machine, from 0.
        """
        if cores is not None:
            _limit_cores(cores)
        self.number = number
        self._kept: dict[str, tuple[Any, Any]] = {}

    def call(self, function: Callable[[Worker, Any], Any], task: Any) -> Any:
        """What the function makes of a task."""
        return function(self, task)

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


def _limit_cores(cores: int) -> None:
    """Of this process, whether torch is loaded yet or not."""
    os.environ["OMP_NUM_THREADS"] = str(cores)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(cores)
