"""Hugging Face on this machine: the files of a folder under a repository's name, as its API tells and serves them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = (".safetensors", ".bin", ".pt", ".h5", ".msgpack", ".model")
"""Kept outside of git, and named by their sha256."""


@dataclass
class Hub:
    """Repositories, and what was asked for."""

    folders: dict[str, Path]
    asked: list[str] = field(default_factory=list)
    address: str = ""
    reached: threading.Event = field(default_factory=threading.Event)
    """A file was asked for."""
    over: threading.Event = field(default_factory=threading.Event)

    def entries(self, repository: str) -> list[dict[str, object]]:
        found = []
        for path in sorted(self.folders[repository].rglob("*")):
            if path.is_file():
                entry: dict[str, object] = {"type": "file", "size": path.stat().st_size, "oid": _oid(path)}
                entry["path"] = path.relative_to(self.folders[repository]).as_posix()
                if path.suffix in _LARGE:
                    entry["lfs"] = {"oid": _sha256(path), "size": path.stat().st_size, "pointerSize": 134}
                found.append(entry)
        return found

    @property
    def files(self) -> set[str]:
        """Names of the files that were fetched."""
        return {path.split("/resolve/", 1)[1].split("/", 1)[1] for path in self.asked if "/resolve/" in path}


@contextmanager
def served(
    folders: dict[str, Path], cache: Path, patch: pytest.MonkeyPatch, *, mute: bool = False, token: str | None = None
) -> Iterator[Hub]:
    """The hub, while the block runs; `huggingface_hub` asks it and keeps what comes in `cache`.

    Args:
        mute: it tells which files it has and sends none.
        token: what it asks for before it sends a file: its repositories are gated.
    """
    from huggingface_hub import constants

    hub = Hub(folders)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.asked.append(unquote(urlsplit(self.path).path))
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts[0] == "api":
                repository = "/".join(parts[2:4])
                entries = hub.entries(repository)
                told: object = entries
                if parts[4:5] != ["tree"]:
                    siblings = [{"rfilename": entry["path"]} for entry in entries]
                    told = {"id": repository, "sha": COMMIT, "siblings": siblings}
                self._send(json.dumps(told).encode(), {"Content-Type": "application/json"}, body=body)
                return
            hub.reached.set()
            if mute:
                hub.over.wait(60)
            if token is not None and self.headers.get("Authorization") != f"Bearer {token}":
                self._send(b"", {"X-Error-Code": "GatedRepo"}, code=401, body=body)
                return
            path = hub.folders["/".join(parts[:2])] / "/".join(parts[4:])
            if not path.is_file():
                self._send(b"", {"X-Error-Code": "EntryNotFound"}, code=404, body=body)
                return
            etag = _sha256(path) if path.suffix in _LARGE else _oid(path)
            self._send(path.read_bytes(), {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body=body)

        def _send(self, content: bytes, headers: dict[str, str], *, body: bool, code: int = 200) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *told: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.address = address = f"http://127.0.0.1:{server.server_address[1]}"
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        server.server_close()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _oid(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
