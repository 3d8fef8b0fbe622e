"""What all routes of a server share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from earthwords.serve.library import Library
    from earthwords.serve.tiles import TileCache

P = ParamSpec("P")
T = TypeVar("T")

LONG_THREADS = 2
TILE_THREADS = 4
"""Threads that read rasters; more of them make the server larger, not faster."""


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server was started."""

    folder: Path
    """Root of the data; nothing outside is read."""
    workspace: Path
    """Everything that the server writes."""
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    """None: nobody is asked for one."""
    hosts: tuple[str, ...] = ()
    """Further names that the server is known by, `NAME` or `NAME:PORT`."""
    preset: str = "tiny"
    device: str = "auto"
    offline: bool = False
    writes_per_s: float = 20.0
    """Requests of one client that change or compute something; five times as many at once."""
    reads_per_s: float = 1000.0
    """All other requests of one client; three times as many at once."""
    body_s: float = 10.0
    """Within which a body must have come."""
    notes: tuple[str, ...] = ()
    """What was said when it was started."""


@dataclass(kw_only=True)
class ServerState:
    """What all routes of a server share; one for the life of an application.

    A part that has something to start and to end adds it to `starting` and `stopping`, which run in the event loop, the
    latter in reverse order; a part that takes time to be ready adds to `waiting`.
    """

    settings: ServeSettings
    library: Library
    tiles: TileCache
    """Encoded tiles."""
    views: Any = None
    """`earthwords.serve.views`, where that is there."""
    jobs: Any = None
    """`earthwords.serve.jobs`, where that is there."""
    events: Any = None
    """What is told to open pages."""
    starting: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    stopping: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    waiting: list[Callable[[], str | None]] = field(default_factory=list)
    """Each says what is not ready yet, or None; see `/readyz`."""
    _limiter: CapacityLimiter | None = None
    _long: CapacityLimiter | None = None

    async def run_long(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for what goes over a whole scene: in threads of its own, so that tiles need not wait."""
        from functools import partial

        from anyio import CapacityLimiter, to_thread

        if self._long is None:
            self._long = CapacityLimiter(LONG_THREADS)
        return await to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._long)

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what reads rasters or computes, in one of `TILE_THREADS` threads."""
        from functools import partial

        from anyio import CapacityLimiter, to_thread

        if self._limiter is None:
            self._limiter = CapacityLimiter(TILE_THREADS)
        return await to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)
