"""How long a person has waited for a command, from when its process began."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_began: float | None = None
"""When the process of a command began, by `time.perf_counter`; None for a call from Python."""


def command_begins() -> None:
    """This process runs one command, for which one has waited since the process began."""
    global _began
    _began = time.perf_counter() - _age()


def waited(since: float) -> float:
    """Seconds for which one has waited: since the process of a command began, or since `since` for a call from Python.

    Args:
        since: of `time.perf_counter`.
    """
    return time.perf_counter() - (since if _began is None else _began)


def _age() -> float:
    """Seconds since this process began; where the system does not tell, those that it has computed."""
    with suppress(OSError, ValueError, AttributeError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        if 0 <= age < 3600:  # of containers with a clock of their own it may be anything
            return age
    return time.process_time()
