"""A full disk and a signal, in a process of its own: one sentence, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import WIDTH
from tests.verbs import write_masks

FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from earthwords.cli import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, source, *options = sys.argv[1:]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
outcomes = []
for name, limit in json.loads(options.pop()):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit or hard, hard))
    out = Path(folder) / "new" / name
    code = main(["segment", source, str(out), *options, "--co", "COMPRESS=NONE"])
    outcomes.append((code, sorted(path.name for path in Path(folder).rglob("*"))))
    print("next", file=sys.stderr, flush=True)
print("OUTCOMES", json.dumps(outcomes))
"""
FULL_AT = [
    ("out", 100),
    ("out", 3_000),
    ("out", 200_000),
    ("a.tif", 4_000),
    ("a.png", 2_000),
    ("a.gpkg", 90_000),
    ("a.fgb", 1_000),
    ("a.parquet", 1_000),
    ("out", None),
]
"""DST and the size that no file may exceed; the last one has room enough."""

SIGNALLED = """
import os, signal, sys
from earthwords.cli import main
from earthwords.inference.windows import blocks
from earthwords.inference.segment.job import SceneJob

blocks.PIXELS = int(os.environ.get("PIXELS", blocks.PIXELS))
run = SceneJob.run

def signal_when_ten_windows_are_done(self, *, tick, **options):
    done = 0
    def count(windows):
        nonlocal done
        done += windows
        if 10 <= done < 10 + windows:
            assert [path for path in os.listdir(os.environ["OUT"]) if path.endswith(".part")]
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
    return run(self, tick=count, **options)

SceneJob.run = signal_when_ten_windows_are_done
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
main()
"""


def python(code: str, *argv: object, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_full_disk(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    options = ["-t", "building", "-t", "road", "--model", micro, "--tile-size", 64, "--quiet"]
    done = python(FULL_DISK, tmp_path, scene_file, *options, json.dumps(FULL_AT))
    assert done.returncode == 0, done.stderr
    *failures, (code, names) = json.loads(done.stdout.split("OUTCOMES", 1)[1])
    assert code == 0 and {"new", "out", "labels.tif", "report.json"} <= set(names)
    told = done.stderr.split("next\n")
    for (dst, limit), outcome, words in zip(FULL_AT, failures, told, strict=False):
        assert outcome == [1, []], f"{dst} at {limit}: exit code 1 and nothing left, not even the folder made for it"
        lines = [line for line in words.splitlines() if not line.startswith("_tiff")]  # libtiff's own words
        assert len(lines) == 1 and lines[0].startswith(f"earthwords: Cannot write {tmp_path / 'new' / dst}"), words
        assert ".part" not in lines[0], "hidden folders are nobody's business"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX thing")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), pytest.param("SIGTERM", 143, marks=pytest.mark.slow)])
def test_a_signal(micro: Path, scene_file: Path, tmp_path: Path, name: str, code: int) -> None:
    out = tmp_path / "new" / "out"
    options = ["-t", "building", "-t", "road", "--model", micro, "--tile-size", 64, "--quiet"]
    done = python(SIGNALLED, "segment", scene_file, out, *options, OUT=str(out), SIGNAL=name)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr == "earthwords: Interrupted. Nothing was kept.\n"
    assert list(tmp_path.iterdir()) == []


AFTER_A_PART = """
import os, signal
from earthwords.cli import main
from earthwords.jobs.journal import Journal
save = Journal.save

def save_and_signal(self, name, result):
    save(self, name, result)
    os.kill(os.getpid(), signal.SIGTERM)

Journal.save = save_and_signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX thing")
def test_a_signal_while_workers_work_leaves_no_temporary_file(tmp_path: Path) -> None:
    masks, scratch = write_masks(tmp_path / "masks"), tmp_path / "scratch"
    scratch.mkdir()
    argv = ["pairs", masks, tmp_path / "out", "--quiet", "--workers", 2]
    done = python(AFTER_A_PART, *argv, TMPDIR=str(scratch))
    told = "earthwords: Interrupted. The same command goes on from here: 1 of 1 parts are done.\n"
    assert (done.returncode, done.stderr) == (143, told)
    assert list(scratch.rglob("*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the names of its pipes may be long")
def test_a_long_name_of_the_temporary_folder_leaves_room_for_sockets(tmp_path: Path) -> None:
    masks, scratch = write_masks(tmp_path / "masks"), tmp_path / ("a long name " * 8)
    scratch.mkdir()
    argv = ["pairs", masks, tmp_path / "out", "--quiet", "--workers", 2]
    done = python("from earthwords.cli import main; main()", *argv, TMPDIR=str(scratch))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(scratch.rglob("*")) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX thing")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_a_cluster_works(tmp_path: Path, name: str, code: int) -> None:
    """Ray puts handlers of its own in the place of ours, and fails on what is cancelled after its end."""
    pytest.importorskip("ray", reason="Ray is not installed")
    argv = ["pairs", write_masks(tmp_path / "masks"), tmp_path / "out", "--quiet", "--workers", 2, "--cluster", "local"]
    done = python(AFTER_A_PART.replace("SIGTERM", name), *argv)
    told = "earthwords: Interrupted. The same command goes on from here: 1 of 1 parts are done.\n"
    assert (done.returncode, done.stderr) == (code, told)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a POSIX thing")
def test_what_a_signal_leaves_is_told(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    argv = ["segment", scene_file, out, "-t", "building", "--model", micro, "--tile-size", 64, "--quiet"]
    where = {"OUT": str(out), "SIGNAL": "SIGINT", "PIXELS": str(32 * WIDTH)}
    done = python(SIGNALLED, *argv, **where)
    told = re.fullmatch(
        r"earthwords: Interrupted\. The same command goes on from here: (\d+) of (\d+) blocks are done\.\n", done.stderr
    )
    assert told and 0 < int(told[1]) < int(told[2]), done.stderr
    done = python(SIGNALLED, *argv, "--no-resume", **where)
    assert done.stderr == "earthwords: Interrupted. Nothing was kept.\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "out"]
