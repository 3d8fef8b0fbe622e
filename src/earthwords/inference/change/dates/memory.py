"""How large the blocks of a comparison may be, by the memory that is given."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.errors import UsageError
from earthwords.inference.change.dates.block import around
from earthwords.inference.change.dates.pair import DatePair
from earthwords.inference.change.dates.request import ChangeRequest
from earthwords.inference.change.dates.windows import ChangeMethod, resolutions
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment.memory import MemoryEstimate, shown
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.types import Window

STRIPS = 4
"""Strips of both dates on their way to the outputs at once."""


@dataclass(frozen=True, kw_only=True)
class ChangeMemory:
    """Bytes that one process takes on top of the loaded networks, as far as they can be foreseen."""

    segmenter: Segmenter
    pair: DatePair
    method: ChangeMethod
    request: ChangeRequest

    def bytes(self, side: int) -> int:
        """For blocks of this side."""
        region, words = self.pair.region, self.request.vocabulary
        height, width = min(side, region.height), min(side, region.width)
        middle = Window(
            row=region.row + (region.height - height) // 2, col=region.col + (region.width - width) // 2,
            height=height, width=width,
        )  # fmt: skip
        wide = around(middle, self.pair, self.method)
        scales = resolutions(self.segmenter, self.pair.within(wide), self.request.asked_scales)
        one = Blocks(region=wide, rows=wide.height, cols=wide.width)
        asked = max(
            MemoryEstimate(segmenter=self.segmenter, scene=each.before, vocabulary=words).bytes(one) for each in scales
        )
        strip = STRIPS * CELL_ROWS * region.width * (2 * 3 * 4 + 2 + 4 + 2)
        return asked + wide.height * wide.width * self.method.held(len(words), len(scales)) + strip

    def fit(self, execution: ExecutionOptions) -> Blocks:
        """The largest blocks that fit.

        Raises:
            UsageError: not even the smallest do.
        """
        workers = execution.workers if execution.shared else 1
        for side in self.method.sides:
            need = self.bytes(side) * workers
            if need <= execution.memory:
                return Blocks(region=self.pair.region, rows=side, cols=side)
        fewer = ", or use fewer --workers" if workers > 1 else ""
        raise UsageError(
            f"Comparing {len(self.request.vocabulary)} classes by --method {self.request.method} needs {shown(need)} "
            f"of memory, {shown(execution.memory)} were given; give more by --memory, or ask for fewer words{fewer}."
        )
