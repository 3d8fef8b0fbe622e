"""Downloads over connections that break, servers that do not answer, and files that change meanwhile."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch

from earthwords.errors import UsageError, WeightsError
from earthwords.models.weights import download as module
from earthwords.models.weights.download import download
from earthwords.models.weights.table import WEIGHTS, WeightSpec, fetch, load_upsampler_state
from tests.origin import Fault, Origin, served, silent
from tests.special import within

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:1000][::-1] + CONTENT[1000:]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    monkeypatch.setenv("EARTHWORDS_HTTP_TIMEOUT", "20")


def cut(after: int, times: int) -> Fault:
    """The first answers break off."""

    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        if number < times:
            origin.answer(request, stop=after)
        return number < times

    return fault


def test_as_it_is(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with served(Origin(CONTENT)) as origin:
        found = download(origin.url, tmp_path / "x", report=lambda done, total: seen.append((done, total)))
    assert found == SHA256 and (tmp_path / "x").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_connection_that_breaks(etag: bool, ranges: bool, sha256: str | None, tmp_path: Path) -> None:
    """It goes on where it was, if the server can and something vouches for the parts being of one file."""
    with served(Origin(CONTENT, etag=etag, ranges=ranges, fault=cut(200_000, 2))) as origin:
        assert download(origin.url, tmp_path / "x", sha256=sha256) == SHA256
    assert (tmp_path / "x").read_bytes() == CONTENT
    told = [asked.get("Range") for asked in origin.asked]
    if not etag and sha256 is None:
        assert told == [None, None, None]
    elif ranges:
        assert told == [None, "bytes=200000-", "bytes=400000-"]
        assert [asked.get("If-Range") for asked in origin.asked[1:]] == [origin.mark if etag else None] * 2
    else:
        assert told == [None, "bytes=200000-", "bytes=200000-"]


def test_another_run_goes_on(tmp_path: Path) -> None:
    with served(Origin(CONTENT, fault=cut(1000, 99))) as origin:
        with pytest.raises(OSError, match=r"the connection ended after 5,000 of 512,000 bytes"):
            download(origin.url, tmp_path / "x")
        assert not (tmp_path / "x").exists() and (tmp_path / "x.part").stat().st_size == 5000
        origin.fault = lambda *_: False
        assert download(origin.url, tmp_path / "x") == SHA256
    assert origin.asked[-1]["Range"] == "bytes=5000-"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changes_meanwhile(etag: bool, tmp_path: Path) -> None:
    """The parts of two files are never put together."""

    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        if number == 0:
            origin.answer(request, stop=100_000)
            origin.content = OTHER
        return number == 0

    for sha256 in (None, hashlib.sha256(OTHER).hexdigest()):
        with served(Origin(CONTENT, etag=etag, fault=fault)) as origin:
            download(origin.url, tmp_path / "x", sha256=sha256)
        assert (tmp_path / "x").read_bytes() == OTHER


def test_a_server_that_does_not_look_at_the_mark(tmp_path: Path) -> None:
    """It sends the rest of another file, with that one's mark."""

    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        if number == 0:
            origin.answer(request, stop=100_000)
            origin.content = OTHER
        elif "If-Range" in request.headers:
            del request.headers["If-Range"]
        return number == 0

    with served(Origin(CONTENT, fault=fault)) as origin:
        download(origin.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == OTHER


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        if number == 0:
            origin.answer(request, stop=100_000)
            origin.content, origin.etag = CONTENT[:50_000], False
        return number == 0

    with served(Origin(CONTENT, fault=fault)) as origin:
        download(origin.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT[:50_000]


def test_all_was_there_but_the_name(tmp_path: Path) -> None:
    """The process was killed between the last byte and the rename."""

    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        origin.answer(request, stop=0 if number else len(CONTENT) - 1)
        return True

    with served(Origin(CONTENT, fault=fault)) as origin:
        with pytest.raises(OSError, match="the connection ended"):
            download(origin.url, tmp_path / "x")
        (tmp_path / "x.part").write_bytes(CONTENT)
        origin.fault = lambda *_: False
        assert download(origin.url, tmp_path / "x") == SHA256
    assert origin.asked[-1]["Range"] == f"bytes={len(CONTENT)}-"


def test_another_sha256(tmp_path: Path) -> None:
    with served(Origin(OTHER)) as origin, pytest.raises(WeightsError, match=f"expected {SHA256}"):
        download(origin.url, tmp_path / "x", sha256=SHA256)
    assert list(tmp_path.iterdir()) == [] and len(origin.asked) == 1


def test_a_beginning_of_another_file(tmp_path: Path) -> None:
    """What lies there from before belongs to another file, and only the sha256 tells."""
    (tmp_path / "x.part").write_bytes(OTHER[:2000])
    with served(Origin(CONTENT, etag=False)) as origin:
        assert download(origin.url, tmp_path / "x", sha256=SHA256) == SHA256
    assert [asked.get("Range") for asked in origin.asked] == ["bytes=2000-", None]


def test_a_server_that_is_out_of_breath(tmp_path: Path) -> None:
    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        if number < 2:
            request.send_error(503)
        return number < 2

    with served(Origin(CONTENT, fault=fault)) as origin:
        assert download(origin.url, tmp_path / "x") == SHA256
    with served(Origin(CONTENT, fault=lambda o, r, n: r.send_error(503) or True)) as origin:
        with pytest.raises(OSError, match="the server answered 503"):
            download(origin.url, tmp_path / "y")
        assert len(origin.asked) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("code", [403, 404, 410])
def test_no_such_file(code: int, tmp_path: Path) -> None:
    with served(Origin(CONTENT, fault=lambda o, r, n: r.send_error(code) or True)) as origin:
        with pytest.raises(OSError, match=f"the server answered {code}"):
            download(origin.url, tmp_path / "x")
        assert len(origin.asked) == 1
    assert list(tmp_path.iterdir()) == []


class TestWaiting:
    def test_a_server_that_never_answers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EARTHWORDS_HTTP_TIMEOUT", "0.5")
        began = time.perf_counter()
        with silent() as url, pytest.raises(OSError, match=r"no answer within 0\.5 s \(EARTHWORDS_HTTP_TIMEOUT sets"):
            within(20, lambda: download(url, tmp_path / "x"))
        assert time.perf_counter() - began < 5
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_falls_silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EARTHWORDS_HTTP_TIMEOUT", "0.3")
        over = threading.Event()

        def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
            origin.answer(request, stop=1000)
            request.wfile.flush()
            over.wait(30)
            return True

        with served(Origin(CONTENT, fault=fault)) as origin:
            with pytest.raises(OSError, match="no answer within"):
                within(20, lambda: download(origin.url, tmp_path / "x"))
            over.set()
        assert (tmp_path / "x.part").stat().st_size == 5000

    def test_a_server_that_drips(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each byte comes in time, all of them never."""
        monkeypatch.setattr(module, "_SLOW_SECONDS", 0.2)
        over = threading.Event()

        def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
            origin.answer(request, stop=0)
            while not over.wait(0.01):
                request.wfile.write(b"x")
            return True

        with served(Origin(CONTENT, fault=fault)) as origin:
            with pytest.raises(OSError, match=r"only \d+ bytes came in"):
                within(30, lambda: download(origin.url, tmp_path / "x"))
            over.set()

    @pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
    def test_a_timeout_that_is_none(self, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EARTHWORDS_HTTP_TIMEOUT", value)
        with served(Origin(CONTENT)) as origin, pytest.raises(UsageError, match="must be a number of seconds"):
            download(origin.url, tmp_path / "x")


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n", "has 99,999,999,999,999,999 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 6000 + b"\r\n\r\nabc", None),
        (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc", "has changed"),
        (b"HTTP/1.1 206 Partial\r\nContent-Range: nonsense\r\nContent-Length: 3\r\n\r\nabc", "has changed"),
        (b"\0\1\2\3", "connection broke"),
        (b"", "connection broke"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc", "connection broke"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "302|not allowed"),
        (b"HTTP/1.1 416 No\r\n\r\n", "416"),
    ],
)
def test_nonsense(head: bytes, sentence: str | None, tmp_path: Path) -> None:
    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        request.wfile.write(head)
        return True

    with served(Origin(CONTENT, fault=fault)) as origin:
        if sentence is None:
            download(origin.url, tmp_path / "x")
            return
        with pytest.raises(OSError, match=sentence):
            within(20, lambda: download(origin.url, tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_two_at_a_time(tmp_path: Path) -> None:
    """Both get the whole file; neither writes into the other's."""
    both = threading.Barrier(2, timeout=20)

    def fault(origin: Origin, request: BaseHTTPRequestHandler, number: int) -> bool:
        both.wait()  # until the other has asked too
        return False

    outcomes: list[str] = []
    with served(Origin(CONTENT, fault=fault)) as origin:
        threads = [
            threading.Thread(target=lambda: outcomes.append(download(origin.url, tmp_path / "x"))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert outcomes == [SHA256, SHA256] and (tmp_path / "x").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


class TestRows:
    @pytest.fixture
    def zipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
        """A row as SkyCLIP's: a zip with a folder with a checkpoint."""
        monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path / "cache"))
        torch.save({"a": torch.arange(3.0)}, tmp_path / "epoch_20.pt")
        with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / "epoch_20.pt", "SkyCLIP_ViT_B32_top50pct/epoch_20.pt")
            archive.writestr("__MACOSX/SkyCLIP_ViT_B32_top50pct/._epoch_20.pt", b"resource fork")
        with served(Origin((tmp_path / "made.zip").read_bytes())) as origin:
            source = origin.url.replace("file.bin", "Sky.zip")
            row = WeightSpec(name="sky", source=source, licence="", paper="", kind="upsampler")
            monkeypatch.setitem(WEIGHTS, "sky", row)
            yield origin

    def test_a_zip_is_unpacked_once(self, zipped: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert load_upsampler_state("sky")["a"].tolist() == [0, 1, 2]
        path = fetch(WEIGHTS["sky"], offline=True)
        assert path == tmp_path / "cache" / "weights" / "sky" / "Sky.pt"
        assert sorted(p.name for p in path.parent.iterdir()) == ["Sky.pt", "Sky.pt.verified.json"]
        monkeypatch.setattr("earthwords.models.weights.checkpoint.unpack", None)
        assert load_upsampler_state("sky", offline=True)["a"].tolist() == [0, 1, 2]
        assert len(zipped.asked) == 1
        path.write_bytes(path.read_bytes()[:-1] + b"X")
        with pytest.raises(WeightsError, match="was cut or altered"):
            fetch(WEIGHTS["sky"], offline=True)

    def test_a_zip_that_the_user_put_there(self, zipped: Origin, tmp_path: Path) -> None:
        place = tmp_path / "cache" / "weights" / "sky"
        place.mkdir(parents=True)
        (place / "Sky.zip").write_bytes(zipped.content)
        assert load_upsampler_state("sky", offline=True)["a"].tolist() == [0, 1, 2]
        assert (place / "Sky.zip").exists() and zipped.asked == []

    def test_a_damaged_zip(self, zipped: Origin, tmp_path: Path) -> None:
        zipped.content = zipped.content[:100] + bytes(200) + zipped.content[300:]
        with pytest.raises(WeightsError, match="Cannot read weights from"):
            fetch(WEIGHTS["sky"])
        assert not list((tmp_path / "cache").rglob("*.part")) and not list((tmp_path / "cache").rglob("Sky.pt"))

    def test_what_came_is_kept_and_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path))
        with served(Origin(CONTENT, fault=cut(600, 99))) as origin:
            row = WeightSpec(name="up", source=origin.url, licence="", paper="")
            with pytest.raises(
                WeightsError, match=r"3,000 of 512,000 bytes\. What came is kept; the same command goes on"
            ):
                fetch(row)
            origin.fault = lambda *_: False
            assert fetch(row).read_bytes() == CONTENT
        assert origin.asked[-1]["Range"] == "bytes=3000-"
