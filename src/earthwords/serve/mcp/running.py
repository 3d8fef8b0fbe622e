"""A verb as a child process: its progress while it runs, its end when nobody waits for it any more."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from earthwords.errors import brief
from earthwords.serve.jobs.child import end_group, environment, event_of

MOST_RESULT = 2**26
"""Bytes of a report."""
MOST_LINE = 2**16

Tell = Callable[[float, str], Awaitable[None]]
"""Takes how far it is, in stages, which only grows, and a few words."""


@dataclass(kw_only=True)
class Ran:
    """What became of a command."""

    code: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    """What it printed as JSON."""
    notes: list[dict[str, str]] = field(default_factory=list)
    """Kind (note or caution) and text."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Path to kind."""
    error: str | None = None
    """Why it failed, in a sentence."""


class Stages:
    """Progress of several stages as one number that never falls."""

    def __init__(self) -> None:
        self.passed = -1
        self.what: str | None = None
        self.told = -1.0

    def of(self, event: dict[str, Any]) -> tuple[float, str] | None:
        """How far it is, in stages, and a few words; None: not further than was told."""
        what, done, total = str(event.get("what")), event.get("done"), event.get("total")
        if what != self.what:
            self.what, self.passed = what, self.passed + 1
        share = min(1.0, float(done) / float(total)) if done and total else 0.0
        now = round(self.passed + 0.999 * share, 4)
        if now <= self.told:
            return None
        self.told = now
        return now, _words(event)


async def run(argv: Sequence[str], *, tell: Tell, cwd: Path) -> Ran:
    """Run a command of ours with `--json --progress json`.

    When this is cancelled the command is asked to end, keeps what is done, and the same command goes on from there.

    Args:
        tell: hears of its progress.
        cwd: where names that are no paths lead, if anywhere.
    """
    ran = Ran()
    with tempfile.TemporaryFile() as printed:
        process = await anyio.open_process(
            list(argv), stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.PIPE, cwd=cwd, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        try:
            last = await _follow(process, ran, tell)
            ran.code = await process.wait()
        finally:
            if process.returncode is None:
                with anyio.CancelScope(shield=True):
                    await _end(process)
        ran.report = _report(printed)
    if ran.code and ran.error is None and not ran.report:
        ran.error = last or f"It ended with exit status {ran.code}."
    return ran


async def _follow(process: Process, ran: Ran, tell: Tell) -> str:
    """Hear what a command tells until it says no more; its last line that was no event."""
    assert process.stderr is not None
    stages, begun, last = Stages(), "", ""
    async for text in TextReceiveStream(process.stderr, errors="replace"):
        *lines, begun = (begun + text).split("\n")
        begun = begun[-MOST_LINE:]
        for line in lines:
            event = event_of(line)
            if event is None:
                last = brief(line) if line.strip() else last
            elif event["event"] == "progress":
                if (now := stages.of(event)) is not None:
                    await tell(*now)
            else:
                _take(event, ran)
    return last


def _take(event: dict[str, Any], ran: Ran) -> None:
    """Keep what an event tells."""
    if event["event"] == "note":
        note = {"kind": str(event.get("kind")), "text": str(event.get("text"))}
        if note not in ran.notes:
            ran.notes.append(note)
    elif event["event"] == "output":
        ran.outputs[str(event.get("path"))] = str(event.get("kind"))
    elif event["event"] == "error":
        ran.error = str(event.get("text"))


async def _end(process: Process) -> None:
    """Ask it to end as Ctrl-C does, by force after a while; SIGTERM, since shells let children ignore SIGINT."""
    await anyio.to_thread.run_sync(lambda: end_group(process.pid, gone=lambda: process.returncode is not None))
    await process.wait()


def _report(printed: IO[bytes]) -> dict[str, Any]:
    printed.seek(0)
    try:
        found = json.loads(printed.read(MOST_RESULT))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {"result": found}


def _words(event: dict[str, Any]) -> str:
    """Such as `segmenting: 3 of 12 windows, 8 s left`."""
    done, total, unit, left = (event.get(name) for name in ("done", "total", "unit", "left_s"))
    shown = str(event.get("what"))
    if done is not None:
        shown += f": {done:g}" + (f" of {total:g}" if total else "") + (f" {unit}" if unit else "")
    return shown + (f", {left:.0f} s left" if left else "")
