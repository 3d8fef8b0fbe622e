"""What the process does that computes views: loads the model, then answers one request after another."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
from contextlib import suppress
from typing import Any

from earthwords.jobs.threads import Stopped
from earthwords.serve.errors import problem_of

CANCELLED = 499
"""As nginx tells that the client has gone; nobody reads it."""


def work() -> None:
    """Read what is asked for, until the parent is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print is no answer
    with suppress(OSError):
        os.nice(5)  # tiles go first
    requests: queue.Queue[Any] = queue.Queue()
    cancelled: set[int] = set()
    threading.Thread(target=_take, args=(requests, cancelled), daemon=True).start()

    def answer(number: int, good: bool, value: Any) -> None:
        pickle.dump((number, good, value), answers, protocol=5)
        answers.flush()

    number, _, arguments = requests.get()
    try:
        from earthwords.serve.views.studio import Studio

        studio = Studio(**arguments)
    except Exception as error:
        answer(number, False, _told(error))
        return
    answer(number, True, None)
    while True:
        number, what, arguments = requests.get()

        def tick(done: int, number: int = number) -> None:
            if number in cancelled:
                raise Stopped

        try:
            tick(0)
            value = getattr(studio, what)(tick=tick, **arguments)
        except Stopped:
            answer(number, False, (CANCELLED, "The client has gone.", {}))
        except Exception as error:
            answer(number, False, _told(error))
        else:
            answer(number, True, value)
        cancelled.discard(number)


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
    problem = problem_of(error)
    return problem.status, problem.detail, problem.headers


def _take(requests: queue.Queue[Any], cancelled: set[int]) -> None:
    """In a thread: what comes in; wishes to cancel overtake the work."""
    try:
        while True:
            message = pickle.load(sys.stdin.buffer)
            if message[1] == "cancel":
                cancelled.add(message[0])
            else:
                requests.put(message)
    finally:
        os._exit(0)
