"""Images a second through the data engine, from masks and boxes to each kind of result.

    python benchmarks/bench_pairs.py [--images 300] [--side 512] [--workers 1 2] [--json FILE]

The images are rendered here: JPEG files, masks of five classes, boxes. `ratio` is against reading the images alone,
one after another, in the same run. CPU is that of all processes, for machines that others use too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

import earthwords
from earthwords.data.annotations.image_io import read_rgb

CLASSES = ["building", "road", "water", "vegetation", "car"]


def make(folder: Path, count: int, side: int) -> tuple[Path, Path]:
    """A set of masks and one of boxes over the same images."""
    masks, boxes = folder / "masks", folder / "boxes"
    for path in (masks / "images", masks / "masks", boxes / "labels"):
        path.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        noise = ndimage.gaussian_filter(rng.normal(size=(side // 4, side // 4, 3)), (3, 3, 0)) * 400 + 120
        image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).resize((side, side))
        image.save(masks / "images" / f"{i:05d}.jpg", quality=90)
        levels = np.digitize(np.asarray(image)[..., 0], [90, 110, 125, 140, 155]).astype(np.uint8)
        Image.fromarray(levels).save(masks / "masks" / f"{i:05d}.png")
        lines = [f"{rng.integers(5)} {x:.4f} {y:.4f} 0.05 0.05" for x, y in rng.uniform(0.1, 0.9, (20, 2))]
        (boxes / "labels" / f"{i:05d}.txt").write_text("\n".join(lines))
    shutil.copytree(masks / "images", boxes / "images")
    (masks / "classes.json").write_text(json.dumps({str(i + 1): name for i, name in enumerate(CLASSES)}))
    (boxes / "classes.txt").write_text("\n".join(CLASSES))
    return masks, boxes


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        masks, boxes = make(Path(place), args.images, args.side)
        began, before = time.perf_counter(), cpu_seconds()
        for path in sorted((masks / "images").iterdir()):
            read_rgb(str(path))
        reading = args.images / (time.perf_counter() - began)
        alone = 1000 * (cpu_seconds() - before) / args.images
        row = {"what": "reading the images", "workers": 1, "images/s": round(reading, 1), "ratio": 1.0}
        rows.append({**row, "cpu_ms": round(alone, 1)})
        for source in (masks, boxes):
            for dst in ("out", "out.parquet", "out.jsonl"):
                for workers in args.workers:
                    target = Path(place) / f"{source.name}{workers}" / dst
                    before = cpu_seconds()
                    report = earthwords.pairs(source, target, workers=workers, quiet=True)
                    rate = args.images / report.seconds
                    what = f"{source.name} to {'shards' if dst == 'out' else dst[4:]}"
                    row = {"what": what, "workers": workers, "images/s": round(rate, 1)}
                    spent = round(1000 * (cpu_seconds() - before) / args.images, 1)
                    rows.append({**row, "ratio": round(rate / reading, 2), "cpu_ms": spent})
    for row in rows:
        rates = f"{row['images/s']:>9} images/s{row['ratio']:>7}{row['cpu_ms']:>9} ms of CPU an image"
        print(f"{row['what']:<22}{row['workers']:>3} workers{rates}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
