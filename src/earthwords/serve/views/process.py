"""The one process that computes views: it keeps the model warm, and what goes wrong in it does not take the server.

Requests and answers are pickles on its pipes. It ends with its parent, and a new one is started where it has died.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from earthwords.serve.errors import Problem, busy
from earthwords.serve.state import ServeSettings

MOST_WAITING = 8
"""Requests in all that wait for the process, the one in work among them."""
LOOK_EVERY_S = 0.25
"""How often it is asked whether the client is still there."""
LOG = logging.getLogger("earthwords.serve")

_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
from earthwords.serve.views.child import work
work()
"""
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Of the child: L-BFGS of `teach` is many small products, which threads only slow down."""


class GoneError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(kw_only=True)
class _Pending:
    """A request that waits for its answer."""

    number: int
    message: tuple[int, str, dict[str, Any]]
    answer: asyncio.Future[Any]
    sent: bool = False


@dataclass(kw_only=True)
class _Child:
    process: subprocess.Popen[bytes]
    ready: bool = False
    failure: Problem | None = None
    """Why it cannot work at all, such as weights that are missing."""
    writing: threading.Lock = field(default_factory=threading.Lock)


class ViewProcess:
    """Asks the process, one request after another; lives in the event loop."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.restarts = 0
        """Times that it had died."""
        self.answered: dict[str, tuple[int, float]] = {}
        """What was asked to how often it was answered, and the seconds until then."""
        self._child: _Child | None = None
        self._waiting: list[_Pending] = []
        self._next = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none."""
        return None if self._child is None else self._child.process.pid

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return len(self._waiting)

    def missing(self) -> str | None:
        """What is not ready yet."""
        if self._child is not None and self._child.failure is not None:
            return self._child.failure.detail.rstrip(".")
        return None if self._child is not None and self._child.ready else "the model is loading"

    async def start(self) -> None:
        """Begin to load the model; does not wait for it."""
        self._loop = asyncio.get_running_loop()
        self._child = self._begun()

    async def stop(self) -> None:
        """End the process."""
        self._stopped = True
        child, self._child = self._child, None
        if child is not None:
            child.process.kill()
            await asyncio.to_thread(child.process.wait)

    async def ask(
        self, what: str, arguments: dict[str, Any], *, gone: Callable[[], Awaitable[bool]] | None = None
    ) -> Any:
        """The answer of `Studio`'s method `what`.

        Args:
            gone: whether the client has gone; then the work is dropped.

        Raises:
            Problem: of the method, too many wait, or the process has died.
            GoneError: the client has gone.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise busy(f"{MOST_WAITING} views are waiting already; ask again in a moment.", seconds=2)
        if self._child is None:
            raise busy("The server is ending.")
        if self._child.failure is not None:
            raise self._child.failure
        assert self._loop is not None
        self._next += 1
        pending = _Pending(number=self._next, message=(self._next, what, arguments), answer=self._loop.create_future())
        self._waiting.append(pending)
        self._send_next()
        began = time.monotonic()
        try:
            while not pending.answer.done():
                await asyncio.wait({pending.answer}, timeout=LOOK_EVERY_S)
                if gone is not None and not pending.answer.done() and await gone():
                    raise GoneError
            answer = pending.answer.result()
            count, seconds = self.answered.get(what, (0, 0.0))
            self.answered[what] = count + 1, seconds + time.monotonic() - began
            return answer
        finally:
            self._drop(pending)

    def _drop(self, pending: _Pending) -> None:
        """Nobody waits for this one any more."""
        if pending in self._waiting:
            if not pending.sent:
                self._waiting.remove(pending)
            elif not pending.answer.done() and self._child is not None:
                pending.answer.cancel()
                _write(self._child, (pending.number, "cancel", {}))

    def _send_next(self) -> None:
        """The first that waits, unless one is in work."""
        if self._waiting and not self._waiting[0].sent and self._child is not None:
            self._waiting[0].sent = True
            _write(self._child, self._waiting[0].message)

    def _begun(self) -> _Child:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **_SETTINGS, "PYTHONPATH": paths},
        )  # fmt: skip
        child = _Child(process=process)
        _write(child, (0, "begin", {"settings": self.settings}))
        threading.Thread(target=self._listen, args=(child,), name="views", daemon=True).start()
        return child

    def _listen(self, child: _Child) -> None:
        """In a thread: hand on what the process says, until it has ended."""
        assert child.process.stdout is not None
        assert self._loop is not None
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                answer = pickle.load(child.process.stdout)
                self._tell(self._take, child, answer)
        self._tell(self._died, child, child.process.wait())

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *arguments)

    def _take(self, child: _Child, answer: tuple[int, bool, Any]) -> None:
        number, good, value = answer
        if number == 0:
            child.ready = good
            if not good:
                child.failure = busy(f"The model of {self.settings.preset} cannot be loaded: {value[1]}", seconds=60)
                LOG.error("%s", child.failure.detail)
                self._refuse_all(child.failure)
            return
        if not self._waiting or self._waiting[0].number != number:
            return
        pending = self._waiting.pop(0)
        if not pending.answer.done():
            if good:
                pending.answer.set_result(value)
            else:
                pending.answer.set_exception(_problem(value))
        self._send_next()

    def _died(self, child: _Child, code: int) -> None:
        """Tell who waits for an answer, and begin anew for the others."""
        if self._stopped or child is not self._child or child.failure is not None:
            return
        LOG.error("The process that computes views has ended (%s); it is started again.", code)
        self.restarts += 1
        lost = [pending for pending in self._waiting if pending.sent]
        self._waiting = [pending for pending in self._waiting if not pending.sent]
        for pending in lost:
            if not pending.answer.done():
                pending.answer.set_exception(
                    busy(f"The process that computes views has ended ({code}) and is started again.", seconds=3)
                )
        if not child.ready and not lost and self.restarts > 3:
            child.failure = busy("The process that computes views does not start; see the server's log.", seconds=60)
            self._refuse_all(child.failure)
            return
        self._child = self._begun()
        self._send_next()

    def _refuse_all(self, problem: Problem) -> None:
        for pending in self._waiting:
            if not pending.answer.done():
                pending.answer.set_exception(problem)
        self._waiting.clear()


def _write(child: _Child, message: Any) -> None:
    """The messages are small; a process that has died is noticed by who listens."""
    assert child.process.stdin is not None
    with child.writing, suppress(OSError):
        pickle.dump(message, child.process.stdin, protocol=5)
        child.process.stdin.flush()


def _problem(told: tuple[int, str, dict[str, str]]) -> Problem:
    status, detail, headers = told
    return Problem(status, detail, headers=headers)
