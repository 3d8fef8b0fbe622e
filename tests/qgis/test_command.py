"""What the plugin does without QGIS: find the command, call it, understand it; and the zip."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import earthwords
from tests.conftest import ROOT

posix = pytest.mark.skipif(sys.platform == "win32", reason="scripts of a shell stand in for the command")


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    """The part that needs no QGIS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "qgis"))
        return importlib.import_module("earthwords_qgis.command")


def script(path: Path, text: str) -> Path:
    """A command."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


class Heard:
    """A listener that keeps all, and cancels after some lines."""

    def __init__(self, cancel_after: int = 10**6) -> None:
        self.percents: list[float | None] = []
        self.said: list[str] = []
        self.cautions: list[str] = []
        self.cancel_after = cancel_after

    def progress(self, percent: float | None, text: str) -> None:
        self.percents.append(percent)
        self.said.append(text)

    def say(self, text: str) -> None:
        self.said.append(text)

    def caution(self, text: str) -> None:
        self.cautions.append(text)

    def is_cancelled(self) -> bool:
        return len(self.said) >= self.cancel_after


@posix
def test_where_the_command_is(plugin: ModuleType, tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path / "none")}
    with pytest.raises(plugin.CommandError, match=r"was not found\. Install it into an environment of its own"):
        plugin.find_command("", nothing, tmp_path)
    own = script(tmp_path / "miniforge3" / "envs" / "earthwords" / "bin" / "earthwords", "")
    assert plugin.find_command("", nothing, tmp_path) == [str(own)]
    on_path = script(tmp_path / "some" / "earthwords", "")
    assert plugin.find_command("", {"PATH": str(on_path.parent)}, tmp_path) == [str(on_path)]
    named = script(tmp_path / "named" / "bin" / "earthwords", "")
    python = script(tmp_path / "named" / "bin" / "python3.11", "")
    everything = {"PATH": str(on_path.parent), "EARTHWORDS_COMMAND": str(on_path)}
    assert plugin.find_command(str(named), everything, tmp_path) == [str(named)]
    assert plugin.find_command(f" {tmp_path / 'named'} ", everything, tmp_path) == [str(named)]
    assert plugin.find_command(str(python), everything, tmp_path) == [str(python), "-m", "earthwords"]
    assert plugin.find_command("", {**nothing, "EARTHWORDS_COMMAND": str(named)}, tmp_path) == [str(named)]
    with pytest.raises(plugin.CommandError, match=re.escape(f"no command earthwords at {tmp_path / 'nowhere'}")):
        plugin.find_command(str(tmp_path / "nowhere"), everything, tmp_path)


def test_the_environment_is_not_that_of_qgis(plugin: ModuleType) -> None:
    names = ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "PROJ_LIB", "PROJ_DATA", "LD_LIBRARY_PATH")
    cleaned = plugin.clean_environment({**dict.fromkeys(names, "/qgis"), "HOME": "/me", "PATH": "/bin"})
    assert cleaned == {"HOME": "/me", "PATH": "/bin", "PYTHONUTF8": "1"}


def test_words(plugin: ModuleType) -> None:
    assert plugin.words_of("building,roof\n road ;; 水,湖\r\n\n") == ["building,roof", "road", "水,湖"]


def test_a_command_line_is_understood(plugin: ModuleType, tmp_path: Path) -> None:
    """As the command itself reads it, words like options and numbers below zero included."""
    options = {"bounds": (-115.25, 36.0, -115.0, 36.5), "min-area": None, "all": False, "overwrite": True, "preset": ""}
    argv = plugin.arguments("segment", ["a b.tif", "out"], options, ["--odd", "sea"], "--batch-size 1 --co 'A=b c'")
    assert argv == [
        "segment", "a b.tif", "out", "--bounds", "-115.25", "36.0", "-115.0", "36.5", "--overwrite", "--text=--odd",
        "--text=sea", "--batch-size", "1", "--co", "A=b c",
    ]  # fmt: skip
    from earthwords.cli.app import app

    _, bound, *_ = app.parse_args(argv)
    assert bound.kwargs["bounds"] == (-115.25, 36.0, -115.0, 36.5) and list(bound.kwargs["text"]) == ["--odd", "sea"]
    assert bound.kwargs["batch_size"] == 1 and bound.kwargs["overwrite"] is True
    with pytest.raises(plugin.CommandError, match="no partner"):
        plugin.arguments("segment", [], {}, [], "--co 'A")


EVENTS = [
    {"event": "say", "text": "hello"},
    {"event": "progress", "what": "loading", "done": 0, "total": None, "unit": "MB", "rate": None, "left_s": None},
    {"event": "progress", "what": "segmenting", "done": 5, "total": 20, "unit": "windows", "rate": 2.5, "left_s": 600},
    {"event": "note", "kind": "note", "text": "one"},
    {"event": "note", "kind": "caution", "text": "two"},
    {"event": "output", "kind": "labels", "path": "/out/labels.tif"},
    {"event": "of a later version", "more": 1},
]
SPEAKS = "import sys\nfor line in {lines!r}: print(line, file=sys.stderr)\nprint({out!r})\nsys.exit({code})\n"


@posix
def test_what_a_run_tells(plugin: ModuleType, tmp_path: Path) -> None:
    lines = [*map(json.dumps, EVENTS), "no event"]
    command = script(tmp_path / "earthwords", SPEAKS.format(lines=lines, out='{"a": 1}', code=1))
    heard = Heard()
    outcome = plugin.run([str(command)], ["segment"], heard)
    assert (outcome.code, outcome.result, outcome.outputs) == (1, {"a": 1}, [("labels", "/out/labels.tif")])
    assert heard.percents == [None, 25.0] and heard.cautions == ["two"]
    assert heard.said == [
        "hello", "loading", "segmenting: 5 of 20 windows, about 10 min left", "one", "labels: /out/labels.tif",
        "no event",
    ]  # fmt: skip


@posix
@pytest.mark.parametrize(
    ("lines", "out", "code", "sentence"),
    [
        ([json.dumps({"event": "error", "text": "no such file", "code": 2})], "", 2, "no such file"),
        (["earthwords: Unknown option: --progress. See"], "", 2, "older than the plugin; upgrade it"),
        ([], "", 137, "ended unexpectedly, with exit code 137"),
        ([], "", 1, "ended unexpectedly, with exit code 1"),
    ],
)
def test_failures(plugin: ModuleType, tmp_path: Path, lines: list[str], out: str, code: int, sentence: str) -> None:
    command = script(tmp_path / "earthwords", SPEAKS.format(lines=lines, out=out, code=code))
    with pytest.raises(plugin.CommandError, match=sentence):
        plugin.run([str(command)], ["segment"], Heard())


WAITS = """
import signal, subprocess, sys, time
def end(*given):
    open({said!r}, "w").write("ended")
    sys.exit(143)
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, end)
code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code])
print('{{"event": "say", "text": "%d"}}' % child.pid, file=sys.stderr, flush=True)
if not {stubborn}:
    child.kill()
time.sleep(600)
"""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


@posix
@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelled(plugin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool) -> None:
    """It is asked to end; one that does not is ended with all that it started."""
    monkeypatch.setattr(plugin, "END_WITHIN_S", 0.5 if stubborn else 30.0)
    said, heard = tmp_path / "said", Heard(cancel_after=1)
    command = script(tmp_path / "earthwords", WAITS.format(said=str(said), stubborn=stubborn))
    began = time.monotonic()
    with pytest.raises(plugin.Cancelled):
        plugin.run([str(command)], ["segment"], heard)
    assert time.monotonic() - began < 30 and said.exists() is not stubborn
    deadline = time.monotonic() + 20
    while is_there(int(heard.said[0])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(int(heard.said[0]))


def test_not_a_program(plugin: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "earthwords").write_text("text")
    with pytest.raises(plugin.CommandError, match="cannot be started"):
        plugin.run([str(tmp_path / "earthwords")], ["segment"], Heard())


@posix
def test_the_diagnosis(plugin: ModuleType, tmp_path: Path) -> None:
    checks = [{"what": "cache", "ok": False, "found": "disk full"}, {"what": "libraries", "ok": True, "found": "all"}]
    answers: dict[str, tuple[Any, int, str]] = {
        "well": ({"ok": True, "version": "9.8", "devices": ["cpu", "cuda:0"], "checks": []}, 0, "9.8, cpu, cuda:0"),
        "ill": ({"ok": False, "version": "9.8", "devices": ["cpu"], "checks": checks}, 1, "it: cache: disk full"),
        "old": ({"checks": []}, 0, "older than the plugin"),
        "odd": ([], 0, "no answer that could be read"),
    }  # fmt: skip
    for name, (found, code, sentence) in answers.items():
        command = script(tmp_path / name / "earthwords", SPEAKS.format(lines=[], out=json.dumps(found), code=code))
        ok, text = plugin.diagnose(str(command))
        assert ok is (name == "well") and sentence in text
    assert plugin.diagnose(str(tmp_path / "nowhere"))[0] is False


def test_the_zip(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        build = [sys.executable, str(ROOT / "qgis" / "build.py"), str(tmp_path / name)]
        subprocess.run(build, check=True, cwd=tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = set(archive.namelist())
        metadata = archive.read("earthwords_qgis/metadata.txt").decode()
    modules = {f"earthwords_qgis/{path.name}" for path in (ROOT / "qgis" / "earthwords_qgis").glob("*.py")}
    assert names == modules | {f"earthwords_qgis/{name}" for name in ("metadata.txt", "icon.svg", "LICENSE")}
    assert f"\nversion={earthwords.__version__}\n" in metadata and "\nhasProcessingProvider=yes\n" in metadata


def test_qt_is_imported_through_qgis_alone() -> None:
    """QGIS 4 has another Qt; enumerations are named with their type, which both understand."""
    for path in (ROOT / "qgis" / "earthwords_qgis").glob("*.py"):
        text = path.read_text()
        assert not re.search(r"(import|from) (PyQt|PySide|sip)", text)
        assert not re.search(r"\b(Qgis\.(Info|Warning|Critical)|QgsProcessing\.Type\w+|QgsTask\.CanCancel)\b", text)
