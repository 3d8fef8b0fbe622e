"""Paths to what is no regular file, and a guard against waiting for it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = {
    "folder": "is a folder, not a file",
    "pipe": "is a pipe, not a file",
    "socket": "is a socket, not a file",
    "device": "is a device, not a file",
    "dangling": "is a link to .*, which does not exist",
    "loop": "is a link that leads in a circle",
}
"""Kind to what is said of it."""


def make(kind: str, path: Path) -> Path:
    """Put it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket has at most 107 bytes
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling":
        path.symlink_to(path.parent / "gone")
    else:
        path.symlink_to(path.name)
    return path


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """What it returns or raises; a failure if it is still at work then."""
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = function()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still at work after {seconds} s"
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
