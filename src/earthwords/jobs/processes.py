"""An executor of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from typing import Any

from earthwords.interrupt import Interrupted
from earthwords.jobs.job import POLL_S, Done, Job, Tick, Worker, check_deaths


class Processes:
    """Processes on this machine that share its cores; dead ones are replaced and their parts computed again.

    Several threads may have jobs computed at the same time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False
        self._forked = threading.Event()
        """Set once the fork server has given us a process: it imports torch first, for seconds."""

    def compute(self, work: Job, wanted: set[int], tick: Tick) -> Iterator[Done]:
        """See `Executor`."""
        left, deaths = set(wanted), 0
        while left:
            before, pool = len(left), self._started()
            try:
                yield from self._pooled(pool, work, left, tick)
            except BrokenProcessPool:
                self._end(pool)
                if self._closed:
                    raise
                deaths = deaths + 1 if len(left) == before else 1
                check_deaths(deaths, work, left)

    def _pooled(self, pool: ProcessPoolExecutor, work: Job, left: set[int], tick: Tick) -> Iterator[Done]:
        """Results as they come, a few parts in flight; takes them out of `left`."""
        waiting: dict[Future[Done], int] = {}
        todo, sent = iter(sorted(left)), pickle.dumps(work)
        try:
            while left:
                while len(waiting) < 2 * self.workers and (index := next(todo, None)) is not None:
                    waiting[pool.submit(_compute, sent, index)] = index
                    self._forked.set()
                for future in wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED).done:
                    index = waiting.pop(future)
                    done, result = future.result()
                    left.discard(index)
                    tick(done)
                    yield index, result
                tick(0)
        finally:
            for future in waiting:
                future.cancel()

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._closed:
                raise Interrupted
            if self._pool is None:
                cores = max(1, cores_here() // self.workers)
                context = _context()
                told = cores, context.Value("i", 0)
                self._pool = ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=told)
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
        if self._pool is not None and not self._forked.is_set():
            _end_fork_server()
        self._end(self._pool)


def _context() -> BaseContext:
    """New processes; where there are fork servers they share the time to import torch, and so does a replacement."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["earthwords.inference.segment.block"])
    return context


def _end_fork_server() -> None:
    """Let no thread wait for a process of a fork server that is still importing; the next one starts it anew."""
    server = getattr(forkserver, "_forkserver", None)  # Python has no other way to end one
    pid = getattr(server, "_forkserver_pid", None)
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


_worker: Worker | None = None
_job: tuple[bytes, Job] | None = None
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


def _compute(sent: bytes, index: int) -> tuple[int, Any]:
    global _job
    assert _worker is not None
    if _job is None or _job[0] != sent:
        _job = sent, pickle.loads(sent)
    return _worker.compute(_job[1], index)


def cores_here() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
