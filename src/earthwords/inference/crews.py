"""Who computes the blocks: this process, several processes, or a Ray cluster (`cluster.py`). All give the same bits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from multiprocessing.context import BaseContext
from typing import Protocol, TypeAlias

from earthwords.errors import WindowError
from earthwords.geo.scene import Scene
from earthwords.inference.journal import BlockResult
from earthwords.inference.segmenter import Segmenter, Tick
from earthwords.inference.work import Work, Worker

Done: TypeAlias = tuple[int, BlockResult]
"""A block and what became of it."""

POLL_S = 0.5
ATTEMPTS = 3
"""Times that workers may die without a block done in between: then there is too little memory, maybe."""


class Crew(Protocol):
    """Computes blocks."""

    def compute(self, work: Work, wanted: set[int], tick: Tick) -> Iterator[Done]:
        """The blocks that are wanted, in any order; `tick` is told the windows done, and 0 now and then."""


class Here:
    """This process, from top to bottom."""

    def __init__(self, segmenter: Segmenter, scene: Scene) -> None:
        self.segmenter = segmenter
        self.scene = scene

    def compute(self, work: Work, wanted: set[int], tick: Tick) -> Iterator[Done]:
        for first, count in work.blocks.runs(wanted):
            for i, result in enumerate(work.run(self.segmenter, self.scene, first, count, tick)):
                yield first + i * work.blocks.across, result


class Processes:
    """Processes on this machine that share its cores; dead ones are replaced and their blocks computed again.

    Several threads may have blocks computed at the same time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def compute(self, work: Work, wanted: set[int], tick: Tick) -> Iterator[Done]:
        """See `Crew`."""
        left, deaths = set(wanted), 0
        while left:
            before, pool = len(left), self._started()
            try:
                yield from self._pooled(pool, work, left, tick)
            except BrokenProcessPool:
                self._end(pool)
                deaths = deaths + 1 if len(left) == before else 1
                check_deaths(deaths, work, left)

    def _pooled(self, pool: ProcessPoolExecutor, work: Work, left: set[int], tick: Tick) -> Iterator[Done]:
        """Results as they come, a few blocks in flight; takes them out of `left`."""
        waiting: dict[Future[tuple[int, BlockResult]], int] = {}
        todo = iter(sorted(left))
        try:
            while left:
                while len(waiting) < 2 * self.workers and (index := next(todo, None)) is not None:
                    waiting[pool.submit(_compute, work, index)] = index
                for future in wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED).done:
                    index = waiting.pop(future)
                    windows, result = future.result()
                    left.discard(index)
                    tick(windows)
                    yield index, result
                tick(0)
        finally:
            for future in waiting:
                future.cancel()

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                cores = max(1, cores_here() // self.workers)
                self._pool = ProcessPoolExecutor(self.workers, _context(), initializer=_start, initargs=(cores,))
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
        """End the processes at once."""
        self._end(self._pool)


def _context() -> BaseContext:
    """New processes; where there are fork servers they share the time to import torch, and so does a replacement."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["earthwords.inference.work"])
    return context


_worker: Worker | None = None


def _start(cores: int) -> None:
    """Make a process a worker that ends with its parent, and leaves Ctrl-C to it."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    _worker = Worker(cores=cores)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _compute(work: Work, index: int) -> tuple[int, BlockResult]:
    assert _worker is not None
    return _worker.compute(work, index)


def check_deaths(deaths: int, work: Work, left: set[int]) -> None:
    """Raise a `WindowError` where workers died again and again without a block done."""
    if deaths >= ATTEMPTS:
        first = work.blocks.window(min(left))
        raise WindowError(
            f"Workers died {ATTEMPTS} times without a block done, at row {first.row}, column {first.col} of "
            f"{work.spec.source} first; is the memory enough? Use fewer --workers."
        )


def cores_here() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
