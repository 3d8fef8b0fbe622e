"""A file over HTTP: resumed where the connection broke, checked, and never waited for without end."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from earthwords.errors import UsageError, WeightsError, brief
from earthwords.files.reading import read_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TIMEOUT = "EARTHWORDS_HTTP_TIMEOUT"
"""Environment variable: seconds to wait for a connection, and for the next bytes of an answer; 30 by default."""
_SLOW_BYTES, _SLOW_SECONDS = 60_000, 60.0
"""An answer that brings less in this time is given up."""
_TRIES = 5
"""Connections in a row that may break before one byte came."""
_PAUSE_S = 1.0
_MOST_BYTES = 2**36

Report = Callable[[int, int], None]
"""Told `(bytes done, bytes in all)` while a file comes; all is 0 when the server does not say."""


class _BrokenError(OSError):
    """The answer ended too early, or was too slow; what came of it is kept."""


@dataclass(frozen=True)
class _Source:
    """Which file a server has: what it says of it, for going on with the same one."""

    url: str
    total: int = 0
    """Bytes; 0: it does not say."""
    mark: str = ""
    """A strong ETag, or a date; empty: it does not say."""


def download(url: str, target: Path, *, sha256: str | None = None, report: Report = lambda done, total: None) -> str:
    """Bring a file, by rename; what came of an earlier try is gone on with (`TARGET.part`).

    Args:
        sha256: what the file must have.

    Returns:
        Its sha256.

    Raises:
        WeightsError: it has another sha256.
        UsageError: `TIMEOUT` is no number of seconds.
        OSError: the server cannot be reached, does not answer in time, breaks off again and again, or has no such file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _part(target) as part:
        pieces = _bring(url, part, certain=sha256 is not None, report=report)
        found = sha256_of(part)
        if sha256 not in (None, found) and pieces > 1:  # they may be of two files
            _forget(part)
            _bring(url, part, certain=True, report=report)
            found = sha256_of(part)
        if sha256 not in (None, found):
            _forget(part)
            raise WeightsError(f"sha256 of the file is {found}, expected {sha256}")
        _about(part).unlink(missing_ok=True)
        os.replace(part, target)
    return found


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def timeout_s() -> float:
    """Seconds to wait for a connection and for the next bytes. Raises `UsageError`."""
    value = os.environ.get(TIMEOUT) or "30"
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise UsageError(f"{TIMEOUT} must be a number of seconds, got {brief(repr(value), most=40)}.")
    return seconds


@contextmanager
def _part(target: Path) -> Iterator[Path]:
    """The unfinished file, held alone; one of our own that goes with us where another process works on it."""
    path = target.with_name(f"{target.name}.part")
    with path.open("ab") as file:
        if _lock(file):
            try:
                yield path
            finally:
                if path.exists() and not path.stat().st_size:
                    _about(path).unlink(missing_ok=True)
                    path.unlink()
            return
    handle, own = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.", suffix=".part")
    os.close(handle)
    try:
        yield Path(own)
    finally:
        for path in (Path(own), _about(Path(own))):
            path.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool:
    if fcntl is None:
        return False  # nothing tells whether another process works on it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def _bring(url: str, part: Path, *, certain: bool, report: Report) -> int:
    """Ask until all is there, again whenever a connection breaks that brought enough; the number of pieces."""
    pieces, vain = int(part.stat().st_size > 0), 0
    while True:
        before = part.stat().st_size
        try:
            _ask(url, part, certain=certain, report=report)
            return pieces + 1
        except _BrokenError:
            came = part.stat().st_size - before
            pieces, vain = pieces + (came > 0), 0 if came > _SLOW_BYTES else vain + 1
            if vain == _TRIES:
                raise
            time.sleep(_PAUSE_S * vain)


def _ask(url: str, part: Path, *, certain: bool, report: Report) -> None:
    """One connection. `certain`: a sha256 will tell whether the parts belong together."""
    known, done = _recall(part, url), part.stat().st_size
    if done and not (known.mark or certain):
        done = 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    if done and known.mark:
        headers["If-Range"] = known.mark
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:  # nothing is left to bring, or the file has become shorter
            if done != known.total:
                _forget(part)
                raise _BrokenError("the file on the server has changed") from error
            return
        if error.code == 429 or error.code >= 500:
            raise _BrokenError(f"the server answered {error.code}") from error
        raise OSError(f"the server answered {error.code} {brief(error.reason, most=60)}") from error
    except urllib.error.URLError as error:
        raise OSError(_reason(error.reason)) from error
    except (http.client.HTTPException, OSError) as error:
        raise _as_broken(error) from error
    with answer:
        found, start = _offered(url, answer)
        if done and start == done and not found.mark:  # the server agreed that the mark is the same
            found = replace(found, mark=known.mark)
        if start != done or (done and found.mark != known.mark):  # the whole file, or another one
            if start:
                _forget(part)
                raise _BrokenError("the file on the server has changed")
            done = 0
        _remember(part, found)
        with part.open("r+b") as out:
            out.truncate(done)
            out.seek(done)
            _copy(answer, out, done, found.total, report)


def _offered(url: str, answer: Any) -> tuple[_Source, int]:
    """What the server says of its file, and the byte that its answer begins at."""
    headers = answer.headers
    mark = headers.get("ETag") or ""
    if not mark.startswith('"'):  # a weak one does not vouch for bytes
        mark = headers.get("Last-Modified") or ""
    total, start = _number(headers.get("Content-Length")), 0
    if getattr(answer, "status", None) == 206:
        place, _, whole = (headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
        start, total = _number(place.partition("-")[0]) or -1, _number(whole)
    if total > _MOST_BYTES:
        raise OSError(f"the server says that the file has {total:,} bytes, which no weights have")
    return _Source(url, total, mark), start


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _copy(answer: Any, out: BinaryIO, done: int, total: int, report: Report) -> None:
    read = getattr(answer, "read1", answer.read)  # what has come, without waiting for more
    first, since, then = done, done, time.monotonic()
    try:
        while block := read(1 << 20):
            out.write(block)
            done += len(block)
            report(done, total)
            if done > (total or _MOST_BYTES):
                raise OSError(f"the server sent more than the {total or _MOST_BYTES:,} bytes it said")
            if time.monotonic() - then > _SLOW_SECONDS:
                if done - since < _SLOW_BYTES:
                    raise _BrokenError(f"only {done - since:,} bytes came in {_SLOW_SECONDS:.0f} s")
                first, since, then = done, done, time.monotonic()
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise (_BrokenError(str(_as_broken(error))) if done > first else _as_broken(error)) from error
    if done < total:
        raise _BrokenError(f"the connection ended after {done:,} of {total:,} bytes")


def _as_broken(error: Exception) -> OSError:
    """Broken off, where something had been said before; a server that says nothing at all is given up."""
    if isinstance(error, TimeoutError):
        return OSError(_reason(error))
    return _BrokenError(f"the connection broke ({brief(error)})")


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s():g} s ({TIMEOUT} sets another time)"
    return brief(getattr(error, "strerror", None) or str(error))


def _about(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _recall(part: Path, url: str) -> _Source:
    """What the server said of the file that `part` is the beginning of."""
    with suppress(OSError, ValueError, TypeError):
        known = _Source(**read_json(_about(part)))
        if known.url == url and isinstance(known.total, int) and isinstance(known.mark, str):
            return known
    return _Source(url)


def _remember(part: Path, source: _Source) -> None:
    _about(part).write_text(json.dumps(asdict(source)), encoding="utf-8")


def _forget(part: Path) -> None:
    _about(part).unlink(missing_ok=True)
    with part.open("wb"):
        pass
