"""Killed at any instant and started again: the bytes of a run that nobody disturbed, and nothing else left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_raster
from tests.micro import patchwork

DRIVER = """
import contextlib, io, json, os, random, shutil, signal, sys, time
from pathlib import Path

# all of torch's threads begin in the children
from earthwords.cli import main
from earthwords.inference import blocks, scene_job
from earthwords.tasks import _scenes, segment
import earthwords.geo.outputs, earthwords.inference.journal
from safetensors import numpy as store

how, kills, seed, rows, folder, *argv = sys.argv[1:]
folder = Path(folder)
blocks.PIXELS = int(rows)
draw = random.Random(int(seed))


def command(out, before=lambda: None):
    "The command in a child process; its exit code, or minus the signal."
    pid = os.fork()
    if pid:
        return pid
    before()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main([*argv[:2], str(out), *argv[2:]])
    if code:
        print(said.getvalue(), file=sys.__stderr__, flush=True)
    os._exit(code)


def ended(pid):
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def die_at(event):
    "Let this process kill itself when so many things have happened."
    left = [event]

    def count(function):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return counted

    os.replace = count(os.replace)
    shutil.rmtree = count(shutil.rmtree)
    earthwords.inference.journal.save_file = count(earthwords.inference.journal.save_file)
    Path.touch = count(Path.touch)
    run = scene_job.SceneJob.run
    scene_job.SceneJob.run = lambda self, *, tick, **more: run(self, tick=count(tick), **more)


def wait_until(pid, seconds):
    "Wait for a child, but no longer than so many seconds; its exit code or None."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
    return None


began = time.monotonic()
assert ended(command(folder / "whole")) == 0
whole_s = time.monotonic() - began
killed = finished = 0
while killed < int(kills):
    if how == "events":
        event = draw.choice([draw.randint(1, 100), draw.randint(1, 12), draw.randint(90, 160)])
        code = ended(command(folder / "out", lambda: die_at(event)))
    else:
        pid = command(folder / "out")
        code = wait_until(pid, draw.uniform(0, 1.3 * whole_s))
        if code is None:
            os.kill(pid, signal.SIGKILL)
            code = ended(pid)
    assert code in (0, -signal.SIGKILL), code
    killed += code != 0
    if code and (folder / "out" / "report.json").exists() and not (folder / "out" / ".labels.tif.journal").exists():
        code = 0  # all was done but the end of the process
        assert ended(command(folder / "out")) == 2, "the outputs are there"
    if code == 0 and killed < int(kills):
        finished += 1
        (folder / "out").rename(folder / f"out-{finished}")
    print(code, flush=True)
if code:
    assert ended(command(folder / "out")) == 0
print(json.dumps({"killed": killed, "finished": finished + 1, "whole_s": whole_s}))
"""


def contents(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, hidden things included; of the report what does not depend on clock and place."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = json.loads(found.pop("report.json"))
    kept = {key: value for key, value in report.items() if key not in ("seconds", "outputs")}
    return {**found, "report.json": json.dumps(kept).encode()}


def survive(folder: Path, micro: Path, *, how: str, kills: int, seed: int) -> None:
    scene = write_raster(folder / "scene.tif", np.moveaxis(patchwork(330, 190), -1, 0))
    results = folder / "results"
    results.mkdir()
    words = ["-t", "building,roof", "-t", "road", "-t", "water", "-t", "trees"]
    argv = ["segment", scene, "--model", micro, "--tile-size", 64, "--probabilities", "uint8", "--offline", *words]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, how, str(kills), str(seed), str(32 * 190), str(results), *map(str, argv)],
        capture_output=True,
        text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1760000000", "OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] == kills
    wanted = contents(results / "whole")
    assert {"labels.tif", "polygons.gpkg", "preview.png", "probabilities.tif", "report.json"} <= wanted.keys()
    outs = [path for path in results.iterdir() if path.name != "whole"]
    assert len(outs) == told["finished"], [path.name for path in results.iterdir()]
    for out in outs:
        assert contents(out) == wanted, out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_where_it_hurts(micro: Path, tmp_path: Path) -> None:
    """Between any two windows, before and after any renaming and removing."""
    survive(tmp_path, micro, how="events", kills=14, seed=3)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_fifty_times_at_any_time(micro: Path, tmp_path: Path) -> None:
    survive(tmp_path, micro, how="time", kills=50, seed=4)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_a_hundred_events(micro: Path, tmp_path: Path) -> None:
    survive(tmp_path, micro, how="events", kills=100, seed=5)
