"""A real server as a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEADLINE_S = 240.0
"""Only what never happens takes so long; a loaded machine is slow."""


@dataclass
class Server:
    """`earthwords serve`, ready to answer."""

    process: subprocess.Popen[str]
    address: str
    """As it was printed, with the token if there is one."""

    @property
    def base(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        port = urlsplit(self.address).port
        assert port is not None
        return port

    def ask(self, path: str, body: Any = None) -> Any:
        """JSON of the API, as a client beside the browser gets it."""
        request = urllib.request.Request(self.base + path)
        if token := urlsplit(self.address).fragment.removeprefix("token="):
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            data = answer.read()
        return json.loads(data) if "json" in answer.headers["Content-Type"] else data

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()


def start(folder: Path, *options: str, port: int = 0) -> Server:
    """Serve a folder and wait until the model is loaded."""
    command = [sys.executable, "-m", "earthwords", "serve", str(folder), "--port", str(port), "--no-open", "--offline"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), (folder / "log.txt").read_text()
    server = Server(process, address)
    until(lambda: ready(server), "the server is ready")
    return server


def ready(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.base}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def until(true: Callable[[], bool], what: str, *, page: Page | None = None, seconds: float = DEADLINE_S) -> None:
    """Ask again until it is so; with a page, its events are handled meanwhile."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        if page is None:
            time.sleep(0.05)
        else:
            page.wait_for_timeout(50)
