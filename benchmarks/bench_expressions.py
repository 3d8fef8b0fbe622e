"""Peak memory and time of `earthwords expressions` on one large image with many objects (COCO).

    python benchmarks/bench_expressions.py [--side 12000] [--objects 1000] [--json FILE]

A rendered scene is repeated to an image of SIDE x SIDE pixels, as TIFF and as PNG, with OBJECTS masks of up to a tenth
of its side, every fourth as run lengths and one that covers half of the image. The command runs in tiles of 512 pixels;
of the whole image at once only the masks are read, since what is found out about them takes many times as much.
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
from PIL import Image

from earthwords.geo.geotiff import RasterWriter
from earthwords.synthetic import render_scene
from earthwords.types import Grid

TILE = 1000
WHOLE = """
import sys
from pathlib import Path
from earthwords.data.annotations.masks import coco
from earthwords.data.annotations.boxes._common import How

for item in coco.items(Path(sys.argv[1]), How()):
    print([len(things.classes) for things in coco.load(item, How())])
"""


def annotations(side: int, objects: int) -> list[dict[str, Any]]:
    """Polygons and run lengths of made-up things."""
    rng = np.random.default_rng(4)
    found: list[dict[str, Any]] = []
    for i in range(objects):
        reach = side / 20 * rng.uniform(0.02, 1) ** 2
        x, y = rng.uniform(reach, side - reach, 2)
        turns = np.sort(rng.uniform(0, 2 * np.pi, 12))
        ring = np.stack([x + reach * np.cos(turns), y + reach * np.sin(turns)], axis=1)
        mask: Any = [np.round(ring, 1).ravel().tolist()]
        if i == 0:
            mask = [[0, 0, side, 0, 0, side]]
        elif i % 4 == 0:
            top, left, tall = int(y - reach), int(x - reach), max(1, int(2 * reach))
            runs = [left * side + top, *[tall, side - tall] * (tall - 1), tall]
            mask = {"size": [side, side], "counts": [*runs, side * side - sum(runs)]}
        box = [float(x - reach), float(y - reach), float(2 * reach), float(2 * reach)]
        entry = {"id": i, "image_id": 1, "category_id": i % 3, "segmentation": mask, "bbox": box}
        found.append({"iscrowd": 0, **entry})
    return found


def prepare(folder: Path, side: int, objects: int) -> None:
    """`tif/` and `png/`, an image and a list each."""
    scene = render_scene(height=TILE, width=TILE, gsd=0.5, theme="village", seed=3)
    band = np.tile(scene.image, (1, -(-side // TILE), 1))[:, :side]
    grid = Grid(height=side, width=side, transform=scene.grid.transform, crs=scene.grid.crs)
    told: dict[str, Any] = {
        "annotations": annotations(side, objects),
        "categories": [{"id": i, "name": name} for i, name in enumerate(("building", "lake", "field"))],
    }
    for suffix in ("tif", "png"):
        place = folder / suffix / "images"
        place.mkdir(parents=True)
        if suffix == "tif":
            with RasterWriter(place / "a.tif", grid=grid, count=3, dtype="uint8") as writer:
                for row in range(0, side, TILE):
                    writer.write(row, np.moveaxis(band[: side - row], -1, 0))
        else:
            Image.fromarray(np.tile(band, (-(-side // TILE), 1, 1))[:side]).save(place / "a.png", compress_level=1)
        image = {"id": 1, "file_name": f"a.{suffix}", "height": side, "width": side}
        (folder / suffix / "a.json").write_text(json.dumps({"images": [image], **told}))


def run(*command: str) -> tuple[float, float]:
    """`(peak MiB, seconds)` of a process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command failed: {' '.join(command)}")
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=12_000)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child = os.fork()  # what makes the images is not to be counted
        if not child:
            prepare(folder, args.side, args.objects)
            os._exit(0)
        os.waitpid(child, 0)
        for suffix in ("tif", "png"):
            source, dst = folder / suffix / "a.json", folder / suffix / "out.jsonl"
            told = [
                "-m",
                "earthwords",
                "expressions",
                str(source),
                str(dst),
                "--tile-size",
                "512",
                "--count",
                "1",
                "--quiet",
            ]
            for what, command in (("in tiles of 512", told), ("masks of the whole", ["-c", WHOLE, str(source)])):
                peak, seconds = run(*command)
                label = f"{suffix}, {args.side} x {args.side}, {args.objects} objects, {what}"
                rows.append({"image": label, "peak_mib": round(peak), "seconds": round(seconds, 1)})
                print(rows[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
