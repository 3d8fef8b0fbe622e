"""How long `import earthwords`, `earthwords --help`, a wrong path and a scene of one chip take.

    python benchmarks/bench_startup.py [--runs 9] [--old FOLDER] [--json FILE]

Medians of processes of their own, one of each command after the other; `ratio` is against `python -c pass` for what
needs no model, by the clock, and against importing torch, rasterio and numba for what segments, in seconds of the
processor, one thread. `--old`: sources of another version (its `src`), measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

SIDE = 256
IMPORTS = "import earthwords.cli.app, earthwords.inference.batch, earthwords.inference.segment.run"
"""What `segment` imports, whatever the preset of CLIP."""


@dataclass(frozen=True)
class Row:
    """A command beside the one that it is compared with."""

    name: str
    argv: tuple[str, ...]
    beside: str
    cpu: bool = False
    """Seconds of the processor, not of the clock."""
    code: int = 0
    source: str | None = None
    """Folder of the package; None: as it is installed."""


def rows(folder: Path, old: str | None) -> list[Row]:
    """All commands; the chip lies in `folder`."""
    own = ("-m", "earthwords")
    light, heavy = "python -c pass", "import torch, rasterio, numba"
    segment = (*own, "segment", str(folder / "chip.tif"), str(folder / "out"), "-t", "tree", "-t", "road")
    found = [
        Row(light, ("-c", "pass"), light),
        Row("import earthwords", ("-c", "import earthwords"), light),
        Row("earthwords --help", (*own, "--help"), light),
        Row("earthwords segment --help", (*own, "segment", "--help"), light),
        Row("a path that is not there", (*own, "segment", "nofile.tif", "out", "-t", "tree"), light, code=1),
        Row(heavy, ("-c", heavy), heavy, cpu=True),
    ]
    for name, source in (("", None), (" (old)", old)):
        if name == "" or old is not None:
            found.append(Row(f"imports of segment{name}", ("-c", IMPORTS), heavy, cpu=True, source=source))
            argv = (*segment, "--offline", "--quiet", "--overwrite")
            found.append(Row(f"segment, {SIDE} px{name}", argv, heavy, cpu=True, source=source))
    return found


def once(row: Row) -> float:
    """Seconds of one process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": row.source} if row.source else {})}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *row.argv], capture_output=True, env=env)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != row.code:
        raise SystemExit(done.stderr.decode())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime if row.cpu else seconds


def write_chip(path: Path) -> None:
    """Blocks of random colours."""
    blocks = np.random.default_rng(1).integers(1, 255, (3, SIDE // 16, SIDE // 16), np.uint8)
    how = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32640", "width": SIDE, "height": SIDE}
    with rasterio.open(path, "w", transform=from_origin(3e5, 2.8e6, 0.5, 0.5), **how) as file:
        file.write(np.kron(blocks, np.ones((1, 16, 16), np.uint8)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--old")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        write_chip(folder / "chip.tif")
        every = rows(folder, args.old)
        times: dict[str, list[float]] = {row.name: [] for row in every}
        for turn in range(args.runs + 1):
            for row in every:
                seconds = once(row)
                if turn:  # the first run compiles
                    times[row.name].append(seconds)
    finally:
        shutil.rmtree(folder)
    made = []
    for row in every:
        ratios = [own / other for own, other in zip(times[row.name], times[row.beside], strict=True)]
        median, ratio = statistics.median(times[row.name]), statistics.median(ratios)
        kind = "CPU-s" if row.cpu else "s"
        made.append({"command": row.name, "median": round(median, 3), "unit": kind, "ratio": round(ratio, 2)})
        print(f"{row.name:<32}{median:8.3f} {kind:<6}{ratio:7.2f} x")
    if args.json:
        args.json.write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
