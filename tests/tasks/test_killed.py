"""Killed at any instant and started again: the bytes of a run that nobody disturbed, and nothing else left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.verbs import OUT, SCENE, contents, maps, others, trainings

DRIVER = """
import contextlib, importlib, io, json, os, pkgutil, random, shutil, signal, sys, tempfile, time
from pathlib import Path

# all of torch's threads begin in the children
import earthwords.data.expressions.pipeline, earthwords.inference, earthwords.tasks, earthwords.training
import torch
from transformers import CLIPModel
for package in (earthwords.tasks, earthwords.training, earthwords.inference):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
from earthwords.archive import embed
from earthwords.cli import main
from earthwords.inference.change.dense import PosteriorDifference
from earthwords.inference.windows import array_file, blocks
from earthwords.jobs import progress
from earthwords.jobs.journal import Journal
from earthwords.training import loop

folder, rows, cases = Path(sys.argv[1]), int(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
blocks.PIXELS = rows
PosteriorDifference.sides = (128,)
embed.cache_folder = lambda: Path(tempfile.mkdtemp(dir=folder.parent))  # no run knows the vectors of another one


def command(argv, before=lambda: None, after=lambda: None):
    "The command in a child process."
    pid = os.fork()
    if pid:
        return pid
    before()
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        code = main(list(argv))
    after()
    if code:
        print(said.getvalue(), file=sys.__stderr__, flush=True)
    os._exit(code)


def ended(pid):
    "Its exit code, or minus the signal."
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_until(pid, seconds):
    "Wait for a child, but no longer than so many seconds; its exit code or None."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
    return None


count = [0]


def watch(event):
    "Count what happens to files and on the bar, and let this process kill itself when so much has happened."
    def counted(place, name):
        function = getattr(place, name)

        def call(*args, **kwargs):
            happened()
            result = function(*args, **kwargs)
            happened()
            return result

        setattr(place, name, call)

    def happened():
        count[0] += 1
        if count[0] == event:
            os.kill(os.getpid(), signal.SIGKILL)

    for place, name in (
        (os, "replace"), (os, "mkdir"), (os, "unlink"), (shutil, "rmtree"), (torch, "save"), (array_file, "save_file"),
        (Journal, "save"), (loop, "_log"), (loop, "_step"), (progress.Bar, "__call__"), (Path, "write_text"),
        (Path, "write_bytes"),
    ):
        counted(place, name)


def names(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def survive(name, argv, how, kills, seed):
    place, draw = folder / name.replace(" ", "-"), random.Random(seed)
    place.mkdir()
    line = lambda out: [word.replace("OUT", str(out)) for word in argv]
    whole, out, counts = place / "whole", place / "out", place / "counts"
    began = time.monotonic()
    assert ended(command(line(whole), lambda: watch(0), lambda: counts.write_text(str(count[0])))) == 0, name
    whole_s, total = time.monotonic() - began, int(counts.read_text())
    counts.unlink()
    killed = finished = 0
    while killed < kills:
        if how == "events":
            event = draw.choice([draw.randint(1, total), draw.randint(max(1, total - 60), total), draw.randint(1, 12)])
            code = ended(command(line(out), lambda: watch(event)))
        else:
            pid = command(line(out))
            code = wait_until(pid, draw.uniform(0, 1.3 * whole_s))
            if code is None:
                os.kill(pid, signal.SIGKILL)
                code = ended(pid)
        assert code in (0, -signal.SIGKILL), (name, code)
        killed += code != 0
        if code and out.exists() and names(out) == names(whole):  # all was done but the end of the process
            code = ended(command(line(out)))
            assert code in (0, 2), (name, code, "the outputs are there")
            code = 0
        if code == 0 and killed < kills:
            finished += 1
            out.rename(place / f"out-{finished}")
    if code:
        assert ended(command(line(out))) == 0, name
    return {"killed": killed, "finished": finished + 1, "whole_s": round(whole_s, 1), "events": total}


told = {}
for case in cases:
    told[case["name"]] = survive(**case)
    print(case["name"], told[case["name"]], file=sys.__stderr__, flush=True)
print(json.dumps(told))
"""


def survive(folder: Path, cases: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Have commands killed and begun again, and compare; what the driver tells of each."""
    results = folder / "results"
    results.mkdir()
    (folder / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(results), str(32 * SCENE[1]), str(folder / "cases.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1760000000", "OMP_NUM_THREADS": "1"},
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    told: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    for case in cases:
        place, about = results / case["name"].replace(" ", "-"), told[case["name"]]
        assert about["killed"] == case["kills"]
        wanted = contents(place / "whole")
        outs = [path for path in place.iterdir() if path.name != "whole"]
        assert len(outs) == about["finished"] and wanted, [path.name for path in place.iterdir()]
        for out in outs:
            found = contents(out)
            assert found.keys() == wanted.keys(), out
            assert [name for name in wanted if found[name] != wanted[name]] == [], out
    return told


def cases(lines: dict[str, list[str]], how: str, seed: int, **kills: int) -> list[dict[str, Any]]:
    """For the driver; `kills` by the name of a command with _ for blanks."""
    named = {name.replace("_", " "): number for name, number in kills.items()}
    return [
        {"name": name, "argv": lines[name], "how": how, "kills": number, "seed": seed} for name, number in named.items()
    ]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def lines(micro: Path, tmp_path: Path) -> dict[str, list[str]]:
    found = {**trainings(tmp_path, micro), **maps(tmp_path, micro), **others(tmp_path, micro)}
    found["classify"] = [f"{OUT}/table.csv" if word == f"{OUT}.csv" else word for word in found["classify"]]
    found["classify"] += ["--batch-size", "3"]
    return found | {
        f"{verb} workers": [*found[verb], "--workers", "2"] for verb in ("pairs", "expressions", "classify")
    }


@needs_fork
def test_killed_where_it_hurts(lines: dict[str, list[str]], tmp_path: Path) -> None:
    """Between any two windows or steps, before and after anything that happens to a file."""
    some = {"segment": 4, "segment_many": 2, "change": 2, "refer": 1, "upsample": 1}
    some |= {"classify": 2, "expressions": 1, "data_prepare": 1}
    learnt = {"train_clip": 1, "train_upsampler": 1, "train_refer": 1}
    survive(tmp_path, cases(lines, "events", 3, **some, **learnt))


SIXTY = {"segment_many": 5, "segment_workers": 5, "count": 3, "refer": 4, "upsample": 4} | {
    "train_clip": 2, "train_upsampler": 4, "train_refer": 3,
}  # fmt: skip
"""Of each way half of the kills."""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(("how", "seed"), [("events", 6), ("time", 7)])
def test_sixty_kills_of_every_long_command(lines: dict[str, list[str]], tmp_path: Path, how: str, seed: int) -> None:
    assert sum(SIXTY.values()) == 30
    survive(tmp_path, cases(lines, how, seed, **SIXTY))


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("how", ["events", "time"])
def test_killed_while_lists_and_indexes_are_made(lines: dict[str, list[str]], tmp_path: Path, how: str) -> None:
    alone = {"index": 10, "pairs": 10, "expressions": 10, "data_prepare": 10, "classify": 10}
    shared = {"pairs_workers": 4, "expressions_workers": 4, "classify_workers": 4}
    survive(tmp_path, cases(lines, how, 8, **alone, **shared))


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(("how", "kills", "seed"), [("time", 50, 4), ("events", 100, 5)])
def test_killed_many_times(lines: dict[str, list[str]], tmp_path: Path, how: str, kills: int, seed: int) -> None:
    survive(tmp_path, cases(lines, how, seed, segment=kills))
