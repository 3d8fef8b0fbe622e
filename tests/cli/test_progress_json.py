"""`--progress json`: every line of standard error is an event, whatever happens; results are untouched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthwords.jobs import progress
from earthwords.jobs.events import Events, Shown, shown_as
from earthwords.jobs.progress import Console
from tests.conftest import Command, write_raster
from tests.micro import patchwork
from tests.verbs import into, maps, others, trainings

posix = pytest.mark.skipif(sys.platform == "win32", reason="standard streams and signals differ")
JSON = ["--progress", "json"]
KEYS = {
    "progress": {"what", "done", "total", "unit", "rate", "left_s"},
    "note": {"kind", "text"},
    "output": {"kind", "path"},
    "say": {"text"},
    "error": {"text", "code"},
}
BARS = {
    "segment": "segmenting", "segment many": "segmenting", "count": "counting", "change": "comparing",
    "refer": "looking", "upsample": "upsampling", "index": "indexing", "search": "loading", "classify": "encoding",
    "evaluate scenes": "zero-shot", "evaluate segmentation": "on", "evaluate referring": "pointing",
    "suggest": "looking", "assess": "reading the map", "teach": "reading marks", "pairs": "reading",
    "expressions": "reading", "data prepare": "preparing", "train clip": "training",
}  # fmt: skip
"""Command to what its bar says."""
SAME = {"segment workers", "train segment", "train upsampler", "train refer", "train change"}
"""Commands whose bar is the same as that of another one."""


def events_of(text: str) -> list[dict[str, Any]]:
    """All lines of standard error, looked at."""
    found = []
    for line in text.splitlines():
        event = json.loads(line)
        kind = event["event"]
        assert set(event) - {"event", "traceback"} == KEYS[kind], line
        if kind == "note":
            assert event["kind"] in ("note", "caution")
        found.append(event)
    return found


def bars_of(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The events of every bar."""
    bars: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event["event"] == "progress":
            bars.setdefault(event["what"], []).append(event)
    return bars


@pytest.fixture(scope="module")
def lines(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Every command that works for long, by its name."""
    folder = tmp_path_factory.mktemp("verbs")
    found = {**trainings(folder, micro, steps=2), **maps(folder, micro), **others(folder, micro)}
    found["search"][1] = str(folder / "index")
    return {name: [word for word in into(argv, folder / name.replace(" ", "-")) if word != "--quiet"]
            for name, argv in found.items()}  # fmt: skip


@pytest.mark.parametrize("name", list(BARS))
def test_every_verb(command: Command, lines: dict[str, list[str]], name: str) -> None:
    assert set(lines) == set(BARS) | SAME, "every command of tests/verbs.py"
    if name == "search":
        lines = {**lines, "search": [*lines["search"], "--overwrite"]}
        command(*lines["index"], "--overwrite")
    done = command(*lines[name], *JSON)
    assert done.code == 0, done.err
    events = events_of(done.err)
    bars = bars_of(events)
    what = next(what for what in bars if BARS[name] in what)
    first, last = bars[what][0], bars[what][-1]
    assert first["done"] == 0 or name.startswith("train"), first
    if first["total"] is not None:
        assert last["done"] == last["total"], bars[what]
    dones = [event["done"] for event in bars[what]]
    assert dones == sorted(dones)


def test_stdout_is_as_ever(command: Command, scene_file: Path, micro: Path, tmp_path: Path) -> None:
    argv = ["segment", scene_file, tmp_path / "out", "-t", "road", "-t", "水", "--model", micro, "--tile-size", 64]
    plain, told = command(*argv, "--json"), command(*argv, "--json", "--overwrite", "--progress=json")
    assert plain.code == told.code == 0
    first, second = json.loads(plain.out), json.loads(told.out)
    assert first["classes"] == second["classes"] and first["settings"] == second["settings"]
    events = events_of(told.err)
    written = {event["kind"]: event["path"] for event in events if event["event"] == "output"}
    assert written == second["outputs"] and all(Path(path).exists() for path in written.values())
    notes = [event for event in events if event["event"] == "note"]
    assert [note["text"] for note in notes] == second["notes"] and "caution" in {note["kind"] for note in notes}


def test_a_failure_is_an_event(command: Command, tmp_path: Path) -> None:
    done = command("segment", tmp_path / "no\x1b[31mne.tif", tmp_path / "out", "-t", "road", *JSON)
    (event,) = events_of(done.err)
    assert (event["event"], event["code"], done.code, done.out) == ("error", 2, 2, "")
    assert "no\\x1b[31mne.tif; a folder is searched for" in event["text"] and "traceback" not in event
    (wrong,) = events_of(command("segment", "a", "b", "--treshold", "1", *JSON).err)
    assert wrong["code"] == 2 and "Did you mean --threshold?" in wrong["text"]
    argv = ["segment", tmp_path / "none.tif", tmp_path / "out", "-t", "road", "--debug", "--quiet", *JSON]
    (debug,) = events_of(command(*argv).err)
    assert "SourceError" in debug["traceback"] and "\n" in debug["traceback"]


def test_quiet_tells_failures_alone(command: Command, scene_file: Path, micro: Path, tmp_path: Path) -> None:
    argv = ["segment", scene_file, tmp_path / "o.tif", "-t", "road", "-t", "sea", "--model", micro, "--quiet", *JSON]
    done = command(*argv)
    assert (done.code, done.err) == (0, "")
    again = command(*argv)
    assert [event["event"] for event in events_of(again.err)] == ["error"] and again.code == 2


@pytest.mark.parametrize("argv", [["--progress", "jsn"], ["--progress=jsn"], ["--progress"]])
def test_other_values_are_refused(command: Command, argv: list[str]) -> None:
    done = command("models", *argv)
    done.failed(2, "--progress is auto, json or none", "json" if argv[-1] != "--progress" else "got ''")


def test_none_has_notes_but_no_bars(command: Command, scene_file: Path, micro: Path, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    argv = ["segment", scene_file, "-t", "road", "-t", "sea", "--model", micro, "--tile-size", 64]
    auto = command(*argv, tmp_path / "auto.tif", "--progress", "auto")
    none = command(*argv, tmp_path / "none.tif", "--progress", "none")
    assert "segmenting: " in auto.err and "segmenting" not in none.err
    assert "Caution: " in none.err and f"labels: {tmp_path / 'none.tif'}" in none.err


class Kept:
    """A stream that keeps what it gets."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_events_of_a_bar_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = [100.0], Kept()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with shown_as(Shown(Events(kept))), Console(quiet=False).bar("segmenting", 40, unit="windows") as bar:
        for _ in range(39):
            clock[0] += 0.2
            bar(1)
        bar.compiling(True)
        bar.compiling(False)
        bar(1)
        bar.writing()
    bars = bars_of(events_of(kept.text))
    assert [event["done"] for event in bars["segmenting"]] == [0, *range(3, 40, 3), 40]
    assert bars["segmenting"][1] == {
        "event": "progress", "what": "segmenting", "done": 3, "total": 40, "unit": "windows", "rate": 5, "left_s": 7.4,
    }  # fmt: skip
    assert [event["total"] for event in bars["writing"]] == [None]
    assert '"compiling, first run only"' in kept.text


def test_a_download_is_told_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = [0.0], Kept()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with shown_as(Shown(Events(kept))), Console(quiet=False).download("loading x") as report:
        for done in (30_000_000, 60_000_000, 150_000_000, 200_000_000):
            clock[0] += 0.3
            report(done, 0 if done < 100_000_000 else 200_000_000)
    told = [(event["done"], event["total"], event["unit"]) for event in bars_of(events_of(kept.text))["loading x"]]
    assert told == [(0, None, "MB"), (60, None, "MB"), (200, 200, "MB")]


@posix
def test_the_end_of_a_run_that_was_ended(micro: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "large.tif", np.moveaxis(patchwork(1500, 1100), -1, 0))
    argv = ["segment", scene, tmp_path / "out.tif", "-t", "road", "-t", "sea", "--model", micro, "--tile-size", 64]
    started = subprocess.Popen(
        [sys.executable, "-m", "earthwords", *map(str, argv), *JSON], stderr=subprocess.PIPE, text=True
    )
    assert started.stderr is not None
    before = ""
    for line in started.stderr:
        before += line
        if '"segmenting"' in line:
            break
    started.terminate()
    events = events_of(before + started.stderr.read())
    assert started.wait(timeout=60) == events[-1]["code"] == 143
    assert events[-1]["event"] == "error" and events[-1]["text"].startswith("Interrupted.")
    assert not (tmp_path / "out.tif").exists()


OTHERS_SPEAK = """
import os, subprocess, sys, warnings
from earthwords.tasks import doctor
def loud():
    os.write(2, b"from C, without an end")
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('a child\\\\r50%\\\\n')"])
    print("from Python", file=sys.stderr)
    warnings.warn("careful", UserWarning)
    raise SystemError("odd")
doctor.doctor = loud
import earthwords.cli
sys.exit(earthwords.cli.main(ARGV))
"""


@posix
@pytest.mark.parametrize("quiet", [False, True])
def test_what_others_say_is_an_event(quiet: bool) -> None:
    argv = ["doctor", *JSON, *(["--quiet"] if quiet else [])]
    script = OTHERS_SPEAK.replace("ARGV", repr(argv))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    events = events_of(done.stderr)
    assert done.returncode == events[-1]["code"] and events[-1]["event"] == "error"
    said = sorted(event["text"] for event in events[:-1])
    assert said == ([] if quiet else ["50%", "UserWarning: careful", "from C, without an enda child", "from Python"])


@posix
@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full", "2>&1 >/dev/null | true"])
def test_nobody_listens(redirection: str, tmp_path: Path) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    labels = np.add.outer(np.arange(70) // 20, np.arange(90) // 30).astype(np.uint8)
    write_raster(tmp_path / "labels.tif", labels[None], nodata=5)
    argv = ["assess", tmp_path / "labels.tif", "--draw", 60, "-o", tmp_path / "points.gpkg", *JSON]
    command = " ".join(f"'{word}'" for word in (sys.executable, "-m", "earthwords", *argv))
    shell = ["bash", "-c", f"set -o pipefail; {command} {redirection}"]
    done = subprocess.run(shell, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "points.gpkg").exists()
