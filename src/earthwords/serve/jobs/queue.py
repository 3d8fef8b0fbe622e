"""The queue of jobs and the log of their events, in one SQLite file of the workspace.

A job is queued, running, succeeded, failed or cancelled. Whatever dies leaves rows that say `running`: the next server
takes them up again, three attempts in all; the commands go on from what they have done.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from earthwords.errors import OutputError, brief
from earthwords.serve.errors import Problem, busy, not_found

MOST_QUEUED = 100
MOST_ATTEMPTS = 3
KEPT_EVENTS = 5_000
STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = ("succeeded", "failed", "cancelled")
FILE = "jobs.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
  arguments TEXT NOT NULL, label TEXT NOT NULL, created TEXT NOT NULL, started TEXT, finished TEXT, progress TEXT,
  notes TEXT NOT NULL DEFAULT '[]', error TEXT, result TEXT, attempts INTEGER NOT NULL DEFAULT 0, key TEXT UNIQUE,
  wish TEXT, pid INTEGER, pid_began TEXT
);
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, data TEXT NOT NULL);
"""


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as it is now."""

    id: str
    kind: str
    state: str
    arguments: dict[str, Any]
    label: str
    created: str
    started: str | None
    finished: str | None
    progress: dict[str, Any] | None
    notes: list[dict[str, str]]
    error: str | None
    result: str | None
    attempts: int
    wish: str | None
    """`cancelled`: somebody wants it to end."""
    pid: int | None
    pid_began: str | None

    def body(self) -> dict[str, Any]:
        """As the API tells it."""
        hidden = ("wish", "pid", "pid_began")
        return {name: value for name, value in vars(self).items() if name not in hidden}


class JobQueue:
    """Jobs and events; several threads may use it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self._jobs_changed = threading.Condition(self._lock)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"The queue of jobs {self.path} cannot be used ({brief(error)}).") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            self._jobs_changed.notify_all()
        for listener in list(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have something called after every change, from any thread; the result ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def submit(self, kind: str, arguments: Mapping[str, Any], *, label: str, key: str | None = None) -> JobRow:
        """A new job; the same key gives the same job.

        Raises:
            Problem: the key belongs to another job (409), or too many are queued (503).
        """
        told = json.dumps(dict(arguments), sort_keys=True)
        with self._writing() as db:
            if key is not None:
                row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    if (row["kind"], row["arguments"]) != (kind, told):
                        raise Problem(409, "This Idempotency-Key was used for another job; choose a new one.")
                    return _job(row)
            queued = db.execute("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')").fetchone()[0]
            if queued >= MOST_QUEUED:
                raise busy(f"{MOST_QUEUED} jobs are waiting already; ask again later.", seconds=30)
            row = db.execute(
                "INSERT INTO jobs (state, id, kind, arguments, label, created, key) "
                "VALUES ('queued', ?, ?, ?, ?, ?, ?) RETURNING *",
                (secrets.token_hex(8), kind, told, label, _now(), key),
            ).fetchone()
            return self._told(db, row)

    def get(self, id: str) -> JobRow:
        """A job.

        Raises:
            Problem: there is none.
        """
        with self._lock:
            row = self._db.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise not_found("job", id)
        return _job(row)

    def by_key(self, key: str) -> JobRow | None:
        """The job of an idempotency key."""
        with self._lock:
            row = self._db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        return None if row is None else _job(row)

    def newest(self, *, limit: int = 50, before: str | None = None) -> list[JobRow]:
        """The last ones, the newest first; `before` is the id of a job that is newer than all of them.

        Raises:
            Problem: there is no job `before`.
        """
        if before is not None:
            self.get(before)
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM jobs WHERE number < coalesce((SELECT number FROM jobs WHERE id = ?), 1 << 62) "
                "ORDER BY number DESC LIMIT ?",
                (before, limit),
            ).fetchall()
        return [_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """State to number."""
        with self._lock:
            return dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def claim(self, *, timeout: float) -> JobRow | None:
        """The next job, which is running from now; None if there was none in so many seconds."""
        with self._lock:
            if not self._any_queued():
                self._jobs_changed.wait(timeout)
                if not self._any_queued():
                    return None
        with self._writing() as db:
            row = db.execute(
                "UPDATE jobs SET state = 'running', started = coalesce(started, ?), attempts = attempts + 1, "
                "error = NULL, pid = NULL, pid_began = NULL WHERE number = "
                "(SELECT number FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1) RETURNING *",
                (_now(),),
            ).fetchone()
            return None if row is None else self._told(db, row)

    def _any_queued(self) -> bool:
        return self._db.execute("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1").fetchone() is not None

    def change(self, id: str, **values: Any) -> JobRow:
        """Set columns of a job.

        Raises:
            Problem: there is none.
        """
        packed = {name: json.dumps(v) if isinstance(v, (dict, list)) else v for name, v in values.items()}
        with self._writing() as db:
            names = ", ".join(f"{name} = ?" for name in packed)
            row = db.execute(f"UPDATE jobs SET {names} WHERE id = ? RETURNING *", (*packed.values(), id)).fetchone()
            if row is None:
                raise not_found("job", id)
            return self._told(db, row)

    def end(self, id: str, state: str, *, error: str | None = None) -> JobRow:
        """A job is over, in one way or the other."""
        return self.change(id, state=state, error=error, finished=_now(), wish=None, pid=None, pid_began=None)

    def wish_end(self, id: str) -> JobRow:
        """Somebody wants a job to end: one that waits ends at once, who runs one is told.

        Raises:
            Problem: there is none (404), or it is over (409).
        """
        with self._writing() as db:
            row = db.execute(
                "UPDATE jobs SET wish = CASE state WHEN 'running' THEN 'cancelled' END, "
                "finished = CASE state WHEN 'queued' THEN ? END, "
                "state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END "
                "WHERE id = ? AND state IN ('queued', 'running') RETURNING *",
                (_now(), id),
            ).fetchone()
            if row is not None:
                return self._told(db, row)
        raise Problem(409, f"The job is {self.get(id).state} already.")

    def resume(self, id: str) -> JobRow:
        """Queue a job again that was cancelled or has failed.

        Raises:
            Problem: there is none (404), or it is not over, or has succeeded (409).
        """
        with self._writing() as db:
            row = db.execute(
                "UPDATE jobs SET state = 'queued', attempts = 0, error = NULL, finished = NULL, wish = NULL "
                "WHERE id = ? AND state IN ('failed', 'cancelled') RETURNING *",
                (id,),
            ).fetchone()
            if row is not None:
                return self._told(db, row)
        raise Problem(409, f"The job is {self.get(id).state}; one that was cancelled or has failed can go on.")

    def delete(self, id: str) -> None:
        """Forget a job that is over.

        Raises:
            Problem: there is none (404), or it is not over (409).
        """
        if self.get(id).state not in ENDED:
            raise Problem(409, "The job is not over; cancel it first.")
        with self._writing() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (id,))

    def running(self) -> list[JobRow]:
        """Those that are being worked on, or were when somebody died."""
        with self._lock:
            return [_job(row) for row in self._db.execute("SELECT * FROM jobs WHERE state = 'running'").fetchall()]

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Remember an event."""
        with self._writing() as db:
            self._event(db, kind, data)

    def events(self, after: int, *, limit: int = 500) -> list[tuple[int, str, str]]:
        """`(number, kind, data)` of those after a number."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, kind, data FROM events WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
            ).fetchall()
        return [(row["number"], row["kind"], row["data"]) for row in rows]

    def last_event(self) -> int:
        """Number of the newest."""
        with self._lock:
            return int(self._db.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()[0])

    def _told(self, db: sqlite3.Connection, row: sqlite3.Row) -> JobRow:
        job = _job(row)
        self._event(db, "job", job.body())
        return job

    @staticmethod
    def _event(db: sqlite3.Connection, kind: str, data: Mapping[str, Any]) -> None:
        cursor = db.execute("INSERT INTO events (kind, data) VALUES (?, ?)", (kind, json.dumps(dict(data))))
        if cursor.lastrowid is not None and cursor.lastrowid % 500 == 0:
            db.execute("DELETE FROM events WHERE number <= ?", (cursor.lastrowid - KEPT_EVENTS,))


def _job(row: sqlite3.Row) -> JobRow:
    read = {name: row[name] for name in JobRow.__dataclass_fields__}
    for name in ("arguments", "progress", "notes"):
        read[name] = None if read[name] is None else json.loads(read[name])
    return JobRow(**read)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
