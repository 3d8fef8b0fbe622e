"""The same for many things by a few threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def thread_map(
    function: Callable[[Item], None], items: Iterable[Item], *, threads: int, stop: Callable[[], None]
) -> None:
    """Call a function with every item; the first exception, or one of this thread, ends all.

    Args:
        stop: called then, so that threads that are at work end soon; they are waited for.
    """
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
