"""What a run says while it works."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earthwords.compiling import compiled, listen_to_compiling
from earthwords.jobs import progress
from earthwords.jobs.progress import Console, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.say("a sentence")
    with console.bar("segmenting", 4, unit="windows") as tick:
        tick(4)
    with console.download("loading") as report:
        report(5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_log_file_gets_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Console(quiet=False).bar("segmenting", 1000, unit="windows") as tick:
        for _ in range(70):
            clock[0] += 1
            tick(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "segmenting: 30%, 10.0 windows/s, about 70 s left",
        "segmenting: 60%, 10.0 windows/s, about 40 s left",
    ]


def test_a_short_run_leaves_a_log_file_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=False).bar("segmenting", 3, unit="windows") as tick:
        tick(3)
    assert capsys.readouterr() == ("", "")


def loop() -> Any:
    """One that stands in no file, so that it is never found on disk."""
    names: dict[str, Any] = {"compiled": compiled}
    exec("@compiled()\ndef grown(number):\n    return number + 1", names)
    return names["grown"]


def test_a_loop_is_compiled_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """Neither a full disk nor a machine without a folder for it ends a run."""
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from earthwords.geo.vectors._trace import _grown, take_slices
import numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
print(take_slices(np.arange(9), np.array([2, 7]), np.array([3, 1])).tolist())
"""
    where = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=where, check=False)
    assert (done.returncode, done.stdout) == (0, "[2, 3, 4, 7]\n"), done.stderr
    assert loop()(1) == 2, "there is no place for what is compiled"


def test_compiling_is_told_once() -> None:
    told: list[bool] = []
    grown = loop()
    with listen_to_compiling(told.append):
        assert grown(1) == 2
        assert told[0] is True and told.count(True) == told.count(False)
        before = len(told)
        assert grown(2) == 3
    assert len(told) == before
    grown(1.5)  # compiled again, for floats, when nobody listens any more
    assert len(told) == before


def test_time_of_compiling_says_nothing_about_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Console(quiet=False).bar("segmenting", 100, unit="windows") as bar:
        clock[0] = 1
        bar.compiling(True)
        bar.compiling(True)  # a loop that another one calls
        clock[0] = 31
        bar(1)
        bar.compiling(False)
        clock[0] = 41
        bar.compiling(False)
        clock[0] = 80
        bar(39)
        bar.writing()
    assert capsys.readouterr().err.splitlines() == [
        "segmenting: 1%, 1.0 windows/s, compiling, first run only",
        "segmenting: 40%, 1.0 windows/s, about 60 s left",
        "writing",
    ]


def test_a_bar_tells_of_compiling_and_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Console(quiet=False).bar("segmenting", 4, unit="windows") as bar:
        bar(1)
        bar.compiling(True)
        bar(1)
    shown = terminal.getvalue()
    assert "compiling, first run only" in shown and "left" not in shown.split("compiling, first run only")[-1]
    with Console(quiet=False).bar("segmenting", 4, unit="windows") as bar:
        bar(4)
        bar.writing()
    assert "writing" in terminal.getvalue().removeprefix(shown)


def test_details_are_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (Console(quiet=False), Console(quiet=True, verbose=True), Console(quiet=False, verbose=True)):
        console.detail("Energy 0.9")
    assert capsys.readouterr().err == "Energy 0.9\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Console(quiet=False).bar("segmenting [/not markup]", 4, unit="windows") as tick:
        tick(3)
    assert "segmenting [/not markup]" in terminal.getvalue() and "75%" in terminal.getvalue()


def test_a_download_counts_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Console(quiet=False).download("loading x") as report:
        report(30_000_000, 0)
        report(50_000_000, 200_000_000)
    assert "25%" in terminal.getvalue() and "loading x" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (12_600, "3.5 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
