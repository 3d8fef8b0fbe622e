"""What an unfinished run has done, on disk: the same command goes on from there.

A hidden folder with a lock, which the system takes away from a dead process, and

* `journal.json`: the settings that the work depends on, when it began, and what else is to be known first;
* `parts`: results of parts under their names, one behind the other; a run that is killed loses the last one at most;
* what else whoever does the work keeps there, such as large parts in files of their own.

The rule for all long work: the same settings go on, other settings are refused and the option is named, and
`--no-resume` begins anew.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from earthwords.errors import OutputError, UsageError
from earthwords.files.atomic import discard, locked, parents_made_for, writing
from earthwords.files.output_sets import check_same
from earthwords.files.reading import read_json

ABOUT, PARTS = "journal.json", "parts"
ADVICE = "run with what it was begun with, or begin anew with --no-resume"
_HEAD = struct.Struct("<IQI")
"""Bytes of the name, bytes of the result, checksum of both."""


class Journal:
    """An open journal; make one with `open_journal`. Threads take turns."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str], about: Mapping[str, Any], began: datetime) -> None:
        self.folder = folder
        self.settings = settings
        self.about = about
        """What was to be known first, as the run that began said it."""
        self.began = began
        """When the run began first."""
        self.total: int | None = None
        """Parts in all, if known."""
        self._places: dict[str, tuple[int, int]] = {}
        """Name of a part -> where its result begins in the file, and its length."""
        with writing(folder):
            self._file = (folder / PARTS).open("a+b")
            self._file.truncate(self._recall())

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Names of the parts that are done, in the order in which they were."""
        return iter(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    @property
    def made(self) -> datetime | None:
        """The time that outputs tell: when the run began first, so that one that was killed comes to the same bytes;
        None: the environment's SOURCE_DATE_EPOCH says it."""
        return None if "SOURCE_DATE_EPOCH" in os.environ else self.began

    def save(self, name: str, result: bytes) -> None:
        """Remember a part, in the place of an earlier one of that name.

        Raises:
            OutputError: the disk is full, or the like.
        """
        key = name.encode("utf-8", "surrogateescape")
        with writing(self.folder):
            start = self._file.seek(0, os.SEEK_END)
            try:
                self._file.write(_HEAD.pack(len(key), len(result), zlib.crc32(result, zlib.crc32(key))))
                self._file.write(key)
                self._file.write(result)
                self._file.flush()
            except OSError:
                with suppress(OSError):
                    self._file.truncate(start)
                raise
        self._places[name] = start + _HEAD.size + len(key), len(result)

    def read(self, name: str) -> bytes:
        """The result of a part that is done."""
        start, length = self._places[name]
        return os.pread(self._file.fileno(), length, start) if hasattr(os, "pread") else self._read(start, length)

    def _read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)

    def close(self) -> None:
        """Let go of the file; the folder stays."""
        self._file.close()

    def discard(self) -> None:
        """The run is over, one way or the other: nothing is done any more."""
        self.close()
        self._places.clear()
        discard(self.folder)

    def _recall(self) -> int:
        """Find the parts that are there; the end of the last whole one."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        end = 0
        while len(head := self._file.read(_HEAD.size)) == _HEAD.size:
            name, length, checksum = _HEAD.unpack(head)
            following = end + _HEAD.size + name + length
            if following > size:
                break
            key, result = self._file.read(name), self._file.read(length)
            if zlib.crc32(result, zlib.crc32(key)) != checksum:
                break
            self._places[key.decode("utf-8", "surrogateescape")] = end + _HEAD.size + name, length
            end = following
        return end


def journal_beside(target: Path) -> Path:
    """Where a run that writes `target` keeps its journal: hidden, beside it."""
    return target.with_name(f".{target.name}.journal")


@contextmanager
def open_journal(
    folder: Path,
    *,
    settings: Mapping[str, str],
    about: Mapping[str, Any] | None = None,
    resume: bool = True,
    of: Path | None = None,
    unit: str = "parts",
    done: Callable[[Journal], int] = len,
    forgotten: Callable[[Journal], None] | None = None,
) -> Iterator[Journal]:
    """The journal in `folder`: that of an earlier run with the same settings, or a new one.

    It goes when the block ends well. After a failure it stays if there is something in it to go on with, which the
    error then says; where the run may not be resumed it goes.

    Args:
        settings: everything that the result depends on: option -> its value as text.
        about: what else is to be known first, as JSON has it; of an earlier run what it said.
        resume: False begins anew, whatever is there, and leaves nothing behind.
        of: what is worked on, for messages; default: the folder's parent.
        unit: what `Journal.total` counts.
        done: how many of these are done.
        forgotten: is given what an earlier run has left where this one begins anew, before it goes.

    Raises:
        UsageError: another process works there, the earlier run was asked for something else, or the name is taken.
        OutputError: the folder cannot be made.
    """
    with parents_made_for(folder), ExitStack() as stack:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"{folder} is in the way: an unfinished run has a folder of that name; remove it.")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not stack.enter_context(locked(folder)):
            place = of or folder.parent
            raise UsageError(f"Another process is working on {place}; wait for it, or choose another DST.")
        earlier = _read(folder)
        if earlier is not None and not resume and forgotten is not None:
            with suppress(OutputError), closing(Journal(folder, **earlier)) as left:
                forgotten(left)
        if earlier is None or not resume:
            journal = _begun(folder, settings=settings, about=about or {})
        else:
            check_same(of or folder.parent, earlier["settings"], settings, advice=ADVICE)
            journal = Journal(folder, **earlier)
        try:
            yield journal
        except BaseException as error:
            found = done(journal)
            if resume and (found or len(journal)):
                share = f"{found:,}" if journal.total is None else f"{found:,} of {journal.total:,}"
                error.add_note(f"The same command goes on from here: {share} {unit} are done.")
                journal.close()
            else:
                journal.discard()
            raise
        journal.discard()


def check_unfinished(folder: Path, known: Mapping[str, str], *, resume: bool, of: Path | None = None) -> None:
    """Refuse early what `open_journal` would refuse: other settings than those of the run that lies in a folder.

    Args:
        known: of the settings what is known by now.
        resume, of: as `open_journal`.

    Raises:
        UsageError: one of them differs.
    """
    earlier = _read(folder) if resume else None
    if earlier is not None:
        was = {name: value for name, value in earlier["settings"].items() if name in known}
        check_same(of or folder.parent, was, known, advice=ADVICE)


def _begun(folder: Path, *, settings: Mapping[str, str], about: Mapping[str, Any]) -> Journal:
    """A new journal, in the place of any other; a full disk leaves none."""
    began = datetime.now(UTC).replace(microsecond=0)
    try:
        _empty(folder)
        _write(folder, {"settings": dict(settings), "began": began.isoformat(), "about": dict(about)})
        return Journal(folder, settings=settings, about=about, began=began)
    except OutputError:
        discard(folder)
        raise


def _empty(folder: Path) -> None:
    with writing(folder):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _read(folder: Path) -> dict[str, Any] | None:
    """What the earlier run was asked for; None if there was none, or it died before it could say."""
    try:
        found = read_json(folder / ABOUT)
        began = datetime.fromisoformat(found["began"])
        return {"settings": dict(found["settings"]), "about": dict(found["about"]), "began": began}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(folder: Path, about: Mapping[str, Any]) -> None:
    part = folder / f"{ABOUT}.part"
    with writing(folder):
        part.write_text(json.dumps(about, indent=1), encoding="utf-8")
        os.replace(part, folder / ABOUT)
