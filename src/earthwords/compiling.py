"""Loops that numba compiles when they are first used, kept on disk where that is possible.

Whoever shows progress can be told when compiling begins and ends; loops that are found on disk are not compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

Listener = Callable[[bool], None]
"""Called with True when compiling begins, False when it has ended; in the thread that compiles."""
Loop = TypeVar("Loop", bound=Callable[..., Any])

_listeners: list[Listener] = []


def compiled(**options: Any) -> Callable[[Loop], Loop]:
    """numba's `njit`, which keeps what it compiles; without a folder for that, or on a full disk, it compiles anew."""
    from numba import njit

    _watch()

    def decorate(function: Loop) -> Loop:
        try:
            loop = njit(cache=True, **options)(function)
        except RuntimeError:  # neither the folder of the package nor the user's own can be written
            alone: Loop = njit(**options)(function)
            return alone
        save = loop._cache.save_overload  # numba has no other way to hear of a full disk

        def saved(*args: Any) -> None:
            with suppress(OSError):
                save(*args)

        loop._cache.save_overload = saved
        kept: Loop = loop
        return kept

    return decorate


@contextmanager
def listen_to_compiling(listener: Listener) -> Iterator[None]:
    """Have a listener called until the context ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@cache
def _watch() -> None:
    """Begin to listen to numba, once."""
    from numba.core import event

    class Forward(event.Listener):  # type: ignore[misc]  # numba is not typed
        def on_start(self, event: Any) -> None:
            _notify(True)

        def on_end(self, event: Any) -> None:
            _notify(False)

    event.register("numba:compile", Forward())


def _notify(begins: bool) -> None:
    for listener in tuple(_listeners):
        listener(begins)
