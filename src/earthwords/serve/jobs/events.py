"""What happens to jobs, told to open pages as server-sent events; one stream a page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from earthwords.serve.jobs.queue import JobQueue


async def stream(queue: JobQueue, after: int | None) -> AsyncIterator[dict[str, Any]]:
    """Events as `sse_starlette` takes them, for ever; ended by the client.

    Args:
        after: number of the last event that the client has seen; None: from now on.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    last = await asyncio.to_thread(queue.last_event) if after is None else after

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    ended = queue.listen(wake)
    try:
        while True:
            changed.clear()
            for number, kind, data in await asyncio.to_thread(queue.events, last):
                last = number
                yield {"id": str(number), "event": kind, "data": data}
            await changed.wait()
    finally:
        ended()
