"""The finished blocks of a run, on disk: a file a block in the folder of the journal, each appearing by rename."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from earthwords.files.reading import parse_json
from earthwords.inference.windows.array_file import save_arrays, shapes_in
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.jobs.journal import Journal, open_journal
from earthwords.types import Window


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
    rounding: NDArray[np.bool_] | None = None
    """`(row, col)`, see `Strip`."""
    failures: list[str] = field(default_factory=list)
    """What was left out."""
    ranks: list[int] = field(default_factory=list)
    presence: dict[int, float] = field(default_factory=dict)
    """See `FailurePolicy`; the largest of all windows."""


@dataclass(frozen=True, kw_only=True)
class BlockRows:
    """Consecutive full-width rows of blocks."""

    row: int
    """First row, counted from the top of the region."""
    window: Window
    """Where they lie, in pixels of the scene."""
    arrays: Mapping[str, NDArray[Any]]
    """Those of `BlockResult`, rows and columns last."""


class BlockStore:
    """The blocks of an unfinished run; make one with `open_blocks`."""

    def __init__(self, journal: Journal, blocks: Blocks) -> None:
        self.journal = journal
        self.blocks = blocks
        self.done = {i for i in range(len(blocks)) if self._intact(i)}

    def save(self, index: int, result: BlockResult) -> None:
        """Remember a block."""
        arrays = {"labels": result.labels, "score": result.score}
        for name in ("probabilities", "undecided", "rounding"):
            if (values := getattr(result, name)) is not None:
                arrays[name] = values
        about = {
            "failures": json.dumps(result.failures),
            "ranks": json.dumps(result.ranks),
            "presence": json.dumps(list(result.presence.items())),
        }
        save_arrays(self._path(index), arrays, about=about)
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

    def rows_from(
        self, compute: Callable[[set[int]], Iterator[tuple[int, BlockResult]]], policy: FailurePolicy
    ) -> Iterator[BlockRows]:
        """Full-width rows, from top to bottom, as soon as the blocks side by side are there.

        Args:
            compute: of numbers of blocks; gives each with what became of it.
            policy: gets what all blocks left out, in the end.
        """
        blocks = self.blocks
        results = compute(set(range(len(blocks))) - self.done)
        for band in range(blocks.down):
            while not self.done.issuperset(blocks.band(band)):
                self.save(*next(results))
            yield from self._band(band)
        failures, policy.ranks[:], policy.presence[:] = self._told()
        policy.failures[:] = dict.fromkeys([*failures, *policy.failures])

    def _band(self, band: int) -> Iterator[BlockRows]:
        """Rows of blocks side by side that are there."""
        blocks, region = self.blocks, self.blocks.region
        top, height = band * blocks.rows, blocks.window(band * blocks.across).height
        for first in range(0, height, CELL_ROWS):
            stop = min(first + CELL_ROWS, height)
            parts = [self.rows(index, first, stop) for index in blocks.band(band)]
            yield BlockRows(
                row=top + first,
                window=Window(row=region.row + top + first, col=region.col, height=stop - first, width=region.width),
                arrays={name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]},
            )

    def _told(self) -> tuple[list[str], list[int], list[dict[int, float]]]:
        """Failures, ranks and presences of all blocks."""
        failures: dict[str, None] = {}
        ranks: list[int] = []
        presence: list[dict[int, float]] = []
        for index in sorted(self.done):
            with safe_open(self._path(index), framework="np") as file:
                about = file.metadata()
            failures |= dict.fromkeys(parse_json(about["failures"]))
            ranks += parse_json(about["ranks"])
            presence.append(dict(parse_json(about.get("presence", "[]"))))
        return list(failures), ranks, presence

    def _path(self, index: int) -> Path:
        return self.journal.folder / f"block-{index:06}.safetensors"

    def _intact(self, index: int) -> bool:
        """Whether a block is there whole."""
        window, shapes = self.blocks.window(index), shapes_in(self._path(index))
        return shapes.get("labels") == shapes.get("score") == (window.height, window.width)


@contextmanager
def open_blocks(folder: Path, *, settings: Mapping[str, str], blocks: Blocks, resume: bool) -> Iterator[BlockStore]:
    """The blocks in `folder`: those of an earlier run with the same settings, or none yet; see `open_journal`.

    Args:
        blocks: how a new run is cut; an earlier one stays as it was cut.

    Raises:
        UsageError, OutputError: as `open_journal`.
    """
    about = {"region": vars(blocks.region), "rows": blocks.rows, "cols": blocks.cols}
    stores: list[BlockStore] = []

    def done(journal: Journal) -> int:
        return len(stores[0].done) if stores else 0

    with open_journal(folder, settings=settings, about=about, resume=resume, unit="blocks", done=done) as journal:
        cut = journal.about
        stores.append(BlockStore(journal, Blocks(region=Window(**cut["region"]), rows=cut["rows"], cols=cut["cols"])))
        journal.total = len(stores[0].blocks)
        yield stores[0]
