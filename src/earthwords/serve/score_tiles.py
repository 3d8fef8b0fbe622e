"""Scores of a result: a raster of the two best classes, made once from the probabilities, its areas, and its tiles."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthwords.files.atomic import atomic_path
from earthwords.files.plaintext import write_json
from earthwords.serve.tiles import SIDE
from earthwords.types import SCORE_STEPS

if TYPE_CHECKING:
    from earthwords.geo.sources.served import RasterFacts

_LOCKS: dict[Path, threading.Lock] = {}
_LOCKS_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ScoreMap:
    """What was made of a result."""

    raster: Path
    """Bands: top class + 1, its score, the runner-up's."""
    areas: Path
    """The histogram, as JSON."""


def scores_of(folder: Path, made: Path) -> ScoreMap:
    """The scores of a finished map; made at the first question, in one pass that streams.

    Args:
        folder: outputs of `segment`, with probabilities.
        made: where what is made lies.

    Raises:
        SourceError: the map is damaged, or has no probabilities.
        OutputError: the disk is full.
    """
    about = (folder / "probabilities.tif").stat()
    name = f"scores-{about.st_mtime_ns:x}-{about.st_size:x}"
    found = ScoreMap(raster=made / f"{name}.tif", areas=made / f"{name}.json")
    with _LOCKS_LOCK:
        lock = _LOCKS.setdefault(found.raster, threading.Lock())
    with lock:
        if not (found.raster.exists() and found.areas.exists()):
            _make(folder, found)
    return found


def _make(folder: Path, into: ScoreMap) -> None:
    from earthwords.geo.geotiff import RasterWriter
    from earthwords.geo.grids.area import PixelAreas
    from earthwords.inference.segment.stored import open_stored, score_planes
    from earthwords.serve.words import classes_of

    with open_stored(folder) as map:
        grid, count = map.grid, len(map.vocabulary)
        areas = PixelAreas(grid) if grid.crs is not None else None
        sums, observed = np.zeros(count * (SCORE_STEPS + 1)), 0.0
        with RasterWriter(into.raster, grid=grid, count=3, dtype="uint8", overwrite=True) as writer:
            for row in range(0, grid.height, map.rows_at_once):
                height = min(map.rows_at_once, grid.height - row)
                rows = map.rows(row, height)
                planes = score_planes(rows)
                writer.write(row, planes)
                area = np.ones((height, 1)) if areas is None else areas.block(row, height)
                weights = np.broadcast_to(area, rows.valid.shape)
                observed += float(weights[rows.valid].sum())
                known = planes[0] > 0
                code = (planes[0][known].astype(np.int64) - 1) * (SCORE_STEPS + 1) + planes[1][known]
                sums += np.bincount(code, weights[known], minlength=len(sums))
        by_class = sums.reshape(count, SCORE_STEPS + 1)
        classes = [
            {"title": c.title, "colour": c.colour, "areas": [round(float(v), 4) for v in by_class[i]]}
            for i, c in enumerate(classes_of(map.vocabulary))
        ]
    body = {"unit": "px" if areas is None else "m2", "classes": classes, "observed": round(observed, 4)}
    with atomic_path(into.areas, overwrite=True) as path:
        write_json(path, body, indent=None)


def areas_of(scores: ScoreMap) -> dict[str, Any]:
    """The histogram."""
    found: dict[str, Any] = json.loads(scores.areas.read_text(encoding="utf-8"))
    return found


def score_tile(raster: Path, facts: RasterFacts, z: int, x: int, y: int) -> bytes | None:
    """A tile of the score picture as PNG; None where there is nothing."""
    from rio_tiler.errors import TileOutsideBounds
    from rio_tiler.io import Reader

    from earthwords.geo.sources.gdal_dataset import reading
    from earthwords.geo.sources.network import Network
    from earthwords.geo.sources.served import on_the_map, open_served

    if x >= 2**z or y >= 2**z:
        return None
    with open_served(raster) as dataset, on_the_map(dataset, facts) as placed, Reader(None, dataset=placed) as reader:
        try:
            with reading(raster.name, "the tile", Network.NONE):
                image = reader.tile(
                    x, y, z, tilesize=SIDE, indexes=(1, 2, 3), resampling_method="nearest", reproject_method="nearest"
                )
        except TileOutsideBounds:
            return None
    planes = np.where(np.ma.getmaskarray(image.array).any(axis=0), 0, np.asarray(image.array.data)).astype(np.uint8)
    return png(planes)


def sampled_tile(
    facts: RasterFacts, z: int, x: int, y: int, read: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.uint8]]
) -> bytes | None:
    """A tile of a map that is being made.

    Args:
        read: rows and columns `(256, 256)` of the placed grid, -1 outside, to planes `(3, 256, 256)`.
    """
    from earthwords.geo.sources.served import pixels_of_tile

    found = pixels_of_tile(facts.placed, z, x, y, SIDE)
    return None if found is None else png(read(*found))


def png(planes: NDArray[np.uint8]) -> bytes | None:
    """`(3, row, col)` as PNG; None where nothing was observed."""
    from PIL import Image

    if not planes[0].any():
        return None
    into = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.moveaxis(planes, 0, -1))).save(into, format="PNG", compress_level=3)
    return into.getvalue()
