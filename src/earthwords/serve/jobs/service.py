"""Runs jobs, one after another, and takes up what an earlier server has left."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import brief
from earthwords.serve.errors import problem_of, without_folders
from earthwords.serve.jobs import commands
from earthwords.serve.jobs.child import JobChild, began, end_left_over
from earthwords.serve.jobs.queue import MOST_ATTEMPTS, JobQueue, JobRow

if TYPE_CHECKING:
    from earthwords.serve.state import ServerState

LOOK_EVERY_S = 0.5
"""How often a waiting runner looks whether it should end, and a running job whether more of its map is there."""
MOST_NOTES = 50
BLOCKS = ".*.journal/block-*.safetensors"
"""Beside the outputs of a map that is not whole yet, see `inference.segment.block_store`."""
LOG = logging.getLogger("earthwords.serve")


class JobService:
    """The queue, and a thread that works on it; `state.jobs`."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self.queue = JobQueue(state.settings.workspace)
        self.seconds: dict[str, float] = {}
        """Of finished jobs in all, by kind."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._child: tuple[str, JobChild] | None = None
        self._lock = threading.Lock()

    async def start(self) -> None:
        """Take up what is left, and begin to work."""
        await asyncio.to_thread(self._recover)
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the child, whose job goes on when the next server starts."""
        self._stop.set()
        with self._lock:
            child = None if self._child is None else self._child[1]
        if child is not None:
            await asyncio.to_thread(child.end)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 15)
        self.queue.close()

    def submit(
        self, kind: str, arguments: Mapping[str, Any], *, label: str | None = None, key: str | None = None
    ) -> JobRow:
        """Queue a job.

        Args:
            label: a few words for people; None: of the arguments.
            key: the same key gives the same job.

        Raises:
            Problem, UsageError: it cannot be done, the key is another job's, or too many wait.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        earlier = None if key is None else self.queue.by_key(key)
        if earlier is None:
            commands.check(self.state, kind, given)
        job = self.queue.submit(kind, given, label=label or commands.label_of(self.state, kind, given), key=key)
        if commands.has_result(kind) and job.state == "queued":
            commands.tell_result(self.state, job.id, kind, given)
        return job

    def get(self, id: str) -> JobRow:
        """A job; see `JobQueue.get`."""
        return self.queue.get(id)

    def cancel(self, id: str) -> JobRow:
        """Let a job end; what is done stays, and `resume` goes on from there."""
        job = self.queue.wish_end(id)
        with self._lock:
            child = self._child[1] if self._child is not None and self._child[0] == id else None
        if child is not None:
            threading.Thread(target=child.end, name="cancel", daemon=True).start()
        return job

    def resume(self, id: str) -> JobRow:
        """Go on with a job that was cancelled or has failed; see `JobQueue.resume`."""
        return self.queue.resume(id)

    def delete(self, id: str) -> None:
        """Forget a job that is over, and what it has made."""
        from earthwords.serve.result_store import remove_result

        job = self.queue.get(id)
        self.queue.delete(id)
        if commands.has_result(job.kind):
            remove_result(self.state.settings.workspace, id)

    def outputs(self, job: JobRow) -> Path:
        """Where its files lie, or will lie."""
        return commands.output_of(self.state, job.kind, job.id, job.arguments)

    def _recover(self) -> None:
        """Queue again what was running when a server died; its child, if it lives, is ended first."""
        for job in self.queue.running():
            if end_left_over(job.pid, job.pid_began):
                LOG.warning("Ended the process %s that an earlier server had left.", job.pid)
            self._died(job, "the server had ended")

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                job = self.queue.claim(timeout=LOOK_EVERY_S)
                if job is not None:
                    self._do(job)
            except Exception as error:
                if self._stop.is_set():
                    return
                LOG.error("The runner of jobs met an unexpected failure", exc_info=error)
                self._stop.wait(LOOK_EVERY_S)

    def _do(self, job: JobRow) -> None:
        began_at = time.monotonic()
        try:
            if commands.is_done(self.outputs(job)):  # it had ended just before somebody died
                self._succeeded(job)
                return
            argv = commands.argv_of(self.state, job.kind, job.id, job.arguments)
            self.outputs(job).parent.mkdir(parents=True, exist_ok=True)
            child = JobChild.begin(argv)
        except Exception as error:  # whatever it is, the job must not stay `running`
            self.queue.end(job.id, "failed", error=self._told(problem_of(error).detail))
            return
        with self._lock:
            self._child = job.id, child
        try:
            self.queue.change(job.id, pid=child.pid, pid_began=began(child.pid), result=self._result(job))
            if self._stop.is_set() or self.queue.get(job.id).wish is not None:
                threading.Thread(target=child.end, daemon=True).start()
            child.go()
            told = self._follow(job, child)
        finally:
            with self._lock:
                self._child = None
        self.seconds[job.kind] = self.seconds.get(job.kind, 0.0) + time.monotonic() - began_at
        self._finish(job, child, told)

    def _told(self, text: str) -> str:
        return without_folders(text, self.state.settings.folder, self.state.settings.workspace)

    def _result(self, job: JobRow) -> str | None:
        return job.id if commands.has_result(job.kind) else None

    def _follow(self, job: JobRow, child: JobChild) -> str | None:
        """Hand on what a child tells until it ends; the sentence of an error."""
        error, notes, blocks, looked = None, list(job.notes), 0, 0.0
        for event in child.events():
            kind = event["event"]
            if kind == "progress":
                shown = {name: event.get(name) for name in ("what", "done", "total", "unit", "rate", "left_s")}
                self.queue.change(job.id, progress=shown)
            elif kind == "note":
                note = {"kind": str(event.get("kind")), "text": self._told(str(event.get("text")))}
                if note not in notes and len(notes) < MOST_NOTES:
                    notes.append(note)
                    self.queue.change(job.id, notes=notes)
            elif kind == "error":
                error = self._told(str(event.get("text")))
            if job.kind == "segment" and time.monotonic() - looked > LOOK_EVERY_S:
                looked = time.monotonic()
                if (count := len(list(self.outputs(job).glob(BLOCKS)))) > blocks:
                    blocks = count
                    self.queue.emit("tile", {"job": job.id, "result": job.id})
        return error

    def _finish(self, job: JobRow, child: JobChild, told: str | None) -> None:
        code = child.process.returncode
        if code == 0:
            self._succeeded(job)
        elif self.queue.get(job.id).wish == "cancelled":
            self.queue.end(job.id, "cancelled")
        elif self._stop.is_set():
            self.queue.change(job.id, state="queued", attempts=job.attempts - 1, pid=None, pid_began=None)
        elif code < 0:
            self._died(job, f"it was ended by signal {-code}")
        else:
            last = (
                brief(self._told(child.last[-1].removeprefix("earthwords: "))) if child.last else f"exit status {code}"
            )
            self.queue.end(job.id, "failed", error=told or last)

    def _succeeded(self, job: JobRow) -> None:
        self.queue.change(job.id, result=self._result(job))
        if job.kind == "segment":
            self.queue.emit("tile", {"job": job.id, "result": job.id})
        self.queue.end(job.id, "succeeded")

    def _died(self, job: JobRow, how: str) -> None:
        """Queue a job again, unless it has had its attempts."""
        if job.wish == "cancelled":
            self.queue.end(job.id, "cancelled")
        elif job.attempts >= MOST_ATTEMPTS:
            self.queue.end(
                job.id, "failed", error=f"Its process died {MOST_ATTEMPTS} times ({how}); is there memory enough?"
            )
        else:
            LOG.warning("Job %s goes on: %s.", job.id, how)
            self.queue.change(job.id, state="queued", pid=None, pid_began=None)
