"""Peak memory and time of `earthwords segment --upsampler none` on a large raster.

    python benchmarks/bench_memory.py [--side 20000] [--model FOLDER] [--json FILE]

A rendered scene is repeated in a VRT mosaic of SIDE x SIDE pixels and segmented into five classes, labels and
polygons and all, in a process of its own; the reference is the same command on one tile of the mosaic, whose
memory is that of the libraries and the model. `ratio` is peak over reference.
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
from typing import Any

import numpy as np

from earthwords.geo.geotiff import RasterWriter
from earthwords.synthetic import render_scene

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
    path = tile.with_name("mosaic.vrt")
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{place}{"".join(bands)}</VRTDataset>')
    return path


def run(source: Path, out: Path, model: str | None) -> tuple[float, float]:
    """`(peak MiB, seconds)` of one command."""
    words = [part for word in WORDS for part in ("-t", word)]
    command = [sys.executable, "-m", "earthwords", "segment", str(source), str(out), *words, "--quiet", "--offline"]
    command += ["--upsampler", "none", *(["--model", model] if model else [])]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = render_scene(height=TILE, width=TILE, gsd=0.5, theme="village", seed=3)
        with RasterWriter(folder / "tile.tif", grid=scene.grid, count=3, dtype="uint8") as writer:
            writer.write(0, np.moveaxis(scene.image, -1, 0))
        vrt = mosaic(folder / "tile.tif", args.side, scene.grid)
        rows = []
        for label, source in ((f"{TILE} x {TILE}", folder / "tile.tif"), (f"{args.side} x {args.side}", vrt)):
            peak, seconds = run(source, folder / source.stem, args.model)
            reference = rows[0]["peak_mib"] if rows else peak
            rows.append(
                {
                    "raster": label,
                    "peak_mib": round(peak),
                    "over_reference_mib": round(peak - reference),
                    "ratio": round(peak / reference, 2),
                    "seconds": round(seconds, 1),
                }
            )
            print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
