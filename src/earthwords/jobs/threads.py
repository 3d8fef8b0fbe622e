"""Threads that compute one window each, and a thread that works ahead.

A window is always computed alone by one thread with one core, so its bits do not depend on how many threads,
windows a batch, or machines there are. Windows in parallel are as fast as threads inside a window.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import torch

from earthwords.interrupt import stoppable

In = TypeVar("In")
Out = TypeVar("Out")


class Pool:
    """Threads with one core each, unless told otherwise; a context manager."""

    def __init__(self, threads: int, *, cores: int = 1) -> None:
        self.threads = max(1, threads)
        self._executor = ThreadPoolExecutor(
            self.threads, "window", initializer=torch.set_num_threads, initargs=(cores,)
        )

    def ordered(self, function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
        """`map` that keeps the order and takes only a few items more than it has given back."""
        waiting: deque[Future[Out]] = deque()
        try:
            for item in items:
                waiting.append(self._executor.submit(function, item))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_core() -> Iterator[None]:
    """This thread computes with one core until the block ends: sums are then added in one order everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_one_core(steps: Generator[In, None, None]) -> Iterator[In]:
    """The same items; here too, as threads of a sum would only wait for the cores that compute windows."""
    try:
        while True:
            with one_core():
                item = next(steps, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        steps.close()


class Stopped(Exception):
    """Nobody wants the items any more."""


def until(stop: threading.Event, tick: Callable[[Any], None]) -> Callable[[Any], None]:
    """`tick`, which raises `Stopped` once `stop` is set."""

    def checked(done: Any) -> None:
        if stop.is_set():
            raise Stopped
        tick(done)

    return checked


_END = object()


def ahead(items: Iterable[In], *, depth: int, stop: threading.Event | None = None) -> Generator[In, None, None]:
    """The same items, made by a thread of their own that may be `depth` items ahead.

    An exception there is raised here. When this generator is closed, or interrupted, `stop` is set and the thread ends
    with its next item; what makes the items may look at `stop` to end before.
    """
    box: queue.Queue[Any] = queue.Queue(depth)
    stop = stop or threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                box.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        source = iter(items)
        try:
            with stoppable(stop):
                for item in source:
                    if not put((item, None)):
                        break
                else:
                    put((_END, None))
        except BaseException as error:
            put((_END, error))
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = box.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        thread.join()
