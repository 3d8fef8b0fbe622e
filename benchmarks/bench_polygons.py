"""Time and memory of turning labels into polygons, against a union of the strips' polygons.

    python benchmarks/bench_polygons.py [--side 4096] [--way ours] [--json FILE]

Renders labels of SIDE x SIDE pixels in five classes, a strip at a time: blobs of smooth noise with a network
of paths, one component, over the whole scene (`smooth`), and the same with one pixel in eight drawn at random
(`grainy`). Each way runs in a process of its own. `growth_mib` is the peak of memory over what was there before
the first row, `seconds` is processor time without the rendering. `ours` keeps 4 bytes a corner of what is open;
`union` keeps shapely parts of the strips (GDAL's `shapes`) and joins them at the end by `shapely.union_all`, which
leaves a few vertices in straight sides. `shapes` is GDAL's `shapes` over all labels at once, as people write it: the
labels, and all polygons, lie in memory. All hand out geometries, which are counted and dropped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import shapes
from scipy import ndimage

from earthwords.geo.vectors.connected import connected
from earthwords.geo.vectors.vectorize import PolygonCollector, _components
from earthwords.types import ClassName, Grid, Vocabulary

CLASSES = Vocabulary(classes=tuple(ClassName(names=(name,), colour=(1, 2, 3)) for name in "abcde"))
KINDS = ("smooth", "grainy")
WAYS = ("ours", "union", "shapes")
PERIOD = 1024


def strips(kind: str, side: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """`(row, labels)`: blobs that repeat every 1024 pixels but for the random pixels, which do not."""
    rng = np.random.default_rng(7)
    noise = ndimage.gaussian_filter(rng.normal(size=(4, PERIOD, PERIOD)), (0, 6, 6), mode="wrap")
    tile = 1 + noise.argmax(0).astype(np.uint8)
    level = np.sort(noise, axis=0)
    tile[level[-1] - level[-2] < 0.01] = 0  # a network along the borders of the blobs
    paths = np.arange(PERIOD) % 128 < 4
    tile[paths], tile[:, paths] = 0, 0
    rows = max(1, min(1024, 2**22 // side))  # as PolygonCollector has it
    for row in range(0, side, rows):
        places = np.arange(row, min(row + rows, side)) % PERIOD
        labels = np.tile(tile[places], (1, -(-side // PERIOD)))[:, :side]
        if kind == "grainy":
            drawn = rng.random(labels.shape) < 0.125
            labels[drawn] = rng.integers(0, 5, drawn.sum(), np.uint8)
        yield row, labels


def ours(kind: str, side: int) -> Iterator[Any]:
    """Batches of polygons by `PolygonCollector`."""
    grid = Grid(height=side, width=side, transform=Affine(0.5, 0, 4e5, 0, -0.5, 5e6), crs=CRS.from_epsg(32632))
    collector = PolygonCollector(grid=grid, vocabulary=CLASSES)
    for row, labels in strips(kind, side):
        collector.add(row, labels, np.ones(labels.shape, np.float32))
        yield from map(attrgetter("geometries"), collector.drain())
    yield from map(attrgetter("geometries"), collector.finish())


def union(kind: str, side: int) -> Iterator[Any]:
    """Batches of polygons in pixels by a union of the parts of each open component; no score, no area."""
    parts: dict[int, list[Any]] = {}
    border = np.zeros(side, np.int64) - 1
    above = np.zeros(side, np.uint8)
    for row, labels in strips(kind, side):
        ids, table = _components(labels, np.zeros(labels.shape, np.float32), np.ones((len(labels), 1)))
        known = np.flatnonzero((border >= 0) & (above == labels[0]))
        number = {group: i for i, group in enumerate(parts)}
        older = np.array([number[group] for group in border[known].tolist()], np.int64)
        _, group = connected(older, ids[0, known] + len(parts), len(parts) + len(table))
        merged = defaultdict(list)
        for old, found in zip(parts.values(), group.tolist(), strict=False):
            merged[found] += old
        here = group[len(parts) :]
        for polygon, value in shapes(ids, connectivity=4, transform=Affine.translation(0, row)):
            shell, *holes = polygon["coordinates"]
            merged[int(here[int(value)])].append(shapely.Polygon(shell, holes))
        border, above = here[ids[-1]], labels[-1]
        still_open = set(border.tolist()) if row + len(labels) < side else set()
        ended = [some for found, some in merged.items() if found not in still_open]
        parts = {found: some for found, some in merged.items() if found in still_open}
        del merged
        done = []
        while ended:
            some = ended.pop()
            done.append(some[0] if len(some) == 1 else shapely.union_all(some))
        yield np.array(done, object)
        del done


def plain(kind: str, side: int) -> Iterator[Any]:
    """All polygons in pixels at once, by `rasterio.features.shapes`; no score, no area."""
    labels = np.concatenate([part for _, part in strips(kind, side)])
    yield np.array([shapely.geometry.shape(polygon) for polygon, _ in shapes(labels, connectivity=4)], object)


MAKE = {"ours": ours, "union": union, "shapes": plain}


def measure(way: str, kind: str, side: int) -> dict[str, Any]:
    """One row of the table, in this process."""
    for _ in MAKE[way](kind, 64):  # libraries loaded, loops compiled
        pass
    start = time.process_time()
    for _ in strips(kind, side):
        pass
    rendering, before, start = time.process_time() - start, memory("VmRSS"), time.process_time()
    count = largest = vertices = 0
    for polygons in MAKE[way](kind, side):
        sizes = shapely.get_num_coordinates(polygons)
        count += len(polygons)
        largest, vertices = max(largest, int(sizes.max(initial=0))), vertices + int(sizes.sum())
        del polygons
    seconds = time.process_time() - start - rendering
    growth = memory("VmHWM") - before
    return {
        "way": way,
        "labels": kind,
        "side": side,
        "seconds": round(seconds, 1),
        "growth_mib": round(growth / 1024),
        "polygons": count,
        "vertices": vertices,
        "largest": largest,
        "bytes_per_vertex_of_largest": round(growth * 1024 / largest),
    }


def memory(field: str) -> int:
    """KiB of `/proc/self/status`: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--way", choices=WAYS, help="only this one")
    parser.add_argument("--labels", choices=KINDS, help="only these")
    parser.add_argument("--here", action="store_true", help="in this process, for a profiler")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for kind in [args.labels] if args.labels else KINDS:
        for way in [args.way] if args.way else WAYS:
            if args.here:
                rows.append(measure(way, kind, args.side))
            else:
                command = [sys.executable, __file__, "--here", "--way", way, "--labels", kind, "--side", str(args.side)]
                ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.append(json.loads(ran.stdout))
            print(json.dumps(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
