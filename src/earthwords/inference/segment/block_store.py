"""The finished blocks of a run, on disk: a run that was killed goes on where it stopped.

A folder with one file a block (safetensors, each appearing by rename), what the run was asked for, and a lock that
the system takes away from a dead process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from earthwords.errors import UsageError
from earthwords.files.atomic import discard, locked, parents_made_for, writing
from earthwords.files.output_sets import check_same
from earthwords.files.reading import parse_json, read_json
from earthwords.inference.windows.blocks import Blocks
from earthwords.types import Window

_ABOUT = "journal.json"


@dataclass(kw_only=True)
class BlockResult:
    """What became of a block."""

    labels: NDArray[np.unsignedinteger[Any]]
    """`(row, col)`."""
    score: NDArray[np.float32]
    """`(row, col)`."""
    probabilities: NDArray[Any] | None = None
    """`(class, row, col)`, as they will be written."""
    undecided: NDArray[np.bool_] | None = None
    """`(row, col)`, see `Strip`."""
    failures: list[str] = field(default_factory=list)
    """What was left out."""
    ranks: list[int] = field(default_factory=list)
    """See `FailurePolicy`."""


class Journal:
    """An open journal; make one with `open_journal`."""

    def __init__(self, folder: Path, blocks: Blocks, *, began: datetime) -> None:
        self.folder = folder
        self.blocks = blocks
        self.began = began
        """When the run began first."""
        self.done = {i for i in range(len(blocks)) if self._intact(i)}

    def save(self, index: int, result: BlockResult) -> None:
        """Remember a block."""
        arrays = {"labels": result.labels, "score": result.score}
        for name in ("probabilities", "undecided"):
            if (values := getattr(result, name)) is not None:
                arrays[name] = values
        about = {"failures": json.dumps(result.failures), "ranks": json.dumps(result.ranks)}
        path = self._path(index)
        part = path.with_suffix(".part")
        with writing(path):
            try:
                save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, part, about)
            except SafetensorError as error:
                raise OSError(" ".join(str(error).split())) from error
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        self.done.add(index)

    def rows(self, index: int, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """Rows of the arrays of a block."""
        with safe_open(self._path(index), framework="np") as file:
            names = list(file.keys())
            return {
                name: file.get_slice(name)[:, first:stop]
                if name == "probabilities"
                else file.get_slice(name)[first:stop]
                for name in names
            }

    def told(self) -> tuple[list[str], list[int]]:
        """Failures and ranks of all blocks."""
        failures: dict[str, None] = {}
        ranks: list[int] = []
        for index in sorted(self.done):
            with safe_open(self._path(index), framework="np") as file:
                about = file.metadata()
            failures |= dict.fromkeys(parse_json(about["failures"]))
            ranks += parse_json(about["ranks"])
        return list(failures), ranks

    def discard(self) -> None:
        """The run is over, one way or the other."""
        discard(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"block-{index:06}.safetensors"

    def _intact(self, index: int) -> bool:
        """Whether a block is there whole; safetensors checks its length."""
        window = self.blocks.window(index)
        try:
            with safe_open(self._path(index), framework="np") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return False
        return shapes.get("labels") == shapes.get("score") == (window.height, window.width)


@contextmanager
def open_journal(folder: Path, *, settings: Mapping[str, str], blocks: Blocks, resume: bool) -> Iterator[Journal]:
    """The journal in `folder`: an earlier one with the same settings, or a new one.

    Args:
        settings: everything that the result depends on.
        blocks: how a new journal is cut; an earlier one stays as it was cut.
        resume: False begins anew, whatever is there.

    Raises:
        UsageError: another process works there, or the earlier run was asked for something else.
        OutputError: the folder cannot be made.
    """
    with parents_made_for(folder), ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        free = stack.enter_context(locked(folder))
        if not free:
            raise UsageError(f"Another process is working on {folder.parent}; wait for it, or choose another DST.")
        earlier = _read(folder) if resume else None
        if earlier is None:
            for path in folder.iterdir():
                path.unlink()
            about: Mapping[str, Any] = {
                "settings": dict(settings),
                "began": datetime.now(UTC).replace(microsecond=0).isoformat(),
                "region": vars(blocks.region),
                "rows": blocks.rows,
                "cols": blocks.cols,
            }
            _write(folder, about)
        else:
            advice = "run with what it was begun with, or begin anew with --no-resume"
            check_same(folder.parent, earlier["settings"], settings, advice=advice)
            blocks = Blocks(region=Window(**earlier["region"]), rows=earlier["rows"], cols=earlier["cols"])
            about = earlier
        yield Journal(folder, blocks, began=datetime.fromisoformat(about["began"]))


def _read(folder: Path) -> dict[str, Any] | None:
    """What the earlier run was asked for; None if there was none, or it died before it could say."""
    try:
        about = read_json(folder / _ABOUT)
        return about if {"settings", "began", "region", "rows", "cols"} <= about.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _write(folder: Path, about: Mapping[str, Any]) -> None:
    part = folder / f"{_ABOUT}.part"
    with writing(folder):
        part.write_text(json.dumps(about, indent=1), encoding="utf-8")
        os.replace(part, folder / _ABOUT)
