"""Servers on this machine: one that counts who knocks, one that hands out files as real ones do, or not at all."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Listener:
    """A socket that counts connections and gives all of them one answer; a context manager."""

    def __init__(self, answer: bytes = NOT_THERE) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(2)
                try:
                    connection.recv(4096)
                    connection.sendall(self._answer)
                except OSError:
                    continue

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


class FileServer:
    """Hands out the files of a folder in ranges; a context manager.

    `log` has method, path and range of every request. `silent` is asked for each whether to leave it without an answer,
    in one of three manners: "silent" (nothing), "headers" (no body), "trickle" (five bytes a second).
    """

    def __init__(self, folder: Path, *, missing: int = 404) -> None:
        self.folder, self.missing = folder, missing
        self.log: list[tuple[str, str, str]] = []
        self.silent: Callable[[str, str], bool] = lambda method, path: False
        self.manner = "silent"
        self.stuck = threading.Event()
        """A request has been left without an answer."""
        self._over = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                outer._answer(self, body=False)

            def do_GET(self) -> None:
                outer._answer(self, body=True)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, request: http.server.BaseHTTPRequestHandler, *, body: bool) -> None:
        wanted = request.headers.get("Range", "").removeprefix("bytes=")
        self.log.append((request.command, request.path, wanted))
        if self.silent(request.command, request.path) and (body or self.manner == "silent"):
            self._leave(request)
            return
        path = self.folder / request.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            request.send_response(self.missing)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        data = path.read_bytes()
        found = re.fullmatch(r"(\d+)-(\d+)", wanted)
        first, last = (int(found[1]), min(int(found[2]), len(data) - 1)) if found else (0, len(data) - 1)
        request.send_response(206 if found else 200)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(last - first + 1))
        if found:
            request.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        request.end_headers()
        if body:
            request.wfile.write(data[first : last + 1])

    def _leave(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if self.manner != "silent":
            request.send_response(206)
            request.send_header("Content-Length", "500000")
            request.send_header("Content-Range", "bytes 0-499999/30000000")
            request.end_headers()
        self.stuck.set()
        request.close_connection = True
        while not self._over.wait(0.2):
            try:
                if self.manner == "trickle":
                    request.wfile.write(b"x")
                    request.wfile.flush()
            except OSError:
                return

    def asked(self, suffix: str) -> int:
        """How many requests there were for paths with this end."""
        return sum(path.endswith(suffix) for _, path, _ in self.log)

    def __enter__(self) -> FileServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Whether something came to be in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class ChatServer:
    """Answers every request with one text, as OpenAI's servers do, and keeps what it was asked; a context manager.

    `raw` is sent instead of it; `location` is where a redirection leads; `trickle`: the answer comes byte by byte and
    never ends.
    """

    def __init__(
        self, text: str = "", *, status: int = 200, raw: bytes | None = None, location: str = "", trickle: bool = False
    ) -> None:
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        """Path, authorization and body of each."""
        told = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
        body, requests = told if raw is None else raw, self.requests
        over = self._over = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                requests.append((self.path, self.headers.get("Authorization", ""), asked))
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(body) + 10**5 * trickle))
                self.end_headers()
                self.wfile.write(body)
                while trickle and not over.wait(0.05):
                    self.wfile.write(b" ")

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
