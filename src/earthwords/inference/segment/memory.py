"""What a scene will cost: memory and windows, known before the work begins."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.errors import UsageError
from earthwords.geo.scene import Scene
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks, cut
from earthwords.inference.windows.lowrank import LinearUpsampler
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
            + walking(self.segmenter, self.scene, cols=cols, given=len(self.vocabulary.queries))
            + self._windows()
            + (self._block(rows * cols) if len(blocks) > 1 else 0)
        )

    def _block(self, pixels: int) -> int:
        """Labels and more of a block, twice: being filled, being written."""
        each = {"no": 0, "uint8": 1, "float32": 4}[self.probabilities]
        return 2 * pixels * (self.vocabulary.label_dtype.itemsize + 4 + 1 + each * len(self.vocabulary))

    def _windows(self) -> int:
        """Windows being computed, and their logits waiting."""
        encoder, queries = self.segmenter.encoder, len(self.vocabulary.queries)
        channels = 0
        if encoder.upsampler is not None:
            reduced = isinstance(encoder.upsampler, LinearUpsampler) and encoder.energy is not None
            tokens, dim = tokens_of(self.segmenter), encoder.backbone.dim
            channels = (min(tokens + 32, dim) if reduced else 3 * dim) + getattr(encoder.upsampler, "held", 0)
        if encoder.head is not None:
            channels = encoder.head.held(queries, patch=encoder.backbone.patch)
        return computing(self.segmenter, upsampled=channels, given=queries)

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
                words, tile = len(self.vocabulary.queries), self.segmenter.preset.tile_size
                raise UsageError(
                    f"{words} words in windows of {tile} pixels need {shown(need * (memory // share))} of memory, "
                    f"{shown(memory)} were given; give more by --memory, ask for fewer words, or use a smaller "
                    "--batch-size."
                )
            cols = max(CELL_COLS, min(cols - CELL_COLS, cols * 3 // 4) // CELL_COLS * CELL_COLS)


def tokens_of(model: WindowedPredictor) -> int:
    """Of a window, the class token among them."""
    return (model.preset.tile_size // model.backbone.patch + 1) ** 2


def computing(model: WindowedPredictor, *, upsampled: int, given: int) -> int:
    """Bytes of the windows in work.

    Args:
        upsampled: channels at the window's resolution that the upsampler holds.
        given: channels that come out, some of which wait.
    """
    tile, tokens = model.preset.tile_size, tokens_of(model)
    vision = model.backbone.model.vision_model.config
    layers = 4 * tokens * (4 * vision.hidden_size + 2 * vision.intermediate_size)
    attention = 3 * 4 * vision.num_attention_heads * tokens**2
    fine = 4 * upsampled * int((tile + 16) ** 2 * 1.5)
    at_once = model.threads if model.backbone.device.type == "cpu" else model.batch
    return int(at_once * (layers + attention + fine + 8 * given * tile**2) + 12 * given * tile**2 * at_once)


def walking(model: WindowedPredictor, scene: Scene, *, cols: int, given: int) -> int:
    """Bytes of a row of windows that gives `cols` pixels of `given` channels: their sums, and the windows' pixels."""
    tile = model.preset.tile_size
    zoom = scene.grid.width / scene.native.width
    width = min(scene.grid.width, int(cols * zoom) + 2 * tile)
    tall = min(tile, scene.grid.height)
    return 4 * (given + 1) * tall * width + 64 * tall * width + 4 * given * CELL_ROWS * (2 * width + 3 * cols)


def shown(size: int) -> str:
    """Such as `1.4 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
