"""The images that are counted, a line each in a file that only grows: a run that was killed goes on where it stopped.

The first line says what the counts depend on; a file of anything else begins anew. A line that is cut off is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from earthwords.files.atomic import writing
from earthwords.files.reading import parse_json


class Journal:
    """An open journal; make one with `open_journal`."""

    def __init__(self, path: Path, file: BinaryIO, done: set[str]) -> None:
        self.path = path
        self.done = done
        """Names of the images that are counted."""
        self._file = file

    def save(self, name: str, counted: Mapping[str, Any]) -> None:
        """Remember an image.

        Raises:
            OutputError: the disk is full, or the like.
        """
        with writing(self.path):
            self._file.write(_line({"image": name, "counted": counted}))
            self._file.flush()
        self.done.add(name)

    def counted(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and counts of every image, read from the file one by one."""
        with self.path.open("rb") as file:
            file.readline()
            for line in file:
                told = parse_json(line)
                yield told["image"], told["counted"]


@contextmanager
def open_journal(path: Path, settings: Mapping[str, Any], *, resume: bool = True) -> Iterator[Journal]:
    """The journal in a file: that of an earlier run with the same settings, else a new one.

    Args:
        settings: everything that the counts depend on, as JSON has it.
        resume: False begins anew, whatever is there.

    Raises:
        OutputError: the file cannot be written.
    """
    head = _line({"settings": settings})
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("r+b" if path.exists() else "w+b")
    with file:
        done, whole = _read(file, head) if resume else (set(), 0)
        with writing(path):
            file.truncate(whole)
            file.seek(whole)
            if not whole:
                file.write(head)
                file.flush()
        yield Journal(path, file, done)


def discard(path: Path) -> None:
    """Remove a journal, and its folder where it was the last."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # other journals are there
        path.parent.rmdir()


def _read(file: BinaryIO, head: bytes) -> tuple[set[str], int]:
    """Names of images and the length of what is whole; nothing where it begins otherwise."""
    if file.readline() != head:
        return set(), 0
    done: set[str] = set()
    whole = len(head)
    for line in file:
        try:
            told = parse_json(line)
            name = told["image"] if line.endswith(b"\n") and "counted" in told else None
        except (ValueError, KeyError, TypeError):
            break
        if name is None:
            break
        done.add(name)
        whole += len(line)
    return done, whole


def _line(what: Mapping[str, Any]) -> bytes:
    return (json.dumps(what, sort_keys=True, separators=(",", ":")) + "\n").encode()
