"""What `assess` tells of the demo's map, and how often its intervals hold the truth that is known there.

python benchmarks/assess_demo.py OUT [--draws 200] [--points 300]

Renders and maps the scene of `earthwords demo`, draws points, fills them in from the rendered truth, and prints the
table of docs/assess.md; OUT/assessed holds the files, OUT/assessed/areas.png is the picture of that page. Then as many
samples are drawn as --draws says, and for each figure the share of intervals of 95 % that hold the truth is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas
import numpy as np
import rasterio

import earthwords
from earthwords.cli.show import show
from earthwords.evaluation.accuracy.estimators import Z


def filled(points: Path, truth: Path) -> Path:
    """The points with what the truth has there, as a person would type it."""
    frame = geopandas.read_file(points)
    with rasterio.open(truth) as dataset:
        names, values = dataset.tags(), dataset.sample([(point.x, point.y) for point in frame.geometry])
        frame["class"] = [names[f"CLASS_{value[0]}"] for value in values]
    target = points.with_name("filled.gpkg")
    frame.to_file(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--points", type=int, default=300)
    options = parser.parse_args()
    out, labels, truth = options.out, options.out / "labels.tif", options.out / "truth.tif"
    if not labels.exists():
        earthwords.demo(out, quiet=True, offline=True)
    quiet = {"quiet": True, "overwrite": True}

    earthwords.assess(labels, draw=options.points, out=out / "points.gpkg", **quiet)
    found = earthwords.assess(labels, truth=filled(out / "points.gpkg", truth))
    show(found)
    found.save(out / "assessed", overwrite=True)

    true = earthwords.assess(labels, truth=truth, quiet=True)
    with rasterio.open(truth) as all_pixels, rasterio.open(labels) as mapped:
        there = mapped.read_masks(1) != 0
        names = all_pixels.tags()
        counts = np.bincount(all_pixels.read(1)[there])
    print(f"Truth, {there.sum():,} pixels with a class: overall accuracy {float(true.overall.value):.1%}")
    print({names[f"CLASS_{i}"]: int(n) for i, n in enumerate(counts) if n and f"CLASS_{i}" in names})
    held: dict[str, list[bool]] = {}
    for seed in range(options.draws):
        earthwords.assess(labels, draw=options.points, out=out / "points.gpkg", seed=seed, **quiet)
        one = earthwords.assess(labels, truth=filled(out / "points.gpkg", truth), quiet=True)
        off = abs(float(one.overall.value) - float(true.overall.value))
        held.setdefault("overall accuracy", []).append(off <= Z * float(one.overall.se))
        for name, share in zip(true.classes, true.area.value, strict=True):
            i = one.classes.index(name) if name in one.classes else None
            if i is not None:
                held.setdefault(f"area of {name}", []).append(abs(one.area.value[i] - share) <= Z * one.area.se[i])
    for name, hits in held.items():
        print(f"{name}: {np.mean(hits):.1%} of {len(hits)} intervals hold the truth")


if __name__ == "__main__":
    main()
