"""The server process: what it is told, how it begins and ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from earthwords.geo.sources.plain_files import SETTING
from earthwords.serve.app import NO_PAGE, STATIC, create_app, new_state
from earthwords.serve.state import ServeSettings

KEEP_ALIVE_S = 75
"""Longer than a page takes between two requests, else one of them meets a closed connection."""
GRACE_S = 5
"""Seconds until streams that are open are cut off."""
LOG = logging.getLogger("earthwords.serve")


class Server(uvicorn.Server):
    """Ends at SIGTERM and SIGINT as at a wish: nothing is wrong then."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn; it would raise the signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_server(listening: socket.socket, settings: ServeSettings, *, browser: bool, quiet: bool) -> None:
    """Serve until somebody ends it.

    Args:
        listening: a bound socket.
        browser: show the page in one.
        quiet: no log of what is served.
    """
    _log(quiet)
    os.environ[SETTING] = "1"  # for everything that opens sources, children too
    address = address_of(settings)
    print(address, flush=True)
    for note in settings.notes:
        LOG.warning("%s", note)
    if not (STATIC / "index.html").is_file():
        LOG.warning("%s", NO_PAGE)
    app = create_app(new_state(settings))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S - 2,
        server_header=False, date_header=False, proxy_headers=False, h11_max_incomplete_event_size=2**15,
    )  # fmt: skip
    if browser:
        import webbrowser

        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    Server(config).run(sockets=[listening])
    if "serve" in sys.orig_argv:  # the command: everything is tidy, and to take apart all that was loaded takes seconds
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)


def render_demo(folder: Path) -> Path:
    """The folder with the scene of `earthwords demo`, and two dates of another; rendered where they are missing."""
    import numpy as np

    from earthwords.geo.geotiff import RasterWriter
    from earthwords.synthetic import render_pair, render_scene

    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    if not (folder / "scene.tif").exists():
        made["scene"] = render_scene(height=1024, width=1280, gsd=0.5, theme="bridge", seed=5)
    if not all((folder / f"{name}.tif").exists() for name in ("before", "after")):
        kinds = ("buildings built", "buildings removed")
        pair = render_pair(height=320, width=400, gsd=0.5, theme="town", seed=5, changes=kinds)
        made |= {"before": pair.before, "after": pair.after}
    for name, scene in made.items():
        with RasterWriter(folder / f"{name}.tif", grid=scene.grid, count=3, dtype="uint8", overwrite=True) as writer:
            writer.write(0, np.moveaxis(scene.image, -1, 0))
    return folder.resolve()


def address_of(settings: ServeSettings) -> str:
    """What one opens, the token behind the `#`, where it goes to no server and into no log."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "localhost") else settings.host
    shown = f"[{host}]" if ":" in host else host
    fragment = "" if settings.token is None else f"#token={settings.token}"
    return f"http://{shown}:{settings.port}/{fragment}"


def _log(quiet: bool) -> None:
    """One line a happening, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    for name in ("earthwords.serve", "uvicorn"):
        logger: Any = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.WARNING if quiet or name == "uvicorn" else logging.INFO)
        logger.propagate = False
