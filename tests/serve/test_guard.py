"""Who may ask and how much: against a real server in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthwords.serve.guard import Rate, allowed_names, split_host
from earthwords.serve.state import ServeSettings
from tests.conftest import ROOT, write_raster
from tests.serve.conftest import PLACE, Running, finish, picture, start


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("served")
    write_raster(root / "town.tif", picture(), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    (root.parent / "secret.txt").write_text("nobody's business")
    running = start(root)
    yield running
    told = finish(running)
    assert "Traceback" not in told, told


def raw(served: Running, text: bytes, *, seconds: float = 120) -> bytes:
    """What a socket gets for bytes, until the server closes it or nothing more comes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=seconds) as link:
        found = b""
        with suppress(ConnectionError):  # who is refused may be cut off while sending
            link.sendall(text)
        while True:
            try:
                part = link.recv(65536)
            except ConnectionError:
                break
            if not part:
                break
            found += part
            head, _, body = found.partition(b"\r\n\r\n")
            length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
            if length and len(body) >= int(length[0].split(b":")[1]):
                break
        return found


def posting(served: Running) -> str:
    """The begin of a request with a body."""
    own = f"Host: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {served.token}\r\n"
    return f"POST /api/words/check HTTP/1.1\r\n{own}"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_the_first_line_is_the_address(served: Running) -> None:
    assert served.address.startswith("http://127.0.0.1:") and len(served.token) >= 32
    code, body = served.ask("/api/sources")
    assert code == 200 and [s["name"] for s in json.loads(body)["sources"]] == ["town.tif"]


def test_nobody_comes_in_without_the_token(served: Running) -> None:
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + served.token},
    ):
        code, body = served.ask("/api/sources", **headers)
        assert code == 401 and json.loads(body)["title"] == "Unauthorized"
    assert served.ask("/api/session", {"token": "wrong"}, Authorization="")[0] == 401
    assert served.ask("/healthz", Authorization="")[0] == 200
    assert json.loads(served.ask("/api/session", Authorization="")[1]) == {"authenticated": False}
    for path in ("/metrics", "/api/jobs", "/api/events", "/api/nothing"):
        assert served.ask(path, Authorization="")[0] == 401, path


def test_the_cookie_lets_in_and_scripts_do_not_see_it(served: Running) -> None:
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    link.request("POST", "/api/session", json.dumps({"token": served.token}), {"Content-Type": "application/json"})
    answer = link.getresponse()
    answer.read()
    cookie = answer.getheader("Set-Cookie") or ""
    assert answer.status == 204 and "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert served.token not in cookie
    mine = cookie.partition(";")[0]
    assert served.ask("/api/sources", Authorization="", Cookie=mine)[0] == 200
    assert served.ask("/api/sources", Authorization="", Cookie=mine[:-1] + "x")[0] == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:1", "localhost:abc", "[::1", "127.0.0.1@evil"]
)
def test_other_names_are_refused(served: Running, host: str) -> None:
    text = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {served.token}\r\n\r\n"
    assert status(raw(served, text.encode())) in (400, 403)


def test_two_names_are_refused(served: Running) -> None:
    own = f"127.0.0.1:{served.port}"
    text = f"GET /healthz HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n"
    assert status(raw(served, text.encode())) in (400, 403)


def test_other_sites_are_refused(served: Running) -> None:
    for origin in ("http://evil.example", "null", f"http://localhost:{served.port + 1}", f"https://127.0.0.1:{served.port}x",
                   f"http://127.0.0.1:{served.port}.evil.example", "file://"):  # fmt: skip
        assert served.ask("/api/sources", Origin=origin)[0] == 403, origin
    assert served.ask("/api/sources", Origin=served.address)[0] == 200
    assert served.ask("/api/sources", Origin=f"http://localhost:{served.port}")[0] == 200
    assert served.ask("/api/sources", **{"Sec-Fetch-Site": "cross-site"})[0] == 403


def test_answers_carry_the_headers(served: Running) -> None:
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    for path in ("/healthz", "/api/sources", "/nothing"):
        link.request("GET", path)
        answer = link.getresponse()
        answer.read()
        assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Access-Control-Allow-Origin") is None
        assert answer.getheader("Server") is None


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/%2e%2e/secret.txt", "/api/sources/..%2f..%2fsecret/tiles/1/1/1.webp", "/..%5csecret.txt",
     "/api/results/..%2f..%2f/files/secret.txt", "/api/results/abcdefgh/files/..%2F..%2Fsecret.txt", "//etc/passwd",
     "/static/../../secret.txt", "/api/sources/%2fvsicurl%2fhttp:%2f%2flocalhost%2fx.tif", "/%00", "/%ff%fe"],
)  # fmt: skip
def test_paths_lead_nowhere(served: Running, path: str) -> None:
    text = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {served.token}\r\n\r\n"
    answer = raw(served, text.encode())
    assert status(answer) in (400, 404, 422) and b"nobody's business" not in answer and b"root:" not in answer


@pytest.mark.parametrize(
    "source",
    ["http://169.254.169.254/latest/meta-data", "/vsicurl/http://127.0.0.1/x.tif", "../secret.tif", "NETCDF:x.nc:red",
     "<VRTDataset/>", "file:///etc/passwd"],
)  # fmt: skip
def test_sources_are_ids_alone(served: Running, source: str) -> None:
    assert served.ask("/api/words/check", {"words": ["road"], "source": source})[0] == 422


def test_bodies_that_are_too_much(served: Running) -> None:
    million = json.dumps({"words": ["a"] * 1_000_000}).encode()
    typed = f"{posting(served)}Content-Type: application/json\r\nContent-Length: {len(million)}\r\n\r\n"
    assert status(raw(served, typed.encode() + million)) == 413
    assert served.ask("/api/words/check", {"words": ["a"] * 65})[0] == 422
    assert served.ask("/api/words/check", {"words": ["a" * 201]})[0] == 422
    head = (
        f"POST /api/words/check HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {served.token}\r\n"
    )
    head += "Content-Type: application/json\r\n"
    assert status(raw(served, f"{head}Content-Length: 99999999999\r\n\r\n".encode())) == 413
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert status(raw(served, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 17)) == 413
    assert served.ask("/healthz")[0] == 200


def test_bodies_that_are_no_json(served: Running) -> None:
    head = (
        f"POST /api/words/check HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {served.token}\r\n"
    )
    for kind, body, code in (
        ("application/json", b"{", 422), ("application/json", b"\xff\xfe", 422),
        ("application/json", b"[" * 50_000, 422), ("application/json", b"(\x80\x81\"", 422),
        ("text/plain", b"{}", 415), ("application/x-www-form-urlencoded", b"words=road", 415),
        ("application/json", b'{"words": ["road"], "more": 1}', 422), ("application/json", b'{"words": "road"}', 422),
        ("application/json", b'{"words": ["\\u0000"]}', 422), ("application/json", b'{"words": ["\\ud800"]}', 422),
    ):  # fmt: skip
        text = f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        answer = raw(served, text)
        assert status(answer) == code, (kind, body[:30], answer)
        assert b"application/problem+json" in answer


def test_a_body_that_dribbles_is_cut_off(served: Running) -> None:
    head = (
        f"POST /api/words/check HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {served.token}\r\n"
    )
    began = time.monotonic()
    answer = raw(served, f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode(), seconds=120)
    assert status(answer) == 408 and 9 < time.monotonic() - began < 60


def test_a_rate_is_kept_and_recovers() -> None:
    rate = Rate(1000.0, burst=0.005)
    waits = [rate.take("one") for _ in range(8)]
    assert waits[:5] == [0.0] * 5 and any(waits[5:])
    assert rate.take("another") == 0.0
    deadline = time.monotonic() + 5
    while rate.take("one"):
        assert time.monotonic() < deadline


def test_names_that_a_server_is_known_by() -> None:
    settings = ServeSettings(folder=Path(), workspace=Path(), port=8765, hosts=("maps.example", "other:9000"))
    names = allowed_names(settings)
    assert {("localhost", 8765), ("maps.example", 443), ("other", 9000)} <= names
    assert ("other", 8765) not in names and ("evil", 8765) not in names
    assert split_host("[::1]:8765", "http") == ("::1", 8765) and split_host("A.b.", "https") == ("a.b", 443)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_soon_and_well(tmp_path: Path, number: signal.Signals) -> None:
    running = start(tmp_path)
    assert running.ask("/healthz")[0] == 200
    link = socket.create_connection(("127.0.0.1", running.port))  # a client that stays
    link.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n\r\n".encode())
    assert link.recv(100)
    began = time.monotonic()
    running.process.send_signal(number)
    said = running.process.communicate(timeout=30)[1]
    assert running.process.returncode == 0 and "Traceback" not in said, said
    assert time.monotonic() - began < 20, "5 s on a machine that does nothing else"
    link.close()


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        argv = [sys.executable, "-m", "earthwords", "serve", str(tmp_path), "--no-open", "--port"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [*argv, str(taken.getsockname()[1])], capture_output=True, text=True, encoding="utf-8", env=environment
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "choose another by --port" in done.stderr
    assert not (tmp_path / ".earthwords").exists()


def test_the_demo_shows_a_scene(tmp_path: Path) -> None:
    began = time.monotonic()
    running = start(tmp_path, "--demo", "--no-token")
    try:
        assert running.token == "" and running.ask("/healthz", Authorization="")[0] == 200
        code, body = running.ask("/api/sources", Authorization="")
        names = [source["name"] for source in json.loads(body)["sources"]]
        assert code == 200 and names == ["after.tif", "before.tif", "scene.tif"]
        assert (tmp_path / ".earthwords" / "demo" / "scene.tif").is_file()
        assert time.monotonic() - began < 120
    finally:
        finish(running)


def test_memory_is_bounded_from_the_begin(served: Running) -> None:
    told = Path(f"/proc/{served.process.pid}/environ")
    if not told.exists():
        pytest.skip("this system has no /proc")
    environment = told.read_bytes().split(b"\0")
    assert b"MALLOC_ARENA_MAX=2" in environment and b"GDAL_CACHEMAX=64" in environment


def test_pictures_that_claim_to_be_huge_are_left_out(served: Running, tmp_path: Path) -> None:
    root = tmp_path / "bombs"
    root.mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(root / "good.png")
    data = bytearray((root / "good.png").read_bytes())
    data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    (root / "huge.png").write_bytes(bytes(data))
    (root / "empty.tif").write_bytes(b"")
    (root / "short.tif").write_bytes(b"II*\0\x08\0\0\0")
    os.mkfifo(root / "pipe.tif")
    running = start(root)
    try:
        code, body = running.ask("/api/sources")
        assert code == 200 and [s["name"] for s in json.loads(body)["sources"]] == ["good.png"]
    finally:
        finish(running)


def test_an_open_stream_does_not_keep_it(tmp_path: Path) -> None:
    running = start(tmp_path, "--offline")
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as link:
        own = f"Host: 127.0.0.1:{running.port}\r\nAuthorization: Bearer {running.token}\r\n"
        link.sendall(f"GET /api/events HTTP/1.1\r\n{own}\r\n".encode())
        head = link.recv(4096)
        assert head.startswith(b"HTTP/1.1 200") and b"text/event-stream" in head
        began = time.monotonic()
        running.process.terminate()
        said = running.process.communicate(timeout=60)[1]
        assert running.process.returncode == 0 and "Traceback" not in said, said
        assert time.monotonic() - began < 20, "5 s on a machine that does nothing else"
