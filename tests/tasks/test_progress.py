"""What a run says while it works."""

from __future__ import annotations

import io
import sys

import pytest

from earthwords.tasks import _progress
from earthwords.tasks._progress import Talk, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk(quiet=True)
    talk.say("a sentence")
    with talk.bar("segmenting", 4, unit="windows") as tick:
        tick(4)
    with talk.download("loading") as report:
        report(5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_log_file_gets_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    with Talk(quiet=False).bar("segmenting", 1000, unit="windows") as tick:
        for _ in range(70):
            clock[0] += 1
            tick(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "segmenting: 30%, 10.0 windows/s, about 70 s left",
        "segmenting: 60%, 10.0 windows/s, about 40 s left",
    ]


def test_a_short_run_leaves_a_log_file_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with Talk(quiet=False).bar("segmenting", 3, unit="windows") as tick:
        tick(3)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Talk(quiet=False).bar("segmenting [/not markup]", 4, unit="windows") as tick:
        tick(3)
    assert "segmenting [/not markup]" in terminal.getvalue() and "75%" in terminal.getvalue()


def test_a_download_counts_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Talk(quiet=False).download("loading x") as report:
        report(30_000_000, 0)
        report(50_000_000, 200_000_000)
    assert "25%" in terminal.getvalue() and "loading x" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (12_600, "3.5 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
