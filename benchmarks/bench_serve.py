"""What a person waits for at the map of `serve`: first words, new words, and a correction by marks, on one part.

    python benchmarks/bench_serve.py [--preset tiny] [--side 448] [--repeat 3] [--json FILE]

A scene of 1,200 x 1,000 pixels is rendered; the part lies in its middle, on the steps of the windows, and a second one
is a picture of that size by itself, as a part that the server has shrunk. CPU seconds are of all threads, wall seconds
of this machine as busy as it is; the best of the repeats counts. `ratio` is to the CPU seconds of `predict` of
the same part in the same run. The parts that follow each other know what the ones before have seen: exact words go on
from coarse ones. `teach` is 20 marks of five classes and the map that they give.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the server's process of views has it

import numpy as np
from geopandas import GeoDataFrame
from shapely.geometry import Point

from earthwords.geo.geotiff import RasterWriter
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.segment.view import SceneView
from earthwords.synthetic.render import RenderedScene, render_scene
from earthwords.types import Grid, Window

HEIGHT, WIDTH = 1000, 1200
WORDS = ("building,roof,house", "road,street", "water", "trees", "grass")
NEW_WORDS = ("swimming pool", "parking lot", "path")
MARKS = 4
"""Of a class."""


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What comes out, CPU seconds, wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.process_time() - cpu, time.perf_counter() - wall


def bounds(grid: Grid, part: Window) -> tuple[float, float, float, float]:
    """Of a part, in the CRS of the scene."""
    return grid.window(part).bounds


def marks_of(scene: RenderedScene, part: Window, grid: Grid) -> GeoDataFrame:
    """Points of every class that the part shows, at random."""
    labels, rng = scene.labels[part.slices], np.random.default_rng(0)
    shapes, classes = [], []
    for value in np.unique(labels):
        rows, cols = np.nonzero(labels == value)
        for i in rng.permutation(len(rows))[:MARKS]:
            x, y = grid.transform @ (part.col + cols[i] + 0.5, part.row + rows[i] + 0.5)
            shapes.append(Point(x, y))
            classes.append(f"class {value}")
    return GeoDataFrame({"class": classes}, geometry=shapes, crs=grid.crs)


def of_view(
    segmenter: Segmenter, make: Callable[[], SceneView], marks: GeoDataFrame | None
) -> list[tuple[str, float, float]]:
    """`(what, CPU seconds, wall seconds)` of what follows each other at the map."""
    segmenter.parts.clear()
    rows = []

    def told(what: str, work: Callable[[], Any]) -> Any:
        found, cpu, wall = measured(work)
        rows.append((what, cpu, wall))
        return found

    with make() as view:
        told("first words, coarse", lambda: view.predict(WORDS, coarse=True))
        exact = told("then exact", lambda: view.predict(WORDS))
        told("new words", lambda: view.predict(NEW_WORDS))
        told("another threshold", lambda: view.predict(WORDS, threshold=0.4))
        if marks is not None:
            told("teach, and its map", lambda: view.predict(by=view.teach(marks)))
        segmenter.parts.clear()
        told("exact at once", lambda: view.predict(WORDS))
        plain, cpu, wall = measured(lambda: segmenter.predict(view.scene.source, WORDS, **_how(view)))
        rows.append(("predict", cpu, wall))
        assert np.array_equal(plain.labels, exact.labels), "a view says what predict says"
    return rows


def _how(view: SceneView) -> dict[str, Any]:
    return {"bounds": view.scene.native.window(view.scene.region).bounds}


def main(words: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args(words)
    segmenter = Segmenter.from_preset(told.preset, device="cpu")
    scene = render_scene(height=HEIGHT, width=WIDTH, seed=3, conditions=())
    step = segmenter.preset.tile_size - segmenter.preset.overlap
    part = Window(row=2 * step, col=3 * step, height=told.side, width=told.side)
    table: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        whole, alone = Path(folder, "whole.tif"), Path(folder, "alone.tif")
        write(whole, scene.image, scene.grid)
        write(alone, scene.image[part.slices], scene.grid.window(part))
        marks = marks_of(scene, part, scene.grid)
        for _ in range(told.repeat):
            for where, make in (
                ("part of a scene", lambda: segmenter.view(str(whole), bounds=bounds(scene.grid, part))),
                ("picture by itself", lambda: segmenter.view(str(alone))),
            ):
                for what, cpu, wall in of_view(segmenter, make, marks):
                    table.setdefault((where, what), []).append((cpu, wall))
    best = {key: (min(cpu for cpu, _ in runs), min(wall for _, wall in runs)) for key, runs in table.items()}
    rows = [
        {"where": where, "what": what, "cpu_s": round(cpu, 3), "wall_s": round(wall, 3),
         "ratio": round(cpu / best[where, "predict"][0], 3)}
        for (where, what), (cpu, wall) in best.items()
    ]  # fmt: skip
    print(f"{told.side} x {told.side} pixels, preset {told.preset}, best of {told.repeat}")
    print(f"{'where':20} {'what':22} {'CPU s':>7} {'wall s':>7} {'ratio':>6}")
    for row in rows:
        print(f"{row['where']:20} {row['what']:22} {row['cpu_s']:7.2f} {row['wall_s']:7.2f} {row['ratio']:6.2f}")
    if told.json is not None:
        told.json.write_text(json.dumps({"side": told.side, "preset": told.preset, "rows": rows}, indent=2))


def write(path: Path, image: np.ndarray, grid: Grid) -> None:
    """A GeoTIFF of three bands."""
    with RasterWriter(path, grid=grid, count=3, dtype="uint8") as writer:
        writer.write(0, np.moveaxis(image, -1, 0))


if __name__ == "__main__":
    main()
