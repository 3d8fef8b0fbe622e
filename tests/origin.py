"""A server on this machine that has one file and one of the faults of the network."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Origin", BaseHTTPRequestHandler, int], bool]
"""Answers request number n (from 0) itself and says True, or leaves that to the server."""


@dataclass
class Origin:
    """The file, and what was asked for it."""

    content: bytes
    etag: bool = True
    ranges: bool = True
    fault: Fault = lambda origin, request, number: False
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def mark(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'

    def answer(self, request: BaseHTTPRequestHandler, *, stop: int | None = None) -> None:
        """As RFC 9110 has it; `stop`: break off after so many bytes."""
        asked, start = request.headers, 0
        same = asked.get("If-Range", self.mark) == self.mark
        if self.ranges and same and asked.get("Range"):
            start = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(self.content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            request.send_header("ETag", self.mark)
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        request.wfile.write(self.content[start : len(self.content) if stop is None else start + stop])


@contextmanager
def served(origin: Origin) -> Iterator[Origin]:
    """The server, while the block runs; `origin.url` is the file's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin.asked.append(dict(self.headers.items()))
            self.close_connection = True
            with suppress(BrokenPipeError, ConnectionResetError):
                if not origin.fault(origin, self, len(origin.asked) - 1):
                    origin.answer(self)

        def log_message(self, *told: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    origin.url = f"http://127.0.0.1:{server.server_address[1]}/file.bin"
    try:
        yield origin
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/file.bin"
