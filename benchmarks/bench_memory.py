"""Peak memory and time of `earthwords segment --upsampler none`, or of `change`, on a large raster.

    python benchmarks/bench_memory.py [--verb segment|change] [--side 20000 ...] [--seconds N] [--json FILE]
        [OPTION ...]

A rendered scene, for `change` a pair with known changes, is repeated in a VRT mosaic of SIDE x SIDE pixels and
segmented into five classes or compared for one, outputs and all, in a process of its own; the reference is the same
command on one tile of the mosaic, whose memory is that of the libraries and the model, and of one block. `ratio` is
peak over reference. A command that takes longer than --seconds is ended then, and its row says so: its peak is that of
what it has done. Options that are not known here go to the command.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from earthwords.geo.geotiff import RasterWriter
from earthwords.synthetic import render_pair, render_scene

TILE = 1024
WORDS = ("building,roof,house", "road,street", "water,lake", "trees,forest", "cropland,field")


def mosaic(tile: Path, side: int, grid: Any) -> Path:
    """A VRT that repeats a tile, anchored where the tile is."""
    bands = []
    for band in (1, 2, 3):
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{tile.name}</SourceFilename>'
            f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{w}" ySize="{h}"/>'
            f'<DstRect xOff="{col}" yOff="{row}" xSize="{w}" ySize="{h}"/></SimpleSource>'
            for row in range(0, side, TILE)
            for col in range(0, side, TILE)
            for h, w in [(min(TILE, side - row), min(TILE, side - col))]
        )
        colour = ("Red", "Green", "Blue")[band - 1]
        bands.append(
            f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colour}</ColorInterp>{sources}</VRTRasterBand>'
        )
    t = grid.transform
    place = f"<SRS>{grid.crs.to_string()}</SRS><GeoTransform>{t.c},{t.a},{t.b},{t.f},{t.d},{t.e}</GeoTransform>"
    path = tile.with_suffix(".vrt")
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{place}{"".join(bands)}</VRTDataset>')
    return path


def run(sources: list[Path], out: Path, verb: str, more: list[str], most: float) -> tuple[float, float, bool]:
    """`(peak MiB, seconds, whether it came to its end)` of one command."""
    words = [part for word in (WORDS if verb == "segment" else WORDS[:1]) for part in ("-t", word)]
    command = [sys.executable, "-m", "earthwords", verb, *map(str, sources), str(out), *words, "--quiet", "--offline"]
    command += [*(["--upsampler", "none"] if verb == "segment" else []), *more]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    clock = Timer(most, process.kill)
    clock.start()
    _, status, usage = os.wait4(process.pid, 0)
    clock.cancel()
    seconds = time.perf_counter() - began
    if status and seconds < most:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return usage.ru_maxrss / 1024, seconds, not status


def tiles(folder: Path, verb: str) -> tuple[list[Path], Any]:
    """The date that is repeated, or both, as files, and their grid."""
    how: dict[str, Any] = {"height": TILE, "width": TILE, "gsd": 0.5, "theme": "village", "seed": 3}
    pair = render_pair(**how) if verb == "change" else None
    scenes = [render_scene(**how)] if pair is None else [pair.before, pair.after]
    paths = [folder / f"tile-{i}.tif" for i in range(len(scenes))]
    for path, scene in zip(paths, scenes, strict=True):
        with RasterWriter(path, grid=scene.grid, count=3, dtype="uint8") as writer:
            writer.write(0, np.moveaxis(scene.image, -1, 0))
    return paths, scenes[0].grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verb", choices=("segment", "change"), default="segment")
    parser.add_argument("--side", type=int, nargs="+", default=[20_000])
    parser.add_argument("--seconds", type=float, default=1e6)
    parser.add_argument("--json", type=Path)
    args, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        parts, grid = tiles(Path(name), args.verb)
        rows: list[dict[str, Any]] = []
        for side in (TILE, *args.side):
            sources = parts if side == TILE else [mosaic(tile, side, grid) for tile in parts]
            peak, seconds, whole = run(sources, Path(name) / f"out-{side}", args.verb, more, args.seconds)
            reference = rows[0]["peak_mib"] if rows else peak
            rows.append(
                {
                    "raster": f"{side} x {side}",
                    "peak_mib": round(peak),
                    "over_reference_mib": round(peak - reference),
                    "ratio": round(peak / reference, 2),
                    "seconds": round(seconds, 1),
                    "seconds_per_mpx": round(seconds * 1e6 / side**2, 2) if whole else None,
                    "to_the_end": whole,
                }
            )
            print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
