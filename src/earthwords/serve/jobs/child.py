"""The child process of a job: the installed command, what it tells, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

GRACE_S = 5.0
"""From the wish to end to the end by force."""


_AFTER_A_WORD = """
import os, sys
if os.read(0, 1):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(sys.argv[1], sys.argv[1:])
"""
"""A program that becomes another once it is told to; if nobody is left to tell it, it ends."""


@dataclass(kw_only=True)
class JobChild:
    """A command that waits for `go`, or runs."""

    process: subprocess.Popen[str]
    last: list[str] = field(default_factory=list)
    """The last lines that were no events."""

    @classmethod
    def begin(cls, argv: Sequence[str]) -> JobChild:
        """Start a process that will be a command, in a group of its own so that it can be ended whole.

        It does nothing before `go`, so its number can be written down first: no command works that nobody knows of.
        """
        waiting = [sys.executable, "-I", "-S", "-c", _AFTER_A_WORD] if os.name == "posix" else []
        process = subprocess.Popen(
            [*waiting, *argv], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", errors="replace", start_new_session=True, env=environment(),
        )  # fmt: skip
        return cls(process=process)

    def go(self) -> None:
        """Let it work."""
        assert self.process.stdin is not None
        with suppress(OSError):  # it was ended
            self.process.stdin.write(".")
            self.process.stdin.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """What it tells, until it ends; other lines are kept as `last`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = event_of(line)
            if event is not None:
                yield event
            elif line.strip():
                self.last = [*self.last[-4:], line.strip()]
        self.process.wait()

    def end(self, *, grace: float = GRACE_S) -> None:
        """Ask it to end, and end it if it does not."""
        end_group(self.process.pid, gone=lambda: self.process.poll() is not None, grace=grace)


def end_group(pid: int, *, gone: Callable[[], bool], grace: float = GRACE_S) -> None:
    """SIGTERM to a process group, and SIGKILL when it is still there after `grace` seconds."""
    _signal(pid, signal.SIGTERM)
    deadline, wait = time.monotonic() + grace, threading.Event()
    while not gone() and time.monotonic() < deadline:
        wait.wait(0.05)
    if not gone():
        _signal(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def began(pid: int) -> str | None:
    """When a process began, as the system tells it; None: there is none. A number used again begins anew."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    except (OSError, IndexError):
        return None
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    return told.stdout.strip() or None


def end_left_over(pid: int | None, its_begin: str | None) -> bool:
    """End a child whose server has died, if it is still that one; whether there was one."""
    if pid is None or its_begin is None or began(pid) != its_begin:
        return False
    end_group(pid, gone=lambda: began(pid) != its_begin)
    return True


def program(module: str, *words: str) -> list[str]:
    """A module of ours as a program; `-P`: a file of its name in the current folder is none of ours."""
    return [sys.executable, "-P", "-m", module, *words]


def command(*words: str) -> list[str]:
    """The installed command."""
    return program("earthwords", *words)


def _signal(pid: int, number: int) -> None:
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def event_of(line: str) -> dict[str, Any] | None:
    """What a line of `--progress json` tells; None: it is no such line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def environment() -> dict[str, str]:
    """Of a child: as the server's, without what makes the server itself small."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    own = {name: value for name, value in os.environ.items() if name != "GDAL_CACHEMAX"}
    return {**own, "PYTHONPATH": paths}
