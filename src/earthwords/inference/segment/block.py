"""The work on a scene as blocks: what a worker needs to know, and how it computes one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.scene import Scene
from earthwords.inference.segment.block_store import BlockResult
from earthwords.inference.segment.request import MapRequest, SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy, largest
from earthwords.inference.windows.outputs import packed
from earthwords.inference.windows.strip import Strip
from earthwords.jobs.job import Tick, Worker
from earthwords.presets import SegmentPreset
from earthwords.types import TextBank


@dataclass(frozen=True, kw_only=True)
class BlockWork:
    """What a worker needs to know of a map that is computed block by block."""

    request: MapRequest
    preset: SegmentPreset
    """With the weights that are really used."""
    bank: TextBank
    blocks: Blocks
    batch: int | None = None
    device: str = "cpu"
    offline: bool = False

    def kept_segmenter(self, worker: Worker) -> Segmenter:
        """The preset, loaded once by a worker."""
        return kept_segmenter(worker, self.preset, device=self.device, batch=self.batch, offline=self.offline)

    def place(self, index: int) -> str:
        """Where a block begins."""
        window = self.blocks.window(index)
        return f"row {window.row}, column {window.col} of {self.request.spec.source}"


@dataclass(frozen=True, kw_only=True)
class BlockJob(BlockWork):
    """What is to be computed of a scene: a `Job` whose parts are blocks."""

    request: SegmentRequest

    def compute(self, worker: Worker, index: int) -> tuple[int, BlockResult]:
        """How many windows a block needs, and what became of it."""
        segmenter = self.kept_segmenter(worker)
        scene = worker.keep("scene", (self.request.spec, self.preset), lambda: self.request.open(segmenter))
        windows = len(segmenter.plan(scene, self.blocks.window(index)))
        return windows, next(self.run(segmenter, scene, index, 1, lambda done: None))

    def run(self, segmenter: Segmenter, scene: Scene, first: int, count: int, tick: Tick) -> Iterator[BlockResult]:
        """`count` blocks from block `first` downwards, no window computed twice."""
        policy = FailurePolicy(on_error=self.request.on_error)
        strips = segmenter.strips(
            scene,
            self.bank,
            region=self.blocks.window(first, count=count),
            threshold=self.request.threshold,
            probabilities=self.request.wants_probabilities,
            policy=policy,
            tick=tick,
        )
        for i in range(count):
            height = self.blocks.window(first + i * self.blocks.across).height
            result = _filled(strips, height, self.request.options.probabilities)
            failures, policy.failures[:] = list(policy.failures), []
            ranks, policy.ranks[:] = list(policy.ranks), []
            presence, policy.presence[:] = largest(policy.presence), []
            yield replace(result, failures=failures, ranks=ranks, presence=presence)


def kept_segmenter(
    worker: Worker, preset: SegmentPreset, *, device: str, batch: int | None, offline: bool
) -> Segmenter:
    """A preset, loaded once by a worker."""
    return worker.keep(
        "segmenter",
        (preset, device, batch, offline),
        lambda: Segmenter.from_preset(preset, device=device, batch=batch, offline=offline),
    )


def _filled(strips: Iterator[Strip], height: int, probabilities: str) -> BlockResult:
    """The next `height` rows of `strips` as one block."""
    parts: list[Strip] = []
    rows = 0
    while rows < height:
        strip = next(strips)
        parts.append(replace(strip, rgb=_NOTHING, probabilities=_packed(strip.probabilities, probabilities)))
        rows += len(strip.labels)
    kept = [part.probabilities for part in parts if part.probabilities is not None]
    doubtful = [part.undecided for part in parts if part.undecided is not None]
    rounding = [part.rounding for part in parts if part.rounding is not None]
    return BlockResult(
        labels=np.concatenate([part.labels for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        undecided=np.concatenate(doubtful) if doubtful else None,
        rounding=np.concatenate(rounding) if rounding else None,
        probabilities=np.concatenate(kept, axis=1) if kept else None,
    )


_NOTHING = np.empty((3, 0, 0), np.float32)


def _packed(probabilities: NDArray[np.float32] | None, kind: str) -> NDArray[Any] | None:
    return None if probabilities is None else packed(probabilities, kind)
