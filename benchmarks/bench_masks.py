"""Whether 20,000 masks of a scene take bounded time and memory: tiles, joining, two dates, suppression, writing.

    python benchmarks/bench_masks.py [--masks N] [--json FILE]

Masks of a scene are drawn, not found by a network, so that what is measured is everything beside it: every tile of
1,024 pixels says what it sees, the masks of neighbours are joined; those of two dates are compared as `change` by masks
does; and the things are written as `count` does.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.inference.change import dynamicearth
from earthwords.inference.change.existence import overlap_sums
from earthwords.inference.change.identify import mean_probabilities
from earthwords.inference.change.masked import JudgedMasks
from earthwords.inference.instances.automatic import MaskJob, scene_masks
from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.instances.instructsam.finder import apart
from earthwords.inference.instances.options import CountOptions
from earthwords.inference.instances.writing import CountWork, write_counts
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import About, OutputOptions
from earthwords.inference.windows.strip import Strip
from earthwords.mask_set import MaskSet
from earthwords.text.competing import compete
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Grid

CELL, STRIP = 40, 256
"""Side of the square that a thing has for itself, and rows of a strip, in pixels."""
TRANSFORM, EPSG = Affine(0.5, 0, 4e5, 0, -0.5, 5e6), 32633


def main() -> None:
    """Print the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told = measure(given.masks)
    if given.json:
        given.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Drawn:
    """A source of masks: ellipses of a seed, as many as are asked for."""

    count: int
    seed: int = 7

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scene."""
        across = int(np.ceil(np.sqrt(1.2 * self.count)))
        return CELL * -(-self.count // across), CELL * across

    def places(self) -> NDArray[np.int64]:
        """Middles and half sides `(thing, 4)`: row, column."""
        rng = np.random.default_rng(self.seed)
        rows, cols = np.divmod(np.arange(self.count), self.shape[1] // CELL)
        shift, sides = rng.integers(-2, 3, (2, self.count)), rng.integers(3, 17, (2, self.count))
        return np.stack([rows * CELL + CELL // 2 + shift[0], cols * CELL + CELL // 2 + shift[1], *sides], axis=1)

    def load(self) -> Drawn:
        """See `MaskSource`."""
        return self

    def settings(self) -> dict[str, str]:
        """See `MaskSource`."""
        return {"drawn": f"{self.count} {self.seed}"}

    def __call__(self, image: NDArray[np.uint8], grid: Grid) -> MaskSet:
        """The masks of an image, cut at its border."""
        top, left = round((5e6 - grid.transform.f) / 0.5), round((grid.transform.c - 4e5) / 0.5)
        corners, masks = [], []
        listed = self.places() - [top, left, 0, 0]
        reach = np.abs(listed[:, :2] - np.array(grid.shape) / 2) < np.array(grid.shape) / 2 + 20
        for row, col, tall, wide in listed[reach.all(axis=1)]:
            rows = np.arange(max(0, row - tall), min(grid.height, row + tall + 1))
            cols = np.arange(max(0, col - wide), min(grid.width, col + wide + 1))
            if len(rows) and len(cols):
                inside = ((rows[:, None] - row) / tall) ** 2 + ((cols - col) / wide) ** 2 <= 1
                if inside.any():
                    corners.append((int(rows[0]), int(cols[0])))
                    masks.append(inside)
        scores = np.random.default_rng(len(masks)).uniform(0.5, 1, len(masks))
        return MaskSet.pack(grid, corners, masks, scores=scores)


@dataclass
class Given:
    """A finder that has found."""

    found: InstanceCandidates

    def add(self, strip: Strip) -> None:
        """Nothing to do."""

    def finish(self) -> InstanceCandidates:
        """All."""
        return self.found


class Steps:
    """Time of the processor in each step, and the most memory so far."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self._at = time.process_time()

    def done(self, name: str) -> None:
        """A step ends, the next one begins."""
        seconds = time.process_time() - self._at
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        self.told[name] = round(seconds, 2)
        print(f"{name:46}{seconds:8.1f} s{memory:9,.0f} MiB at most so far", flush=True)
        self._at = time.process_time()


def measure(count: int) -> dict[str, object]:
    """All steps; their times."""
    source, steps = Drawn(count), Steps()
    height, width = source.shape
    print(f"{count:,} masks in {height:,} x {width:,} pixels")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        how = {"width": width, "height": height, "count": 3, "dtype": "uint8", "tiled": True, "compress": "deflate"}
        with rasterio.open(path, "w", driver="GTiff", crs=EPSG, transform=TRANSFORM, **how) as made:
            made.write(np.full((3, height, width), 90, np.uint8))
        steps.done("a scene is written")
        job = MaskJob(spec=SceneSpec(source=str(path)), source=source)
        with open_scene(path) as scene:
            found = scene_masks(scene, job)
        steps.done(f"masks of {len(scene_tiles(job, path))} tiles, joined: {len(found):,}")
        alone = apart(found)
        steps.done(f"what covers another thing is left out: {len(alone):,}")
        later = replace(found, boxes=found.boxes - np.where(np.arange(len(found)) % 10, 0, 1)[:, None] * [1, 1, 0, 0])
        masks = dynamicearth.proposals(found, later)
        steps.done(f"two dates suppressed: {2 * len(found):,} to {len(masks):,}")
        sums = overlap_sums(masks)
        steps.done(f"overlaps of two dates: {int((sums > 0).sum()):,} masks have one")
        words = np.random.default_rng(1).random((3, height // 8, width // 8), np.float32)
        mean_probabilities(words, masks.masks)
        steps.done("what words say inside each")
        classes = np.zeros(len(masks), np.int64)
        judged = JudgedMasks(masks=masks.masks, before=classes, after=classes + 1, scores=masks.masks.scores)
        judged.painted(np.zeros((height, width), np.int64), np.zeros((height, width), np.int64))
        steps.done("changes painted")
        kept = write(replace(found, classes=np.zeros(len(found), np.int32), titles=("ship",)), Path(folder))
        steps.done(f"written: {kept:,} polygons")
    return {
        "masks": count,
        "seconds": steps.told,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def scene_tiles(job: MaskJob, path: Path) -> list[object]:
    """The tiles of the scene."""
    with open_scene(path) as scene:
        return list(job.tiles(scene))


def write(masks: MaskSet, folder: Path) -> int:
    """As `count` writes things; how many lie in the file."""
    grid = replace(masks.grid, crs=CRS.from_epsg(EPSG))
    centres = masks.boxes[:, 1::-1] + masks.boxes[:, :1:-1] / 2
    found = InstanceCandidates(masks=replace(masks, grid=grid), similarity=masks.scores[:, None], centres=centres)
    words = compete(parse_classes(["ship"]), "auto")
    paths = {"instances": folder / "things.gpkg", "preview": folder / "p.png", "report": folder / "report.json"}
    write_counts(
        paths, strips(grid), about=About(source="drawn", grid=grid, vocabulary=words, tags={}), options=OutputOptions(),
        work=CountWork(finder=Given(found), counting=CountOptions(counted=(0,)), seen=8.0),
        policy=FailurePolicy(on_error="stop"),
    )  # fmt: skip
    return len(geopandas.read_file(paths["instances"]))


def strips(grid: Grid) -> Iterator[Strip]:
    """A grey scene of one class."""
    for row in range(0, grid.height, STRIP):
        shape = min(STRIP, grid.height - row), grid.width
        grey, ones = np.full((3, *shape), 0.4, np.float32), np.ones(shape, bool)
        yield Strip(row=row, labels=ones.astype(np.uint8), score=grey[0], rgb=grey, valid=ones)


if __name__ == "__main__":
    main()
