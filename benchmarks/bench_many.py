"""Memory of `earthwords segment` over many small scenes: it must not grow.

    python benchmarks/bench_many.py [--scenes 1000] [--workers 1] [--model FOLDER] [--json FILE]

Rendered scenes of 256 x 256 pixels, each turned and mirrored, are segmented by one command with all outputs and
probabilities. `ratio` is the resident memory of the process when all are done over that when 100 are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from earthwords.geo.geotiff import RasterWriter
from earthwords.synthetic import render_scene

SIDE = 256
FIRST = 100
NEAR = 10
"""Scenes over which memory is looked at: the median of what it is from so many before a number on."""
WORDS = ("building,roof,house", "road,street", "water,lake", "trees,forest", "cropland,field")


def render(folder: Path, count: int) -> None:
    """`count` GeoTIFFs, eight of every rendered scene."""
    for number in range(count):
        if number % 8 == 0:
            scene = render_scene(height=SIDE, width=SIDE, gsd=0.5, theme="village", seed=number // 8)
        turned = np.rot90(scene.image, number % 4)
        pixels = turned[:, ::-1] if number % 8 > 3 else turned
        with RasterWriter(folder / f"{number:05d}.tif", grid=scene.grid, count=3, dtype="uint8") as writer:
            writer.write(0, np.moveaxis(pixels, -1, 0))


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(scenes: Path, out: Path, options: list[str]) -> tuple[list[tuple[int, float]], float]:
    """Scenes done and MiB, many times while the command runs; and how long it took."""
    words = [part for word in WORDS for part in ("-t", word)]
    command = [sys.executable, "-m", "earthwords", "segment", str(scenes), str(out), *words, *options]
    began, seen = time.perf_counter(), []
    process = subprocess.Popen(
        [*command, "--probabilities", "uint8", "--quiet", "--offline"], stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        done = sum(1 for each in os.scandir(out) if each.is_dir()) if out.exists() else 0
        try:
            seen.append((done, resident(process.pid)))
        except (OSError, IndexError):
            break
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return seen, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    options = ["--workers", str(args.workers), *(["--model", args.model] if args.model else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scenes").mkdir()
        render(folder / "scenes", args.scenes)
        seen, seconds = run(folder / "scenes", folder / "out", options)
    rows = []
    for number in (*range(FIRST, args.scenes, FIRST), args.scenes):
        near = [mib for done, mib in seen if number - NEAR <= done <= number]
        rows.append({"scenes": number, "mib": round(statistics.median(near), 1)})
        print(rows[-1])
    told = {"ratio": round(rows[-1]["mib"] / rows[0]["mib"], 3), "seconds": round(seconds, 1)}
    print(told)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, **told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
