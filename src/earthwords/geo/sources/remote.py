"""Rasters on servers, read by a process of its own.

GDAL waits for servers in ways in which it lets nothing else of Python run, not even Ctrl-C. So whatever may reach a
network is opened and read by a child of this process, which is left to itself, or ended, when nobody wants its answer.
It ends with its parent. Scenes share `MOST` children.
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords import interrupt
from earthwords.errors import EarthwordsError, SourceError, brief
from earthwords.geo.bands import Band, BandChoice
from earthwords.geo.sources.gdal_dataset import settings_around
from earthwords.geo.sources.network import public
from earthwords.types import Grid, Window

MOST = 4
"""Children at once."""

_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
from earthwords.geo.sources.reader_process import serve
serve()
"""


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What a child tells of a source that it has opened."""

    choice: BandChoice
    bands: tuple[Band, ...]
    native: Grid
    notes: tuple[str, ...]
    dtype: np.dtype[Any]
    may_hide_pixels: bool
    scaling: tuple[float, float] | None
    mask: str | None
    """The mask in words."""


@dataclass(kw_only=True)
class RemotePixels:
    """Reads a source by a child; the counterpart of `PixelSource`."""

    source: str
    how: dict[str, Any]
    """Arguments of `open_source`."""
    hidden: float | None = None
    """Share of the observed pixels that the mask hides, as far as `sample` has seen."""
    likeness: float | None = None
    """How alike the three bands are where `sample` has seen them."""
    closed: bool = False
    settings: dict[str, Any] = field(default_factory=settings_around)
    """Of the `rasterio.Env` around the call that opened it, such as keys to a bucket."""

    def __post_init__(self) -> None:
        self.facts = self._open()

    @property
    def choice(self) -> BandChoice:
        """The bands that are read."""
        return self.facts.choice

    @property
    def mask(self) -> str | None:
        """The mask in words."""
        return self.facts.mask

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Of a sensor, for a file that has none of its own."""
        return self.facts.scaling

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of `read`'s data."""
        return self.facts.dtype

    @property
    def may_hide_pixels(self) -> bool:
        """Whether any pixel could be invalid, as far as the file's header tells."""
        return self.facts.may_hide_pixels

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `PixelSource.read`."""
        found: tuple[NDArray[Any], NDArray[np.bool_]] = self._ask("read", window)
        return found

    def sample(self) -> list[NDArray[Any]]:
        """As `PixelSource.sample`."""
        values, self.hidden, self.likeness = self._ask("sample")
        return list(values)

    def files(self) -> dict[str, str]:
        """Of every local file that the source is made of: size and time of the last change."""
        found: dict[str, str] = self._ask("files")
        return found

    def date(self) -> str | None:
        """The day it was taken."""
        found: str | None = self._ask("date")
        return found

    def renew(self) -> None:
        """Open it again."""
        with suppress(EarthwordsError):
            self._ask("renew")

    def close(self) -> None:
        """Let the child forget it."""
        if not self.closed:
            self.closed = True
            self._child.release(self._number)

    def _open(self) -> SourceFacts:
        """Have it opened by a child; until that has worked, this stays with the child and the number it had."""
        child = _acquire_child()
        try:
            answer: tuple[int, SourceFacts] = child.call("open", None, (self.source, self.how, self.settings))
        except BaseException as error:
            child.release(None)
            if isinstance(error, _DiedError):
                raise self._no_answer(error) from error
            raise
        self._child, (self._number, facts) = child, answer
        return facts

    def _ask(self, what: str, *arguments: Any) -> Any:
        """The child's answer; a child that has died is replaced once."""
        if self.closed:
            raise SourceError(f"{public(self.source)} was closed; open it again with open_scene.")
        with suppress(_DiedError):
            return self._child.call(what, self._number, arguments)
        self.facts = self._open()
        try:
            return self._child.call(what, self._number, arguments)
        except _DiedError as died:
            raise self._no_answer(died) from died

    def _no_answer(self, died: _DiedError) -> SourceError:
        return SourceError(
            f"The process that reads {public(self.source)} ended without an answer ({died}); the source may be damaged."
        )


class _DiedError(Exception):
    """A child has ended without an answer."""


class _ReaderProcess:
    """A process that reads; its answers come one by one."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            # -P: a file `numpy.py` in the current folder is nobody's numpy
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.scenes = 0
        self.alive = True
        self._answers: queue.Queue[Any] = queue.Queue()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    def call(self, what: str, number: int | None, arguments: tuple[Any, ...]) -> Any:
        """An answer; whatever ends the waiting ends the child.

        Raises:
            EarthwordsError: of the child's.
            interrupt.Interrupted: nobody wants the answer any more.
        """
        with self._lock:
            if not self.alive:
                raise _DiedError("it had ended before")
            try:
                return self._call((what, number, arguments))
            except BaseException as error:
                if not isinstance(error, EarthwordsError):
                    self.end()
                raise

    def _call(self, request: Any) -> Any:
        assert self._process.stdin is not None
        try:
            pickle.dump(request, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        except OSError as error:
            raise _DiedError(brief(error)) from error
        while True:
            try:
                good, answer = self._answers.get(timeout=interrupt.POLL_S)
                break
            except queue.Empty:
                interrupt.check()
        if not good:
            raise answer
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            try:
                while True:
                    self._answers.put(pickle.load(answers))
            except Exception as error:  # the end of the pipe, or an answer that nobody understands
                if not isinstance(error, EOFError):
                    self._process.kill()  # it would be waited for without end
                self._answers.put((False, _DiedError(f"exit code {self._process.wait()}")))

    def release(self, number: int | None) -> None:
        """One scene less."""
        with suppress(_DiedError, EarthwordsError):
            if number is not None:
                self.call("close", number, ())
        _release_child(self)

    def end(self) -> None:
        """End it at once."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # of what was on its way
            if self._process.stdin is not None:
                self._process.stdin.close()


_children: list[_ReaderProcess] = []
_lock = threading.Lock()


def _acquire_child() -> _ReaderProcess:
    """The child with the fewest scenes, a new one while there are not many."""
    with _lock:
        _children[:] = [child for child in _children if child.alive]
        idle = min(_children, key=lambda child: child.scenes, default=None)
        if idle is None or (idle.scenes and len(_children) < MOST):
            idle = _ReaderProcess()
            _children.append(idle)
        idle.scenes += 1
        return idle


def _release_child(child: _ReaderProcess) -> None:
    """One scene less; one idle child is kept."""
    with _lock:
        child.scenes -= 1
        idle = [other for other in _children if other.alive and not other.scenes]
        if len(idle) > 1 and child in idle:
            child.end()


def _end_all() -> None:
    for child in _children:
        child.end()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_children.clear)  # they are another process's
