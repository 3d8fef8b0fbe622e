"""A copy of a raster with overviews, made once: 8 bit of red, green and blue after the product's own stretch.

As a program (`python -m earthwords.serve.overviews SOURCE DST`) it is what a job of the kind `prepare` runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from earthwords.errors import EarthwordsError, UsageError
from earthwords.jobs.events import Events

PIXELS = 2**22
"""Of the source, read at once."""


def prepare(source: Path, target: Path, *, tick: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Write the copy.

    Args:
        source: a raster that is a plain file.
        target: a GeoTIFF; appears whole.
        tick: called with rows done and rows in all.

    Raises:
        SourceError: the source is damaged.
        OutputError: the disk is full.
    """
    from earthwords.geo.geotiff import RasterWriter
    from earthwords.geo.scene import open_scene
    from earthwords.types import Window

    with open_scene(str(source), offline=True) as scene:
        height, width = scene.native.shape
        rows = max(16, PIXELS // width // 16 * 16)
        options = {"COMPRESS": "ZSTD", "LEVEL": "3", "PREDICTOR": "YES"}
        with RasterWriter(
            target, grid=scene.native, count=4, dtype="uint8", tags=scene.tags(), creation_options=options,
            resampling="average", overwrite=True,
        ) as writer:  # fmt: skip
            for row in range(0, height, rows):
                part = scene.read_rgb(Window(row=row, col=0, height=min(rows, height - row), width=width))
                picture = np.rint(part.data * 255).astype(np.uint8)
                writer.write(row, np.concatenate([picture, np.where(part.valid, 255, 0).astype(np.uint8)[None]]))
                tick(min(row + rows, height), height)


def main(words: Sequence[str]) -> int:
    """Prepare one raster, and tell of it as verbs do with `--progress json`."""
    told = Events(sys.stderr)
    try:
        if len(words) < 2:
            raise UsageError("Name a raster, and where its copy goes.")
        prepare(
            Path(words[0]), Path(words[1]),
            tick=lambda done, total: told.emit("progress", what="overviews", done=done, total=total, unit="rows"),
        )  # fmt: skip
    except EarthwordsError as error:
        told.error(str(error), error.exit_code)
        return error.exit_code
    told.output("overviews", Path(words[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
