"""The process that reads rasters on servers for another one, see `remote`."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rasterio

from earthwords.errors import EarthwordsError, SourceError, brief
from earthwords.geo.sources.network import public
from earthwords.geo.sources.opening import open_source
from earthwords.geo.sources.remote import SourceFacts

_NO_ANSWER = re.compile(r"HTTP response code on (\S+): (0|5\d\d)$")
"""In what GDAL logs."""


def serve() -> None:
    """What a child does: read what it is asked for, until its parent is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print is no answer
    requests: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_take, args=(requests,), daemon=True).start()
    served = _Served()
    while True:
        what, number, arguments = requests.get()
        try:
            answer = True, served.do(what, number, arguments)
        except EarthwordsError as error:
            answer = False, error
        except Exception as error:
            answer = False, SourceError(f"Unexpected failure while reading ({type(error).__name__}: {brief(error)}).")
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


def _take(requests: queue.Queue[Any]) -> None:
    try:
        while True:
            requests.put(pickle.load(sys.stdin.buffer))
    finally:
        os._exit(0)


@contextmanager
def _doubts() -> Iterator[list[str]]:
    """Sentences on files beside a source of which a server does not say whether they are there; GDAL does without."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            match = _NO_ANSWER.search(record.getMessage())
            if match is not None and "Retrying" not in record.getMessage():
                status = f"HTTP {match[2]}" if match[2] != "0" else "no answer in time"
                found.append(f"The server does not say whether there is {public(match[1])} ({status}): it is left out.")

    handler, log = Handler(), logging.getLogger("rasterio._env")
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)


class _Served:
    """The scenes of a child."""

    def __init__(self) -> None:
        self._scenes: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._next = 0

    def do(self, what: str, number: int | None, arguments: tuple[Any, ...]) -> Any:
        """Answer a request."""
        if what == "open":
            return self._open(*arguments)
        assert number is not None
        pixels, settings = self._scenes[number]
        if what == "close":
            del self._scenes[number]
        with rasterio.Env(**settings):
            found = getattr(pixels, what)(*arguments)
            return (found, pixels.hidden, pixels.likeness) if what == "sample" else found

    def _open(self, source: str, how: dict[str, Any], settings: dict[str, Any]) -> tuple[int, SourceFacts]:
        with rasterio.Env(**settings), _doubts() as doubts:
            opened = open_source(source, **how)
            pixels: Any = opened.pixels
            may_hide = pixels.may_hide_pixels  # for which GDAL looks for a mask
            facts = SourceFacts(
                choice=pixels.choice,
                bands=opened.bands,
                native=opened.native,
                notes=(*opened.notes, *doubts),
                dtype=pixels.dtype,
                may_hide_pixels=may_hide,
                scaling=pixels.scaling,
                mask=None if pixels.mask is None else str(pixels.mask),
            )
        self._next += 1
        self._scenes[self._next] = pixels, settings
        return self._next, facts
