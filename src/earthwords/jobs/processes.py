"""An executor of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection, forkserver, util
from multiprocessing.context import BaseContext
from typing import Any

from earthwords.interrupt import Interrupted
from earthwords.jobs.executor import POLL_S, Beat, Executor, Function, InFlight, Place, check_deaths, nowhere
from earthwords.jobs.job import Done, Worker

LONGEST_TMPDIR = 64
"""Bytes: `multiprocessing` adds 32 to it, and a socket's name has at most 103 (macOS) or 107 (Linux)."""
ENDED_AGAIN = 100
"""Times that a fork server which was asked for a process, and does not answer, is ended."""


class Processes(Executor):
    """Processes on this machine that share its cores; dead ones are replaced and their tasks computed again."""

    def __init__(self, workers: int, *, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self.preload = preload
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False
        self._asked = threading.Event()
        """Set once the fork server is asked for a process: it imports for seconds first."""
        self._answered = threading.Event()
        """Set once it has given us one, or failed to."""

    def run(
        self, function: Function, tasks: Iterable[Any], *, beat: Beat = lambda: None, place: Place = nowhere
    ) -> Iterator[Done]:
        """See `Executor`."""
        flight, deaths, sent = InFlight(tasks, workers=self.workers), 0, pickle.dumps(function)
        while not flight.is_over:
            before, pool = flight.finished, self._started()
            try:
                yield from self._pooled(pool, sent, flight, beat)
            except BrokenProcessPool:
                self._end(pool)
                if self._closed:
                    raise
                deaths = deaths + 1 if flight.finished == before else 1
                check_deaths(deaths, place(flight.oldest))
                flight.lost()

    def _pooled(self, pool: ProcessPoolExecutor, sent: bytes, flight: InFlight[Any], beat: Beat) -> Iterator[Done]:
        """Results as they come, a few tasks in flight."""
        waiting: dict[Future[Any], int] = {}
        try:
            while True:
                while (following := flight.send()) is not None:
                    number, task = following
                    self._asked.set()
                    try:
                        waiting[pool.submit(_call, sent, task)] = number
                    finally:
                        self._answered.set()
                if flight.is_over:
                    return
                for future in wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED).done:
                    number = waiting.pop(future)
                    result = future.result()
                    flight.done(number)
                    yield number, result
                beat()
        finally:
            for future in waiting:
                future.cancel()

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._closed:
                raise Interrupted
            if self._pool is None:
                cores = max(1, cores_here() // self.workers)
                context = _context(self.preload)
                start = cores, context.Value("i", 0)
                self._pool = ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=start)
            return self._pool

    def _end(self, pool: ProcessPoolExecutor | None) -> None:
        """Make an end of a pool that is broken or not wanted any more."""
        with self._lock:
            if pool is None or pool is not self._pool:
                return
            self._pool = None
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.kill()  # what they are at is not wanted any more
        pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """See `Executor`."""
        with self._lock:
            self._closed = True
        for _ in range(ENDED_AGAIN):
            if not self._asked.is_set() or self._answered.is_set():
                break
            _end_fork_server()  # it may start only after this
            self._answered.wait(0.05)
        self._end(self._pool)


def _context(preload: Sequence[str]) -> BaseContext:
    """New processes; where there are fork servers they share the time to import, and so does a replacement."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    _leave_room_for_sockets()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _leave_room_for_sockets() -> None:
    """Names of sockets are short by law of the system: those of a long $TMPDIR lie in /tmp."""
    if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_TMPDIR:
        return
    before = tempfile.tempdir
    try:
        tempfile.tempdir = "/tmp"
        with suppress(OSError):
            util.get_temp_dir()  # which is remembered
    finally:
        tempfile.tempdir = before


def _end_fork_server() -> None:
    """Let no thread wait for a process of a fork server that is still importing; the next one starts it anew."""
    server = getattr(forkserver, "_forkserver", None)  # Python has no other way to end one
    pid = getattr(server, "_forkserver_pid", None)
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


_worker: Worker | None = None
_function: tuple[bytes, Function] | None = None
"""As it was sent, and unpacked."""


def _start(cores: int, started: Any) -> None:
    """Make a process a worker that ends with its parent, and leaves Ctrl-C to it.

    Args:
        started: shared number of the workers so far.
    """
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    _worker = Worker(cores=cores, number=number)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _call(sent: bytes, task: Any) -> Any:
    global _function
    assert _worker is not None
    if _function is None or _function[0] != sent:
        _function = sent, pickle.loads(sent)
    return _worker.call(_function[1], task)


def cores_here() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
