"""How a run ends when it is asked to while it waits for something outside, such as a server.

The main thread gets `KeyboardInterrupt` (or what the command line makes of SIGTERM) at once. Threads that wait for
something for the main thread do not; they look at `requested` and at their own `stop` now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

POLL_S = 0.1
"""How often a thread that waits looks whether it still should."""

requested = threading.Event()
"""The command line was asked to end."""

_local = threading.local()


class Interrupted(BaseException):
    """Nobody wants any more what this thread waits for."""


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """What this thread waits for in the block is given up once `stop` is set."""
    before = getattr(_local, "stop", None)
    _local.stop = stop
    try:
        yield
    finally:
        _local.stop = before


def check() -> None:
    """Raise `Interrupted` if this thread should not wait any more; the main thread gets an exception of its own."""
    stop = getattr(_local, "stop", None)
    ending = requested.is_set() and threading.current_thread() is not threading.main_thread()
    if ending or (stop is not None and stop.is_set()):
        raise Interrupted
