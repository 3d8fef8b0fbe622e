"""Standard streams that are closed, full, gone or narrow: the work is done, and what is said is true and harmless."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthwords.cli import main
from earthwords.cli.streams import Stream
from tests.conftest import Command, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import BUNDLE, TEXT, names

posix = pytest.mark.skipif(sys.platform == "win32", reason="standard streams differ")
Shell = Callable[[str], "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def shell(micro: Path, scene_file: Path, tmp_path: Path) -> Shell:
    """`shell("... > /dev/full")`: segment a scene into `out`, with a redirection."""

    def run(redirection: str) -> subprocess.CompletedProcess[bytes]:
        words = " ".join(f"'{word}'" for word in TEXT)
        command = (
            f"'{sys.executable}' -m earthwords segment '{scene_file}' out --model '{micro}' --tile-size 64 {words}"
        )
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} {redirection}"], cwd=tmp_path, capture_output=True, check=False,
            timeout=120,
        )  # fmt: skip

    return run


@posix
@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        ("--json | head -c 1", 0),
        (">&- 2>&- <&-", 0),
        pytest.param("2>&1 | true", 0, marks=pytest.mark.slow),
        pytest.param("2> /dev/full", 0, marks=pytest.mark.slow),
        ("> /dev/full", 1),
    ],
)
def test_outputs_are_whole_whoever_listens(shell: Shell, tmp_path: Path, redirection: str, code: int) -> None:
    if "/dev/full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    done = shell(redirection)
    assert done.returncode == code, done.stderr
    assert names(tmp_path / "out") == BUNDLE
    assert json.loads((tmp_path / "out" / "report.json").read_bytes())["classes"]
    said = done.stderr.decode()
    assert "Traceback" not in said and "Exception ignored" not in said
    if code:
        assert "Standard output cannot be written (no space left on device); all files that were asked for are" in said


@posix
@pytest.mark.parametrize("argv", ["segment --help", "models"])
def test_help_for_nobody(argv: str, tmp_path: Path) -> None:
    for redirection in ("| true", ">&-"):
        command = f"set -o pipefail; '{sys.executable}' -m earthwords {argv} {redirection}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")


class Narrow(io.TextIOWrapper):
    """A terminal of Windows or of an old locale."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    @property
    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_narrow_stream(encoding: str) -> None:
    file = Narrow(encoding)
    stream = Stream(file)
    print("北 é caf\udce9", file=stream)
    assert stream.failure is None
    assert file.text == {
        "cp1252": "\\u5317 é caf\\udce9\n", "ascii": "\\u5317 \\xe9 caf\\udce9\n", "utf-8": "北 é caf\\udce9\n",
    }[encoding]  # fmt: skip


def test_json_for_a_narrow_stream(
    monkeypatch: pytest.MonkeyPatch, scene_file: Path, micro: Path, tmp_path: Path
) -> None:
    """What is escaped is JSON still, beyond 16 bits too."""
    out, err = Narrow("cp1252"), Narrow("cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    argv = [
        "segment",
        str(scene_file),
        str(tmp_path / "o.tif"),
        "-t",
        "水",
        "-t",
        "道路",
        "--model",
        str(micro),
        "--json",
    ]
    assert main([*argv, "--tile-size", "64"]) == 0
    assert [row["name"] for row in json.loads(out.text)["classes"]] == ["水", "道路"]
    assert "Traceback" not in err.text


ODD = "a\x1b[2J\x1b]0;owned\x07b\u202egnp.tif"


@posix
def test_nothing_steers_the_terminal(command: Command, micro: Path, tmp_path: Path) -> None:
    """File names and words with escape sequences, in refusals, notes, progress and tables."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    write_raster(folder / ODD, np.moveaxis(patchwork(70, 90), -1, 0))
    (folder / f"broken{ODD}").write_bytes(b"II*\0 none")
    options = ["--model", micro, "--tile-size", 64]
    runs = [
        command("segment", folder, tmp_path / "maps", *TEXT, *options),
        command("segment", folder / ODD, tmp_path / "one", "-t", "ro\x1b[31mad", "-t", "water", *options),
        command("segment", folder / ODD, tmp_path / "one", *TEXT, *options),
        command("segment", folder / "no\x1b[31mne.tif", tmp_path / "two", *TEXT, *options),
        command("segment", folder / ODD, tmp_path / "three", *TEXT, "--model", "\x1b[31mmodel"),
        command("segment", folder / ODD, tmp_path / "three", *TEXT, "--upsampler", "\x1b[31m"),
        command("classify", folder, "-t", "road", "-t", "\x1b[31mwater", *options[:2]),
        command("\x1b[31m"),
    ]
    assert [run.code for run in runs] == [1, 0, 2, 2, 2, 2, 1, 2]
    for run in runs:
        for text in (run.out, run.err):
            assert not any(sign in text for sign in "\x1b\x07\u202e\r"), repr(text)
    assert "a\\x1b[2J\\x1b]0;owned\\x07b\\u202egnp.tif" in runs[2].err + runs[0].out + runs[6].err
    batch = (tmp_path / "maps" / "batch.json").read_text(encoding="utf-8")
    assert "\u202e" not in batch and str(folder / ODD) in {e["source"] for e in json.loads(batch)["scenes"]}


def test_warnings_are_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from earthwords.cli import streams

    with streams.standard_streams(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = streams._warn
        warnings.warn("odd \x1b[31m\nthing", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "UserWarning: odd \\x1b[31m\\nthing\n"
