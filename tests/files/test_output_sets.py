"""Files that appear together, and what a process that dies while they move leaves to the next one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from earthwords.errors import OutputError, UsageError
from earthwords.files.atomic import atomic_path, staging
from earthwords.files.output_sets import half_set, output_set, staging_all, tidy
from tests.files.test_atomic import contents

HOW = {"threshold": "0.3", "words": "road"}


def test_several_files_appear_together(tmp_path: Path) -> None:
    targets = {"labels": tmp_path / "a.tif", "report": str(tmp_path / "deep" / "a.json")}
    with staging_all(targets, settings=HOW) as places:
        assert list(places) == ["labels", "report"]
        for path in places.values():
            path.write_text("new")
        assert not (tmp_path / "a.tif").exists()
    assert contents(tmp_path / "deep") == {"a.json": "new"}
    assert (tmp_path / "a.tif").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "deep"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_several_files_or_none(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "b").write_text("old")
    with (
        pytest.raises(type(error)),
        staging_all({"a": tmp_path / "a", "b": tmp_path / "b"}, settings=HOW, overwrite=True) as places,
    ):
        for path in places.values():
            path.write_text("new")
        raise error
    assert contents(tmp_path) == {"b": "old"}


def test_one_file_missing_keeps_all_back(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=f"^{tmp_path}/b was not written"),
        staging_all({"a": tmp_path / "a", "b": tmp_path / "b"}, settings=HOW) as places,
    ):
        places["a"].write_text("new")
    assert contents(tmp_path) == {}


def test_one_file_existing_stops_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with (
        pytest.raises(UsageError, match="b exists"),
        staging_all({"a": tmp_path / "a", "b": tmp_path / "b"}, settings=HOW),
    ):
        raise AssertionError("too late")
    assert contents(tmp_path) == {"b": "old"}


def test_folders_made_for_a_file_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    targets = {"a": tmp_path / "old" / "new" / "deep" / "a", "b": tmp_path / "old" / "other" / "b"}
    with pytest.raises(KeyboardInterrupt), staging_all(targets, settings=HOW) as places:
        places["a"].write_text("new")
        raise KeyboardInterrupt
    assert list((tmp_path / "old").iterdir()) == []


def test_errors_name_the_file_and_not_the_hidden_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=f"Cannot write {tmp_path}/a "),
        staging_all({"a": tmp_path / "a"}, settings=HOW) as places,
        atomic_path(places["a"]),
    ):
        raise OSError(28, "No space left on device")


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def everything(folder: Path) -> set[str]:
    """All names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def write(folder: Path, *names: str, text: str, how: dict[str, str] = HOW, **options: object) -> None:
    with staging_all({name: folder / name for name in names}, settings=how, **options) as places:  # type: ignore[arg-type]
        for name, place in places.items():
            place.write_text(f"{text} {name}")


def die(work: Callable[[], None], *, before: int) -> None:
    """Do it in a process that kills itself before its so manieth renaming, from 0."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        return
    replace, left = os.replace, [before]

    def counted(*args: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args)  # type: ignore[arg-type]

    os.replace = counted
    try:
        work()
    finally:
        os._exit(0)


@needs_fork
@pytest.mark.parametrize("before", range(4))
def test_the_same_command_finishes_what_a_dead_one_began(tmp_path: Path, before: int) -> None:
    die(lambda: write(tmp_path, "a", "b", "c", text="old"), before=before)
    there = {name for name in everything(tmp_path) if not name.startswith(".")}
    assert there == set(("a", "b")[: max(0, before - 1)])
    half = half_set([tmp_path / name for name in "abc"])
    assert {name for name in "abc" if half.owns(tmp_path / name)} == there
    write(tmp_path, "a", "b", "c", text="new")
    assert contents(tmp_path) == {name: f"new {name}" for name in "abc"} and everything(tmp_path) == {*"abc"}


@needs_fork
@pytest.mark.parametrize("second", range(4))
def test_it_may_die_more_than_once(tmp_path: Path, second: int) -> None:
    """What the first death left is still known when another one left less."""
    die(lambda: write(tmp_path, "a", "b", "c", text="first"), before=3)
    die(lambda: write(tmp_path, "a", "b", "c", text="second"), before=second)
    write(tmp_path, "a", "b", "c", text="third")
    assert contents(tmp_path) == {name: f"third {name}" for name in "abc"} and everything(tmp_path) == {*"abc"}


@needs_fork
def test_another_command_does_not(tmp_path: Path) -> None:
    die(lambda: write(tmp_path, "a", "b", text="old"), before=2)
    other = {"threshold": "0.5", "words": "road"}
    with pytest.raises(UsageError, match=r"unfinished run lies in .*its threshold was 0.3 and is 0.5 now.*--overwrite"):
        write(tmp_path, "a", "b", text="new", how=other)
    assert (tmp_path / "a").read_text() == "old a"
    write(tmp_path, "a", "b", text="new", how=other, overwrite=True)
    assert everything(tmp_path) == {"a", "b"} and (tmp_path / "a").read_text() == "new a"


@needs_fork
def test_another_command_may_begin_where_nothing_is_left(tmp_path: Path) -> None:
    die(lambda: write(tmp_path, "a", "b", text="old"), before=1)
    write(tmp_path, "a", "b", text="new", how={"threshold": "0.5"})
    assert everything(tmp_path) == {"a", "b"}


@needs_fork
@pytest.mark.parametrize("name", ["a", "b"])
def test_files_of_others_are_never_taken(tmp_path: Path, name: str) -> None:
    """Neither one that stands where an output was going to, nor an output that was changed."""
    die(lambda: write(tmp_path, "a", "b", text="old"), before=2)
    (tmp_path / name).write_text("my own work")
    with pytest.raises(UsageError, match=f"{name} exists; pass --overwrite"):
        write(tmp_path, "a", "b", text="new")
    assert (tmp_path / name).read_text() == "my own work"


@needs_fork
def test_what_is_remembered_elsewhere_is_remembered_before_the_set_is_forgotten(tmp_path: Path) -> None:
    def note() -> None:
        (tmp_path / "notes").write_text("a is done")
        os.kill(os.getpid(), signal.SIGKILL)

    die(lambda: write(tmp_path, "a", text="old", moved=note), before=9)
    assert half_set([tmp_path / "a"]).owns(tmp_path / "a")
    tidy([tmp_path / "a"])
    assert everything(tmp_path) == {"a", "notes"} and not half_set([tmp_path / "a"]).owns(tmp_path / "a")


def test_a_living_process_is_not_disturbed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"Another process is writing to {tmp_path}; wait for it"):
        write(tmp_path, "a", text="old", moved=lambda: write(tmp_path, "a", text="new"))
    assert (tmp_path / "a").read_text() == "old a"


def test_an_error_while_they_move_says_what_is_there(tmp_path: Path) -> None:
    """And the same command takes it."""
    with (
        pytest.raises(KeyboardInterrupt) as caught,
        output_set([tmp_path / "a", tmp_path / "b"], settings=HOW, overwrite=False) as (_, announce),
        staging(tmp_path / "a") as folder,
    ):
        (folder / "a").write_text("old")
        announce({tmp_path / "a": folder / "a"})
        os.replace(folder / "a", tmp_path / "a")
        raise KeyboardInterrupt
    assert "the same command goes on from here" in caught.value.__notes__[0]
    write(tmp_path, "a", "b", text="new")
    assert contents(tmp_path) == {"a": "new a", "b": "new b"} and everything(tmp_path) == {"a", "b"}


def test_an_error_before_they_move_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a"
    with (
        pytest.raises(KeyboardInterrupt),
        output_set([target], settings=HOW, overwrite=False) as (_, announce),
        staging(target) as folder,
    ):
        (folder / "a").write_text("old")
        announce({target: folder / "a"})
        raise KeyboardInterrupt
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": 3}', '{"files": {"a": 3}, "settings": {}}'])
def test_a_marker_that_says_nothing_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".a.moving").write_text(text)
    (tmp_path / "a").write_text("my own work")
    with pytest.raises(UsageError, match="a exists"):
        write(tmp_path, "a", text="new")
    write(tmp_path, "a", text="new", overwrite=True)
    assert everything(tmp_path) == {"a"}
