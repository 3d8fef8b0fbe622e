"""An executor of actors of a Ray cluster (docs.ray.io): `pip install "earthwords[cluster]"`."""

from __future__ import annotations

import logging
import re
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from earthwords.errors import UsageError
from earthwords.jobs.executor import (  # fmt: skip
    ATTEMPTS,
    POLL_S,
    Beat,
    Executor,
    Function,
    InFlight,
    Place,
    check_deaths,
    nowhere,
)
from earthwords.jobs.job import Done, Worker

LOCAL = "local"
"""The address that starts a cluster of this machine alone."""

ANSWER_S = 10.0
"""Seconds in which the head of a cluster must take a connection."""

_HOST_AND_PORT = re.compile(r"(?:ray://)?([^/:\[\]]+):(\d+)")


class Cluster(Executor):
    """Actors that hold the model; one that dies, alone or with its node, is started again and its parts repeated.

    At most two tasks an actor are asked for at once, so the object store never holds more than those.
    """

    def __init__(self, address: str, workers: int, *, gpu: bool = False) -> None:
        """
        Args:
            address: such as `auto` or `ray://head:10001`, or `local`.
            workers: actors.
            gpu: each has a GPU of its own, instead of a core.

        Raises:
            UsageError: Ray is not installed, or there is no such cluster.
        """
        self.workers = workers
        self._ray, self._own = _connected(address)
        resources: dict[str, Any] = {"num_gpus": 1} if gpu else {"num_cpus": 1}
        actor = self._ray.remote(**resources, max_restarts=-1, max_task_retries=ATTEMPTS - 1)(Worker)
        self._actors = [actor.remote(cores=None if gpu else 1) for _ in range(workers)]
        self._load = [0] * workers
        self._lock = threading.Lock()

    def run(
        self, function: Function, tasks: Iterable[Any], *, beat: Beat = lambda: None, place: Place = nowhere
    ) -> Iterator[Done]:
        """See `Executor`."""
        flight: InFlight[Any] = InFlight(tasks, workers=self.workers)
        sent = self._ray.put(function)
        waiting: dict[Any, tuple[int, int, Any]] = {}
        try:
            while True:
                while (following := flight.send()) is not None:
                    number, task = following
                    actor = self._least()
                    waiting[self._actors[actor].call.remote(sent, task)] = number, actor, task
                if flight.is_over:
                    return
                for reference in self._ray.wait(list(waiting), timeout=POLL_S)[0]:
                    number, actor, task = waiting.pop(reference)
                    self._load[actor] -= 1
                    try:
                        result = self._ray.get(reference)
                    except self._ray.exceptions.RayActorError:
                        check_deaths(ATTEMPTS, place(task))
                        raise
                    except self._ray.exceptions.RayTaskError as error:
                        raise error.cause from None
                    flight.done(number)
                    yield number, result
                beat()
        finally:
            for reference, (_, actor, _) in waiting.items():
                self._load[actor] -= 1
                if self._actors:  # else closed, and Ray knows of nothing any more
                    self._ray.cancel(reference)

    def pids(self) -> list[int]:
        """Process ids of the actors."""
        return list(self._ray.get([actor.pid.remote() for actor in self._actors]))

    def _least(self) -> int:
        """The actor with the fewest parts, which now has one more."""
        with self._lock:
            place = min(range(self.workers), key=self._load.__getitem__)
            self._load[place] += 1
            return place

    def close(self) -> None:
        """End the actors, and the cluster if it was started for them."""
        while self._actors:
            self._ray.kill(self._actors.pop())
        if self._own:
            self._ray.shutdown()


def _connected(address: str) -> tuple[Any, bool]:
    """Ray, connected, and whether that was done here."""
    try:
        import ray
    except ImportError as error:
        raise UsageError('A cluster needs Ray: pip install "earthwords[cluster]".') from error
    if ray.is_initialized():
        return ray, False
    _check_answers(address)
    local: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {"address": address}
    try:
        with _own_signals():
            ray.init(**local, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _silent(address, " ".join(str(error).split()).rstrip(".")) from error
    return ray, True


def _check_answers(address: str) -> None:
    """Raise a `UsageError` if nobody listens at HOST:PORT, which Ray itself tries again for minutes."""
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _silent(address, getattr(error, "strerror", None) or str(error)) from error


def _silent(address: str, reason: str) -> UsageError:
    return UsageError(f"No Ray cluster answers at {address!r} ({reason}); start one, or use `local`.")


@contextmanager
def _own_signals() -> Iterator[None]:
    """SIGTERM means afterwards what it meant before: Ray puts a handler of its own there that aborts the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
