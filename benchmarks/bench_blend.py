"""How overlapping windows are blended: mean, linear and cosine weights of the embedded model, and the seams they leave.

    python benchmarks/bench_blend.py DATA [--test] [--scene RASTER] [--modes MODE ...] [--json FILE]

Without `--test`: Dubai tile 6, by which the preset's blending is chosen. With it: Dubai tiles 7 and 8, the roads of the
Massachusetts sheets that were kept out of training, and the buildings of six sources; `--scene` adds a raster without
truth.
`seams` is the share of neighbouring pixels with different labels across borders of windows, over the share elsewhere:
1 where no border shows. `ratio` is the figure against that of `mean`, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import heldout
from earthwords.evaluation.metrics.segmentation import Confusion
from earthwords.geo.grids.tiling import axis_starts
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.kernels.blend import MODES
from earthwords.presets import TINY
from earthwords.text.vocabulary import parse_classes

HELD_OUT_SHEETS = 6
"""The last of the sorted sheets, which the recipe keeps out of training; names begin with their sheet."""
SHEET = 11
ROADS = ("road,street", "building,house", "trees,forest", "grass,field", "bare land,soil", "water")
Labels = NDArray[np.int64]


class Seams:
    """Counts changes of label across the borders of windows, and elsewhere."""

    def __init__(self, tile: int, overlap: int) -> None:
        self.tile, self.stride = tile, tile - overlap
        self.changed, self.counted = np.zeros(2), np.zeros(2)

    def add(self, labels: Labels) -> None:
        """Count a map; index 1 is at a border, 0 elsewhere."""
        for grid in (labels, labels.T):
            starts = axis_starts(grid.shape[1], self.tile, self.stride)
            borders = {edge for start in starts for edge in (start, start + self.tile)}
            at_border = np.isin(np.arange(1, grid.shape[1]), sorted(borders)).astype(int)
            self.changed += np.bincount(at_border, (grid[:, 1:] != grid[:, :-1]).sum(axis=0), minlength=2)
            self.counted += np.bincount(at_border, minlength=2) * len(grid)

    @property
    def ratio(self) -> float:
        """Changes a pixel at borders, over those elsewhere."""
        elsewhere, border = self.changed / np.maximum(self.counted, 1)
        return float(border / elsewhere)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Images, and what is measured on them."""

    name: str
    images: Sequence[Path]
    masks: Path | None
    """Folder of PNGs of the same stems; None: no truth."""
    words: Sequence[str]
    only: int | None = None
    """The class whose IoU counts, with a mask of above 0; None: mIoU of all."""

    def pairs(self) -> Iterator[tuple[Path, Labels | None]]:
        """Images and their truth."""
        for image in self.images:
            if self.masks is None:
                yield image, None
                continue
            with Image.open(next(self.masks.glob(f"{image.stem}.*"))) as mask:
                values = np.array(mask if self.only is None else mask.convert("L")).astype(np.int64)
            yield image, values if self.only is None else (values > 0).astype(np.int64)

    def measure(self, segmenter: Segmenter) -> tuple[float, float]:
        """mIoU or IoU in percent, NaN without truth, and the seams."""
        confusion = Confusion(len(self.words) if self.only is None else 2)
        seams = Seams(segmenter.preset.tile_size, segmenter.preset.overlap)
        vocabulary = parse_classes(list(self.words))
        for image, truth in self.pairs():
            labels = segmenter.predict(image, vocabulary).labels.astype(np.int64)
            seams.add(labels)
            if truth is not None:
                confusion.add(truth, labels if self.only is None else (labels == self.only).astype(np.int64))
        if self.masks is None:
            return float("nan"), seams.ratio
        scores = confusion.scores()
        return 100 * float(scores.miou if self.only is None else scores.iou[1]), seams.ratio


def tasks(data: Path, test: bool, scene: Path | None) -> list[Task]:
    """What is measured."""

    def dubai(tiles: str) -> Task:
        images = [p for t in tiles for p in sorted((data / "dubai_mbrsc/images").glob(f"tile{t}_*.jpg"))]
        name = f"Dubai {', '.join(tiles)}, mIoU"
        return Task(name=name, images=images, masks=data / "dubai_mbrsc/masks", words=heldout.DUBAI)

    found = [dubai("78" if test else "6")]
    if test:
        roads, buildings = data / "massachusetts_roads_tiles", data / "buildings_mix"
        tiles = sorted((roads / "images").iterdir())
        sheets = sorted({path.name[:SHEET] for path in tiles})[-HELD_OUT_SHEETS:]
        kept = [path for path in tiles if path.name[:SHEET] in sheets]
        found.append(Task(name="held-out roads, IoU", images=kept, masks=roads / "masks", words=ROADS, only=0))
        images = sorted((buildings / "images").iterdir())
        masks = buildings / "masks"
        found.append(Task(name="buildings, IoU", images=images, masks=masks, words=heldout.AROUND, only=0))
    if scene is not None:
        found.append(Task(name=scene.name[:24], images=[scene], masks=None, words=heldout.AROUND))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    segmenters = {mode: Segmenter.from_preset(replace(TINY, blend=mode)) for mode in given.modes}
    rows: list[dict[str, Any]] = []
    print(f"{'':26}{'blend':>8}{'percent':>10}{'ratio':>8}{'seams':>8}")
    for task in tasks(given.data, given.test, given.scene):
        first = None
        for mode, segmenter in segmenters.items():
            figure, seams = task.measure(segmenter)
            first = figure if first is None else first
            rows.append({"task": task.name, "blend": mode, "percent": figure, "ratio": figure / first, "seams": seams})
            print(f"{task.name:26}{mode:>8}{figure:10.2f}{figure / first:8.3f}{seams:8.2f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
