"""What a scene will cost: memory and windows, known before the work begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from earthwords.errors import UsageError
from earthwords.geo.scene import Scene
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks, cut
from earthwords.inference.windows.predictor import WindowedPredictor
from earthwords.inference.windows.resize import CELL_COLS, CELL_ROWS
from earthwords.types import Vocabulary

FIXED = 420 * 2**20
"""Bytes that do not depend on the scene: decoded blocks of the source, tiles on their way to the outputs, one strip of
labels becoming polygons."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes that one process takes on top of the loaded model, as far as they can be foreseen."""

    segmenter: Segmenter
    scene: Scene
    vocabulary: Vocabulary
    probabilities: str = "no"

    def bytes(self, blocks: Blocks) -> int:
        """For blocks of this size."""
        cols = min(blocks.cols, blocks.region.width)
        rows = min(blocks.rows, blocks.region.height)
        return (
            FIXED
            + walking(self.segmenter, self.scene, cols=cols, given=self._queries)
            + self._windows()
            + (self._block(rows * cols) if len(blocks) > 1 else 0)
        )

    @property
    def _queries(self) -> int:
        """Of all classes, those that an encoder adds among them."""
        return len(self.segmenter.text_bank(self.vocabulary).query_class)

    def _block(self, pixels: int) -> int:
        """Labels and more of a block, twice: being filled, being written."""
        each = {"no": 0, "uint8": 1, "float32": 4}[self.probabilities]
        return 2 * pixels * (self.vocabulary.label_dtype.itemsize + 4 + 1 + each * len(self.vocabulary))

    def _windows(self) -> int:
        """Windows being computed, and their logits waiting."""
        queries = self._queries
        window = self.segmenter.encoder.window_bytes(self.segmenter.preset.tile_size, queries)
        return computing(self.segmenter, window=window, given=queries)

    def fit(self, memory: int, *, workers: int = 1, shared: bool = True) -> Blocks:
        """The widest blocks that fit.

        Args:
            memory: bytes of this machine.
            workers: processes that compute blocks.
            shared: whether they share the memory, on one machine.

        Raises:
            UsageError: not even the narrowest do.
        """
        region, cols = self.scene.region, max(self.scene.region.width, CELL_COLS)
        share = memory // workers if shared else memory
        while True:
            blocks = cut(region, cols=cols, workers=workers)
            need = self.bytes(blocks)
            if need <= share:
                return blocks
            if cols <= CELL_COLS:
                words, tile = self._queries, self.segmenter.preset.tile_size
                raise UsageError(
                    f"{words} words in windows of {tile} pixels need {shown(need * (memory // share))} of memory, "
                    f"{shown(memory)} were given; give more by --memory, ask for fewer words, or use a smaller "
                    "--batch-size."
                )
            cols = max(CELL_COLS, min(cols - CELL_COLS, cols * 3 // 4) // CELL_COLS * CELL_COLS)


def computing(model: WindowedPredictor[Any], *, window: int, given: int) -> int:
    """Bytes of the windows in work.

    Args:
        window: of one, see `WindowEncoder.window_bytes`.
        given: channels that come out, some of which wait.
    """
    at_once = model.threads if model.backbone.device.type == "cpu" else model.batch
    return at_once * (window + 20 * given * model.preset.tile_size**2)


def walking(model: WindowedPredictor[Any], scene: Scene, *, cols: int, given: int) -> int:
    """Bytes of a row of windows that gives `cols` pixels of `given` channels: their sums, and the windows' pixels."""
    tile = model.preset.tile_size
    zoom = scene.grid.width / scene.native.width
    width = min(scene.grid.width, int(cols * zoom) + 2 * tile)
    tall = min(tile, scene.grid.height)
    return 4 * (given + 1) * tall * width + 64 * tall * width + 4 * given * CELL_ROWS * (2 * width + 3 * cols)


def shown(size: int) -> str:
    """Such as `1.4 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
