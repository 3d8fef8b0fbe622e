"""The comparison of two dates as blocks: what a worker needs to know, and how it computes one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.change.dates.pair import DatePair
from earthwords.inference.change.dates.request import ChangeRequest
from earthwords.inference.change.dates.windows import ChangeMethod, PairWindow, resolutions
from earthwords.inference.segment.block import BlockWork
from earthwords.inference.segment.block_store import BlockResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.job import Tick, Worker
from earthwords.types import Window


@dataclass(frozen=True, kw_only=True)
class ChangeBlockJob(BlockWork):
    """What is to be computed of two dates: a `Job` whose parts are blocks."""

    request: ChangeRequest

    def compute(self, worker: Worker, index: int) -> tuple[int, BlockResult]:
        """How many windows a block needs, and what became of it."""
        segmenter = self.kept_segmenter(worker)
        pair = worker.keep("pair", (self.request, self.preset), lambda: self.request.open(segmenter))
        request = self.request
        key = (self.preset, request.method, request.threshold, request.network, request.by_masks, request.vocabulary)
        method = worker.keep("method", key, lambda: self.request.comparison(segmenter, offline=self.offline))
        windows = planned(segmenter, pair, self.blocks.window(index), method, self.request.asked_scales)
        return windows, self.run(segmenter, pair, method, index, lambda done: None)

    def run(self, segmenter: Segmenter, pair: DatePair, method: ChangeMethod, index: int, tick: Tick) -> BlockResult:
        """One block."""
        window = self.blocks.window(index)
        wide = around(window, pair, method)
        wanted = wanted_of(pair, window)
        if not wanted.any():
            nothing = np.zeros(wanted.shape, np.int64)
            pairs = self.request.transitions.pair(nothing, nothing, wanted)
            return BlockResult(labels=pairs, score=np.zeros(wanted.shape, np.float32))
        policy = FailurePolicy(on_error=self.request.on_error)
        part = PairWindow(
            pair=pair, facts=self.request.facts, window=wide, segmenter=segmenter, bank=self.bank,
            scales=self.request.asked_scales, policy=policy, tick=tick,
        )  # fmt: skip
        found, inner = method(part), window.slices_in(wide)
        pairs = self.request.transitions.pair(found.before[inner], found.after[inner], found.seen[inner] & wanted)
        score = np.where(wanted, found.score[inner], np.float32(0))
        return BlockResult(labels=pairs, score=score, failures=list(policy.failures), ranks=policy.ranks)


def around(window: Window, pair: DatePair, method: ChangeMethod) -> Window:
    """A block and the margin that a method looks at, within what both dates cover."""
    margin = method.margin(pair.zoom)
    wide = Window(
        row=window.row - margin, col=window.col - margin, height=window.height + 2 * margin,
        width=window.width + 2 * margin,
    )  # fmt: skip
    found = wide.intersect(pair.region)
    assert found is not None
    return found


def wanted_of(pair: DatePair, window: Window) -> NDArray[np.bool_]:
    """`(row, col)`: which pixels of a part are asked for."""
    aoi = pair.before.aoi
    return np.ones((window.height, window.width), bool) if aoi is None else aoi.inside(window)


def planned(segmenter: Segmenter, pair: DatePair, window: Window, method: ChangeMethod, scales: int) -> int:
    """Windows that both dates take for a block and its margin, at so many resolutions."""
    if not wanted_of(pair, window).any():
        return 0
    pairs = resolutions(segmenter, pair.within(around(window, pair, method)), scales)
    return sum(len(segmenter.plan(scene)) for each in pairs for scene in each.scenes)
