"""No cache but an empty one, and no socket where none may be opened."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earthwords.models.weights.table import WEIGHTS
from tests.origin import Origin
from tests.origin import served as served_file


@contextmanager
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may be connected to, not even in vain."""
    tried: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise OSError("no network")

    with monkeypatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, connect)
        patch.setattr(socket, "getaddrinfo", lambda *address, **options: connect(None, address))
        yield
    assert tried == []


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path / "cache"))


def small(name: str, monkeypatch: pytest.MonkeyPatch, **other: Any) -> None:
    """The row without the sha256 of the real file."""
    monkeypatch.setitem(WEIGHTS, name, replace(WEIGHTS[name], sha256=None, hashed=None, **other))


@contextmanager
def at_its_url(name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    with served_file(Origin(content)) as origin:
        file = WEIGHTS[name].source.rsplit("/", 1)[-1]
        small(name, monkeypatch, source=origin.url.replace("file.bin", file))
        yield origin
