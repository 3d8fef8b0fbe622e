"""A set of images to be counted with a preset: what a worker needs to know, and how it counts one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.data.segmentation.encoding import Labels, read_labels
from earthwords.data.segmentation.layout import LabelledImage
from earthwords.data.segmentation.spec import Encoding
from earthwords.errors import SourceError
from earthwords.evaluation.benchmark.counts import CountingRule, Counts
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.inference.segment.block import kept_segmenter
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.job import Worker
from earthwords.models.device import worker_device
from earthwords.presets import SegmentPreset
from earthwords.types import TextBank


@dataclass(frozen=True, kw_only=True)
class ImageReader:
    """How an image is opened."""

    bands: tuple[int | str, ...] | None
    nodata: float | None
    stretch: str
    side: int | None
    """Pixels of the longer side it is resized to; None: as `segment` sees it."""

    def open(self, segmenter: Segmenter, path: Path) -> Scene:
        """The image as a scene; a context manager."""
        how: dict[str, Any] = {"bands": self.bands, "nodata": self.nodata, "stretch": self.stretch}
        scene = SceneSpec(source=str(path), **how, offline=True).open()
        return segmenter.at_working_gsd(scene) if self.side is None else scene.sized(self.side)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a segmenter says of an image."""

    best: NDArray[np.unsignedinteger[Any]]
    """`(row, col)`, the most probable class."""
    probability: NDArray[np.float32]
    """`(row, col)`, of it."""
    image: NDArray[np.uint8]
    """`(row, col, 3)`, or empty where nobody asked."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkJob:
    """A set to be counted with a preset: a `Job` whose parts are images; can be sent to another process."""

    preset: SegmentPreset
    """With the weights that are really used."""
    bank: TextBank
    rule: CountingRule
    view: ImageReader
    encoding: Encoding
    pairs: tuple[LabelledImage, ...]
    batch: int | None
    device: str
    offline: bool

    def compute(self, worker: Worker, index: int) -> tuple[int, dict[str, Any]]:
        """One image, and its counts as JSON has them."""
        device = worker_device(self.device, worker.number)
        segmenter = kept_segmenter(worker, self.preset, device=device, batch=self.batch, offline=self.offline)
        return 1, self.counted(segmenter, index)

    def place(self, index: int) -> str:
        """The file of an image."""
        return str(self.pairs[index].image)

    def counted(self, segmenter: Segmenter, index: int) -> dict[str, Any]:
        """The counts of an image, as JSON has them."""
        truth, predicted = self.truth(index), self.predicted(segmenter, index)
        if truth.shape != predicted.best.shape:
            raise SourceError(
                f"{self.pairs[index].labels} has {truth.shape} pixels, its image {predicted.best.shape}; run "
                "`earthwords data check`."
            )
        return Counts(self.rule).add(truth, predicted.best, predicted.probability).as_json()

    def truth(self, index: int) -> Labels:
        """`(row, col)` true classes."""
        return read_labels(self.pairs[index].labels, self.encoding)

    def predicted(self, segmenter: Segmenter, index: int, *, image: bool = False) -> Prediction:
        """What the segmenter says; with `image` what it saw too."""
        with self.view.open(segmenter, self.pairs[index].image) as scene:
            parts = [
                (strip.labels, strip.score, np.moveaxis(strip.rgb, 0, -1) if image else _NOTHING)
                for strip in segmenter.strips(scene, self.bank, threshold=0.0)
            ]
        best, probability, rgb = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Prediction(best=best, probability=probability, image=np.rint(255 * rgb).astype(np.uint8))


_NOTHING = np.empty((0, 0, 3), np.float32)
