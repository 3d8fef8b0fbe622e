"""`earthwords pairs` that was stopped, and the same command again."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from earthwords.data.annotations.boxes._common import How
from earthwords.data.captions import pipeline, records
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.progress import Bar
from tests.conftest import Command
from tests.tasks.pairs.conftest import contents, make

DRIVER = """
import os, signal, sys
from multiprocessing import forkserver

for name in ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid"):  # workers of one's own
    setattr(forkserver._forkserver, name, None)

from earthwords.cli import main

left = int(sys.argv[1])
replace = os.replace

def count_event():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def count(*args):
    count_event()
    replace(*args)
    count_event()

os.replace = count
unlink = os.unlink

def unlinked(*args, **options):
    unlink(*args, **options)
    count_event()

os.unlink = unlinked
from earthwords.data.captions import pipeline as job
from earthwords.jobs.journal import Journal
save = Journal.save

def saved(*args):
    count_event()
    save(*args)
    count_event()

Journal.save = saved
job.UNIT = 4
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that kills")
@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("out", 1),
        pytest.param("out.jsonl", 1, marks=pytest.mark.slow),
        pytest.param("out.parquet", 1, marks=pytest.mark.slow),
        ("out", 2),
    ],
)
def test_killed_and_started_again(source: Path, tmp_path: Path, name: str, workers: int) -> None:
    """After one part or renaming, before the next one, after two, ... until a run comes to its end."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()

    def run(folder: Path, event: int, *options: object) -> int:
        argv = ["pairs", source, folder / name, "--shard-size", "3", "--tile-size", "60", "--quiet", "--json"]
        return kill_at(event, [str(word) for word in (*argv, *options)])

    assert run(whole, 10**6) == 0
    codes = [-9]
    while codes[-1] == -9 and len(codes) < 60:
        codes.append(run(killed, 1 + len(codes), "--workers", workers))
        if codes[-1] == 2:
            codes[-1] = 0  # it was killed when all was done but the removal of the journal
    assert codes[-1] == 0 and len(codes) > (5 if workers == 1 else 4), "of two workers, what they rename is not counted"
    assert contents(killed) == contents(whole)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that kills")
def test_killed_while_it_replaces(source: Path, tmp_path: Path) -> None:
    """A folder that is replaced is there as it was, or the new one, or neither; the same command ends it."""
    argv = [str(word) for word in ("pairs", source, tmp_path / "out", "--overwrite", "--quiet")]
    assert kill_at(10**6, argv) == 0
    before = contents(tmp_path / "out")
    argv += ["--shard-size", "2"]
    assert kill_at(10**6, [*argv[:2], str(tmp_path / "new"), *argv[3:]]) == 0
    codes = []
    while not codes or codes[-1] == -9:
        codes.append(kill_at(1 + len(codes), argv))
        found = contents(tmp_path / "out")
        assert found in ({}, before, contents(tmp_path / "new"))
    assert codes[-1] == 0 and len(codes) > 5 and found == contents(tmp_path / "new")
    assert not list(tmp_path.glob(".*"))


def kill_at(event: int, argv: list[str]) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.argv = ["driver", str(event), *argv]
    try:
        exec(DRIVER, {})
    except SystemExit as end:
        os._exit(int(end.code or 0))
    os._exit(99)


@pytest.fixture
def half(command: Command, source: Path, tmp_path: Path) -> Iterator[Path]:
    """A second source with a damaged image, which ended a run with the first one; whole again."""
    other = make(tmp_path / "port", {"x": 50})
    path = other / "images" / "x.jpg"
    good = path.read_bytes()
    path.write_bytes(good[:300])
    command("pairs", source, other, tmp_path / "out", "--quiet").failed(1, "x.jpg", "1 of 2 parts are done")
    assert (tmp_path / ".out.journal").is_dir()
    path.write_bytes(good)
    return other


def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sets whose images are looked at from now on."""
    seen: list[str] = []
    real = records.examine
    monkeypatch.setattr(records, "examine", lambda how, unit: seen.append(unit.items[0].set) or real(how, unit))
    return seen


def test_the_same_command_goes_on(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = examined(monkeypatch)
    assert command("pairs", source, half, tmp_path / "out", "--quiet").code == 0
    assert seen == ["port"] and not (tmp_path / ".out.journal").exists()
    assert command("pairs", source, half, tmp_path / "again", "--quiet").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", 5], "its seed was 0 and is 5 now"),
        (["--captions", 4], "its captions was 5 and is 4 now"),
        (["--shard-size", 7], "its shard-size was 1000 and is 7 now"),
        (["--format", "yolo"], "its format was auto and is yolo now"),
        (["--no-dedup"], "its dedup was True and is False now"),
        (["--no-turned"], "its turned was True and is False now"),
        (["--threshold", 2], "its threshold was 4 and is 2 now"),
        (["--against", "{port}"], "its against was not given and is "),
        (["--min-pixels", 2], "its min-pixels was 1 and is 2 now"),
        (["--min-visible", 0.5], "its min-visible was 0.3 and is 0.5 now"),
        (["--tile-size", 40], "its tile-size was not given and is 40 now"),
        (["--bands", "3,2,1"], "its bands was not given and is 3,2,1 now"),
        (["--classes", "{town}/classes.txt"], "its classes was not given"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_other_options_are_refused(
    command: Command, source: Path, half: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    before = contents(tmp_path)
    argv = [str(word).format(port=half, town=source) for word in options]
    done = command("pairs", source, half, tmp_path / "out", *argv, "--quiet")
    done.failed(2, words, "run with what it was begun with, or begin anew with --no-resume")
    assert contents(tmp_path) == before


def test_beginning_anew(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = examined(monkeypatch)
    assert command("pairs", source, half, tmp_path / "out", "--seed", 5, "--no-resume", "--quiet").code == 0
    assert seen == ["town", "port"] and not (tmp_path / ".out.journal").exists()
    assert command("pairs", source, half, tmp_path / "again", "--seed", 5, "--quiet").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_the_way_out_of_damaged_images_loses_nothing(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told of --on-error skip goes on with it; but what was left out is no result for those who stop."""
    image = half / "images" / "x.jpg"
    image.write_bytes(image.read_bytes()[:300])
    seen = examined(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "find_copies", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command("pairs", source, half, tmp_path / "out", "--on-error", "skip", "--quiet").code == 130
    assert seen == ["port"]
    command("pairs", source, half, tmp_path / "out", "--quiet").failed(1, "x.jpg")
    done = command("pairs", source, half, tmp_path / "out", "--on-error", "skip", "--quiet", "--json")
    assert seen == ["port", "port"] and len(json.loads(done.out)["damaged"]) == 1


def test_sources_that_have_changed_are_read_again(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "labels" / "i4.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    seen = examined(monkeypatch)
    assert command("pairs", source, half, tmp_path / "out", "--quiet").code == 0
    assert seen == ["town", "port"]
    assert command("pairs", source, half, tmp_path / "again", "--quiet").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_where_nothing_is_left_nothing_stays(command: Command, source: Path, tmp_path: Path) -> None:
    command("pairs", source, tmp_path / "out", "--against", source, "--quiet").failed(1, "No image is left")
    assert not list(tmp_path.glob(".*"))
    assert command("pairs", source, tmp_path / "out", "--quiet").code == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed another way there")
def test_dead_workers_are_replaced(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are killed after the first part; what they were at is computed again."""
    executors: list[Any] = []
    real = make_executor

    @contextmanager
    def kept(*args: Any, **options: Any) -> Iterator[Any]:
        with real(*args, **options) as executor:
            executors.append(executor)
            yield executor

    class Killing(Bar):
        def __call__(self, done: float) -> None:
            if killed is not None and not killed:
                killed.extend(executors[-1]._pool._processes)
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

    @contextmanager
    def bar(what: str, total: int) -> Iterator[Bar]:
        yield Killing()

    monkeypatch.setattr(pipeline, "make_executor", kept)
    monkeypatch.setattr(pipeline, "UNIT", 2)
    found = []
    for workers in (1, 2):
        killed: list[int] | None = [] if workers == 2 else None
        job = pipeline.PairsRun(
            sources=(source,), dst=tmp_path / str(workers), recipe=records.CaptionOptions(how=How()), workers=workers,
            shard_size=2,
        )  # fmt: skip
        job.run(bar)
        found.append(contents(tmp_path / str(workers)))
        assert not killed or len(killed) == 2
    assert killed and found[0] == found[1] and len(executors) == 2, "one executor a run"
