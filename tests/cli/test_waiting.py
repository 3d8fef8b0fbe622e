"""A command tells how long one has waited for it, from the begin of its process; a call from Python its own time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import earthwords
from earthwords import waiting


def test_a_command_counts_from_its_process(scene_file: Path, tmp_path: Path) -> None:
    began = time.perf_counter()
    argv = ["segment", str(scene_file), str(tmp_path / "out"), "-t", "water", "-t", "roof", "--offline"]
    late = f"import time; time.sleep(1.5); import sys; sys.argv[1:] = {argv}; from earthwords.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True)
    elapsed = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    seconds = json.loads((tmp_path / "out" / "report.json").read_text())["seconds"]
    assert 1.5 < seconds["loading"] < seconds["total"] < elapsed
    assert f"{seconds['total']:.1f} s" in done.stdout
    began = time.perf_counter()
    report = earthwords.segment(str(scene_file), tmp_path / "again", text=["water", "roof"], quiet=True)
    assert report.seconds["total"] < time.perf_counter() - began + 1e-3, "and not since the tests began"


def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting.Path, "read_text", lambda *given, **named: "1 (a) b) S no number")
    assert waiting._age() == pytest.approx(time.process_time(), abs=0.5)
