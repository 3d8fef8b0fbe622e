"""`/metrics`: figures of the server in the text format of Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from earthwords import __version__
from earthwords.serve.errors import problems
from earthwords.serve.jobs.queue import STATES

if TYPE_CHECKING:
    from earthwords.serve.state import ServerState

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[dict[str, str], float]


def router(state: ServerState) -> APIRouter:
    """`/metrics`."""
    routes = APIRouter(tags=["server"])
    began = time.time()

    @routes.get(
        "/metrics", response_class=PlainTextResponse,
        responses={200: {"description": "Figures.", "content": {"text/plain": {}}}, **problems()},
    )  # fmt: skip
    async def get_metrics() -> PlainTextResponse:
        """Figures for Prometheus."""
        return PlainTextResponse("\n".join(lines_of(state, began)) + "\n", media_type=MEDIA_TYPE)

    return routes


def lines_of(state: ServerState, began: float) -> Iterator[str]:
    """Every figure with its help and its kind."""
    yield from _metric("earthwords_info", "gauge", "Version.", [({"version": __version__}, 1)])
    yield from _metric("earthwords_start_time_seconds", "gauge", "Unix time of the start.", [({}, began)])
    rss = resident_bytes(os.getpid())
    yield from _metric("earthwords_resident_bytes", "gauge", "Memory of the server.", _known({}, rss))
    yield from _metric("earthwords_tile_cache_bytes", "gauge", "Encoded tiles in memory.", [({}, state.tiles.bytes)])
    if (views := state.views) is not None:
        process = views.process
        told = [({"what": what}, count) for what, (count, _) in sorted(process.answered.items())]
        spent = [({"what": what}, seconds) for what, (_, seconds) in sorted(process.answered.items())]
        yield from _metric("earthwords_view_requests_total", "counter", "Answers of the process of views.", told)
        yield from _metric("earthwords_view_seconds_total", "counter", "Time until those answers.", spent)
        yield from _metric("earthwords_view_waiting", "gauge", "Requests without an answer.", [({}, process.waiting)])
        yield from _metric("earthwords_view_restarts_total", "counter", "Deaths of it.", [({}, process.restarts)])
        memory = None if process.pid is None else resident_bytes(process.pid)
        yield from _metric("earthwords_view_resident_bytes", "gauge", "Memory of that process.", _known({}, memory))
        yield from _metric("earthwords_views_held_bytes", "gauge", "Views in memory.", [({}, views.gallery.nbytes)])
    if (jobs := state.jobs) is not None:
        counts = jobs.queue.counts()
        numbers = [({"state": name}, counts.get(name, 0)) for name in STATES]
        yield from _metric("earthwords_jobs", "gauge", "Jobs by state.", numbers)
        seconds = [({"kind": kind}, value) for kind, value in sorted(jobs.seconds.items())]
        yield from _metric("earthwords_job_seconds_total", "counter", "Time of jobs that ran here.", seconds)


def resident_bytes(pid: int) -> int | None:
    """Memory of a process, where the system tells it in `/proc`."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _known(labels: dict[str, str], value: float | None) -> list[Sample]:
    return [] if value is None else [(labels, value)]


def _metric(name: str, kind: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{told}}} {value:.10g}" if told else f"{name} {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
