"""The work on a scene as blocks: what a worker needs to know, and how it computes one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.geo.scene import Scene, SceneSpec
from earthwords.inference.account import Account
from earthwords.inference.blocks import Blocks
from earthwords.inference.journal import BlockResult
from earthwords.inference.outputs import packed
from earthwords.inference.segmenter import Segmenter, Tick
from earthwords.inference.strip import Strip
from earthwords.presets import SegmentPreset
from earthwords.types import TextBank

T = TypeVar("T")


class Job(Protocol):
    """Work in numbered parts, each computed on its own; can be sent to another process."""

    def compute(self, worker: Worker, index: int) -> tuple[int, Any]:
        """What the bar is told when a part is done, and what became of the part."""

    def place(self, index: int) -> str:
        """Where a part lies, in words."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be computed of a scene: a `Job` whose parts are blocks."""

    preset: SegmentPreset
    """With the weights that are really used."""
    spec: SceneSpec
    bank: TextBank
    blocks: Blocks
    batch: int | None = None
    device: str = "cpu"
    offline: bool = False
    threshold: float | None = None
    probabilities: str = "no"
    on_error: str = "stop"

    def compute(self, worker: Worker, index: int) -> tuple[int, BlockResult]:
        """How many windows a block needs, and what became of it."""
        segmenter = worker.segmenter(self.preset, device=self.device, batch=self.batch, offline=self.offline)
        scene = worker.keep("scene", (self.spec, self.preset), lambda: self.open(segmenter))
        windows = len(segmenter.plan(scene, self.blocks.window(index)))
        return windows, next(self.run(segmenter, scene, index, 1, lambda done: None))

    def place(self, index: int) -> str:
        """Where a block begins."""
        window = self.blocks.window(index)
        return f"row {window.row}, column {window.col} of {self.spec.source}"

    def open(self, segmenter: Segmenter) -> Scene:
        """The scene."""
        scene = self.spec.open()
        return segmenter.at_working_gsd(scene) if self.spec.gsd is None else scene

    def run(self, segmenter: Segmenter, scene: Scene, first: int, count: int, tick: Tick) -> Iterator[BlockResult]:
        """`count` blocks from block `first` downwards, no window computed twice."""
        account = Account(on_error=self.on_error)
        strips = segmenter.strips(
            scene,
            self.bank,
            region=self.blocks.window(first, count=count),
            threshold=self.threshold,
            probabilities=self.probabilities != "no",
            account=account,
            tick=tick,
        )
        for i in range(count):
            height = self.blocks.window(first + i * self.blocks.across).height
            result = _filled(strips, height, self.probabilities)
            failures, account.failures[:] = list(account.failures), []
            ranks, account.ranks[:] = list(account.ranks), []
            yield replace(result, failures=failures, ranks=ranks)


class Worker:
    """A process of its own, which keeps the model and the scene that it used last."""

    def __init__(self, *, cores: int | None = None, number: int = 0) -> None:
        """
        Args:
            cores: of this worker; None: all of them.
            number: among the workers of this machine, from 0.
        """
        if cores is not None:
            torch.set_num_threads(cores)
        self.number = number
        self._kept: dict[str, tuple[Any, Any]] = {}

    def compute(self, job: Job, index: int) -> tuple[int, Any]:
        """A part of a job, see `Job`."""
        return job.compute(self, index)

    def pid(self) -> int:
        """Of the process."""
        return os.getpid()

    def segmenter(self, preset: SegmentPreset, *, device: str, batch: int | None, offline: bool) -> Segmenter:
        """A preset, loaded once."""
        return self.keep(
            "segmenter",
            (preset, device, batch, offline),
            lambda: Segmenter.from_preset(preset, device=device, batch=batch, offline=offline),
        )

    def keep(self, kind: str, key: Any, make: Callable[[], T]) -> T:
        """What was made for `key` last time, else made anew."""
        before = self._kept.get(kind)
        if before is None or before[0] != key:
            if before is not None and hasattr(before[1], "close"):
                before[1].close()
            self._kept[kind] = key, make()
        return self._kept[kind][1]


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
    return BlockResult(
        labels=np.concatenate([part.labels for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        undecided=np.concatenate(doubtful) if doubtful else None,
        probabilities=np.concatenate(kept, axis=1) if kept else None,
    )


_NOTHING = np.empty((3, 0, 0), np.float32)


def _packed(probabilities: NDArray[np.float32] | None, kind: str) -> NDArray[Any] | None:
    return None if probabilities is None else packed(probabilities, kind)


def hash_of(bank: TextBank) -> str:
    """Of the words as vectors."""
    return hashlib.sha256(bank.vectors.tobytes()).hexdigest()[:16]
