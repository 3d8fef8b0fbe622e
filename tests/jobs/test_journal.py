"""The journal of unfinished work: what is whole is kept, other settings are refused, one process works at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from earthwords.errors import UsageError
from earthwords.jobs.journal import ABOUT, PARTS, Journal, journal_beside, open_journal

SETTINGS = {"threshold": "0.3", "words": "road; water"}


class Died(Exception):
    """What ends a run here."""


@contextmanager
def dying(folder: Path, **options: Any) -> Iterator[Journal]:
    """A run that dies at the end of the block."""
    with suppress(Died), open_journal(folder, **{"settings": SETTINGS, **options}) as journal:
        yield journal
        raise Died


def test_results_come_back_as_they_went(tmp_path: Path) -> None:
    parts = {"b/ü": b"two", "a": b"\x00" * 7, "": b"", "bytes \udcff": bytes(range(256)) * 300}
    with dying(tmp_path / "j") as journal:
        for name, result in parts.items():
            journal.save(name, result)
        journal.save("a", b"again")
    parts["a"] = b"again"
    with open_journal(tmp_path / "j", settings=SETTINGS) as journal:
        assert sorted(journal) == sorted(parts) and len(journal) == 4 and "c" not in journal
        assert {name: journal.read(name) for name in journal} == parts
        journal.save("c", b"new")
        assert (journal.read("c"), journal.read("a")) == (b"new", b"again")
    assert list(tmp_path.iterdir()) == [], "a run that came to its end leaves nothing"


def test_what_is_cut_off_or_damaged_is_forgotten_with_what_follows(tmp_path: Path) -> None:
    with dying(tmp_path / "j") as journal:
        journal.save("one", b"111")
        ends = [0, (tmp_path / "j" / PARTS).stat().st_size]
        journal.save("two", b"2222")
        ends.append((tmp_path / "j" / PARTS).stat().st_size)
    whole = (tmp_path / "j" / PARTS).read_bytes()
    for cut in range(len(whole) + 1):
        (tmp_path / "j" / PARTS).write_bytes(whole[:cut])
        kept = ["one", "two"][: sum(end <= cut for end in ends[1:])]
        with dying(tmp_path / "j") as journal:
            assert list(journal) == kept
            for name, result in (("one", b"111"), ("two", b"2222")):
                if name not in journal:
                    journal.save(name, result)
        assert (tmp_path / "j" / PARTS).read_bytes() == whole
    for place in range(len(whole)):
        (tmp_path / "j" / PARTS).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with dying(tmp_path / "j") as journal:
            assert list(journal) == ["one"][: place >= ends[1]]
            journal.save("one", b"111")
            if "two" not in journal:
                journal.save("two", b"2222")


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    with dying(tmp_path / "j") as journal:
        journal.save("one", b"1")
    for settings, words in (
        ({**SETTINGS, "threshold": "0.5"}, "its threshold was 0.3 and is 0.5 now"),
        ({"words": SETTINGS["words"]}, "its threshold was 0.3 and is not given now"),
        ({**SETTINGS, "gsd": "2"}, "its gsd was not given and is 2 now"),
    ):
        advice = "run with what it was begun with, or begin anew with --no-resume"
        with (
            pytest.raises(UsageError, match=f"{tmp_path}, but {words}; {advice}"),
            open_journal(tmp_path / "j", settings=settings),
        ):
            pass
    with dying(tmp_path / "j") as journal:
        assert list(journal) == ["one"], "a refusal changes nothing"
    with dying(tmp_path / "j", settings={"gsd": "2"}, resume=False) as journal:
        assert list(journal) == []
        journal.save("other", b"")
    assert list(tmp_path.iterdir()) == [], "what may not be resumed leaves nothing"


def test_what_an_error_says_of_going_on(tmp_path: Path) -> None:
    def told(names: str, total: int | None, **options: Any) -> list[str]:
        with (
            pytest.raises(Died) as caught,
            open_journal(tmp_path / "j", settings=SETTINGS, unit="images", **options) as journal,
        ):
            journal.total = total
            for name in names:
                journal.save(name, b"")
            raise Died
        return getattr(caught.value, "__notes__", [])

    assert told("", 9) == [] and not (tmp_path / "j").exists()
    assert told("ab", None) == ["The same command goes on from here: 2 images are done."]
    assert told("c", 1200) == ["The same command goes on from here: 3 of 1,200 images are done."]
    assert told("", 5, done=lambda journal: 4) == ["The same command goes on from here: 4 of 5 images are done."]


def test_about_is_that_of_the_run_that_began(tmp_path: Path) -> None:
    with dying(tmp_path / "j", about={"rows": 7}) as journal:
        began = journal.began
        journal.save("a", b"")
    with dying(tmp_path / "j", about={"rows": 8}) as journal:
        assert journal.about == {"rows": 7} and journal.began == began
    with dying(tmp_path / "j", about={"rows": 8}, resume=False) as journal:
        assert journal.about == {"rows": 8}


TORN = ["", "{", "[]", "null", '{"settings": {}}', "\x00"] + [
    json.dumps({"settings": {}, "began": "2026-01-01T00:00:00+00:00", "about": {}} | other)
    for other in ({"settings": ["x"]}, {"settings": None}, {"began": 5}, {"began": "today"}, {"about": 1})
]


@pytest.mark.parametrize("text", TORN)
def test_a_journal_that_never_began_is_begun(tmp_path: Path, text: str) -> None:
    (tmp_path / "j" / "folder").mkdir(parents=True)
    (tmp_path / "j" / ABOUT).write_text(text)
    (tmp_path / "j" / PARTS).write_bytes(b"x" * 50)
    with open_journal(tmp_path / "j", settings=SETTINGS) as journal:
        assert list(journal) == [] and {path.name for path in journal.folder.iterdir()} == {ABOUT, PARTS}


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_full_disk_leaves_none(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from earthwords.errors import OutputError
from earthwords.jobs.journal import open_journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
try:
    with open_journal(Path(sys.argv[1]), settings={}):
        pass
except OutputError:
    print("full")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "new" / "j")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "full\n"
    assert list(tmp_path.iterdir()) == []


def test_what_has_its_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match=f"{name} is in the way"), open_journal(tmp_path / name, settings=SETTINGS):
            pass
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_two_processes_do_not_share_one(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from earthwords.errors import UsageError
from earthwords.jobs.journal import open_journal
try:
    with open_journal(Path(sys.argv[1]), settings={}):
        pass
except UsageError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "j")]
    with open_journal(tmp_path / "j", settings=SETTINGS):
        refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert refused == f"Another process is working on {tmp_path}; wait for it, or choose another DST.\n"


def test_where_it_lies() -> None:
    assert journal_beside(Path("maps/a.tif")) == Path("maps/.a.tif.journal")
