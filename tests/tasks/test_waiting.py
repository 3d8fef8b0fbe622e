"""Ctrl-C and SIGTERM while a run waits for a server: it ends, at once, with the right exit code and nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_raster
from tests.micro import patchwork
from tests.servers import FileServer

MAIN = """
import signal, sys
from earthwords.inference.windows import blocks
blocks.PIXELS = 20_000
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
from earthwords.cli import main
main()
"""
WORDS = ("-t", "water", "-t", "road", "--upsampler", "none")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    image = np.moveaxis(patchwork(520, 640), -1, 0)
    for name in ("a.tif", "b.tif"):
        write_raster(folder / name, image, tiled=True, blockxsize=128, blockysize=128)
    with FileServer(folder) as files:
        yield files


def ended(server: FileServer, number: int, *argv: object) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a command that gets a signal once the server has left it waiting."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, argv)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert server.stuck.wait(240), process.communicate(timeout=1)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err, time.monotonic() - began


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("number", "code", "manner", "after"),
    [
        (signal.SIGINT, 130, "silent", 0),  # while it is opened
        pytest.param(signal.SIGTERM, 143, "headers", 2, marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "silent", 8),  # while windows are computed
        pytest.param(signal.SIGINT, 130, "trickle", 8, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_waits_is_ended(
    server: FileServer, tmp_path: Path, number: int, code: int, manner: str, after: int
) -> None:
    server.manner = manner
    server.silent = lambda method, path: path == "/a.tif" and len(server.log) > after
    (tmp_path / "maps").mkdir()
    found, err, seconds = ended(
        server, number, "segment", f"{server.url}/a.tif", tmp_path / "maps" / "out", *WORDS, "--quiet", "--no-resume"
    )
    assert found == code and seconds < 5
    assert err.startswith("earthwords: Interrupted.") and err.count("\n") == 1, err
    assert left(tmp_path / "maps") == []


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_many_scenes_that_wait_are_ended(server: FileServer, tmp_path: Path, workers: int) -> None:
    server.silent = lambda method, path: path == "/b.tif"
    listed = tmp_path / "list.txt"
    listed.write_text(f"{server.url}/a.tif\n{server.url}/b.tif\n")
    maps = tmp_path / "maps"
    found, err, seconds = ended(
        server, signal.SIGINT, "segment", f"@{listed}", maps, *WORDS, "--quiet", "--workers", workers
    )
    assert found == 130 and seconds < 5
    assert "Interrupted." in err and err.count("\n") == 1, err
    assert not [name for name in left(maps) if name.startswith("b/") and ".journal" not in name]


def test_other_verbs_that_wait_are_ended(server: FileServer, tmp_path: Path) -> None:
    server.silent = lambda method, path: True
    for verb in (["index", f"{server.url}/a.tif", tmp_path / "index"], ["classify", f"{server.url}/a.tif", *WORDS[:4]]):
        server.stuck.clear()
        found, err, seconds = ended(server, signal.SIGTERM, *verb, "--quiet")
        assert found == 143 and seconds < 5 and "Interrupted." in err


def test_what_is_shared_with_workers_is_given_back_at_the_end() -> None:
    """Whoever still holds it: Python's tracker of what is left would complain after the one line that is due."""
    code = """
import multiprocessing
from earthwords.cli import _leave
held = multiprocessing.get_context("spawn").Value("i", 0)
_leave(130)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "")
