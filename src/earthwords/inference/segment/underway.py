"""A map that a running `segment` is making, as far as its blocks are done; read beside it, without its lock."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from earthwords.files.reading import read_json
from earthwords.inference.segment.stored import score_planes, thresholds_of, top_two, vocabulary_of
from earthwords.inference.windows.blocks import Blocks
from earthwords.jobs.journal import ABOUT, journal_beside
from earthwords.text.vocabulary import parse_classes
from earthwords.types import SCORE_STEPS, Vocabulary, Window

SHRINK = 8
"""Of what is kept of a block for tiles that show much ground."""
_KEPT = 512


class MapUnderway:
    """The blocks that are done; make one with `open_underway`."""

    def __init__(self, folder: Path, blocks: Blocks, vocabulary: Vocabulary, thresholds: NDArray[np.float32]) -> None:
        self.folder = folder
        self.blocks = blocks
        self.vocabulary = vocabulary
        self.thresholds = thresholds

    @property
    def region(self) -> Window:
        """What is mapped, native pixels of the scene."""
        return self.blocks.region

    def sample(self, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.uint8]:
        """Planes of scores `(3, ...)` at pixels of the region, 0 where nothing is done yet.

        Args:
            rows, cols: of one shape; -1: outside.
        """
        planes = np.zeros((3, *rows.shape), np.uint8)
        inside = rows >= 0
        index = np.where(inside, rows // self.blocks.rows * self.blocks.across + cols // self.blocks.cols, -1)
        stride = _stride(rows, cols)
        for block in np.unique(index[inside]).tolist():
            window = self.blocks.window(block)
            here = index == block
            row, col = (rows[here] - (window.row - self.region.row), cols[here] - (window.col - self.region.col))
            if stride >= SHRINK:
                small = self._small(block)
                if small is not None:
                    planes[:, here] = small[:, row // SHRINK, col // SHRINK]
            else:
                first, stop = int(row.min()), int(row.max()) + 1
                found = self._planes(block, first, stop)
                if found is not None:
                    planes[:, here] = found[:, row - first, col]
        return planes

    def _small(self, block: int) -> NDArray[np.uint8] | None:
        key = (self.folder, block)
        if key not in _SMALL:
            found = self._planes(block, 0, self.blocks.window(block).height)
            if found is None:
                return None
            _SMALL[key] = found[:, ::SHRINK, ::SHRINK].copy()
            while len(_SMALL) > _KEPT:
                _SMALL.popitem(last=False)
        return _SMALL[key]

    def _planes(self, block: int, first: int, stop: int) -> NDArray[np.uint8] | None:
        """Of rows of a block; None: it is not done."""
        path = self.folder / f"block-{block:06}.safetensors"
        with suppress(OSError, SafetensorError), safe_open(path, framework="np") as file:
            if "probabilities" not in list(file.keys()):
                return None
            values, labels = file.get_slice("probabilities")[:, first:stop], file.get_slice("labels")[first:stop]
            is_bytes = values.dtype == np.uint8
            if is_bytes:
                values = np.where(values == 255, np.float32(np.nan), values.astype(np.float32) / SCORE_STEPS)
            return score_planes(top_two(values, labels, self.vocabulary, self.thresholds, rounded=is_bytes))
        return None


_SMALL: OrderedDict[tuple[Path, int], NDArray[np.uint8]] = OrderedDict()


def open_underway(outputs: Path) -> MapUnderway | None:
    """The map that is being made in a folder of outputs; None: nothing of it is done."""
    folder = journal_beside(outputs / "labels.tif")
    try:
        told = read_json(folder / ABOUT)
        cut, settings = told["about"], told["settings"]
        blocks = Blocks(region=Window(**cut["region"]), rows=cut["rows"], cols=cut["cols"])
        described = str(settings["vocabulary"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    titles = tuple(text.partition(" (")[0].split(",")[0] for text in described.split("; "))
    colours = {i: c.colour for i, c in enumerate(parse_classes(titles).classes)}
    vocabulary = vocabulary_of(described, titles, colours)
    return MapUnderway(folder, blocks, vocabulary, thresholds_of(str(settings.get("threshold", "")), vocabulary))


def _stride(rows: NDArray[Any], cols: NDArray[Any]) -> float:
    """About how many pixels lie between two that are asked for."""
    inside = rows >= 0
    if not inside.any():
        return 0.0
    spread = max(int(np.ptp(rows[inside])), int(np.ptp(cols[inside])))
    return float(spread / max(1, len(rows) - 1))
