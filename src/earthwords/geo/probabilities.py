"""Probabilities of classes, a band each, at single pixels: our own rasters, and those of others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from earthwords.errors import SourceError, UsageError
from earthwords.geo.class_raster import same_place
from earthwords.geo.grids.georeference import grid_of
from earthwords.geo.sources.gdal_dataset import aside, open_dataset, reading
from earthwords.geo.sources.network import Network
from earthwords.types import Grid

_SCALE = re.compile(r"probability = value / (\d+)")


def read_probabilities(
    source: str | Path, grid: Grid, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.float64], dict[str, str], float]:
    """Names of the bands, probabilities `(n, band)` 0..1 (NaN where there are none), tags, and the step of the values.

    Args:
        source: a local raster on `grid`.
        grid: of the map.
        rows, cols: `(n,)` pixels; those with a row of -1 get NaN.

    Raises:
        SourceError: missing, damaged, or of numbers that are no probabilities.
        UsageError: it lies on another grid than the map.
    """

    def read() -> tuple[tuple[str, ...], NDArray[np.float64], dict[str, str], float]:
        with (
            open_dataset(str(source), network=Network.NONE) as dataset,
            reading(str(source), "probabilities", Network.NONE),
        ):
            own, _ = grid_of(dataset)
            if own.shape != grid.shape or not same_place(own, grid):
                raise UsageError(
                    f"The probabilities {source} ({own.height} x {own.width} pixels) lie on another grid than the map "
                    f"({grid.height} x {grid.width}); name those written with it."
                )
            scale = _SCALE.search(dataset.tags().get("EARTHWORDS_SCALE", ""))
            divisor = float(scale[1]) if scale else 255.0 if dataset.dtypes[0] == "uint8" else 1.0
            found = np.full((len(rows), dataset.count), np.nan)
            for i in np.flatnonzero(rows >= 0):
                window = RasterioWindow(int(cols[i]), int(rows[i]), 1, 1)
                values = np.asarray(dataset.read(window=window), float)[:, 0, 0] / divisor
                seen = np.asarray(dataset.read_masks(window=window))[:, 0, 0] != 0
                found[i] = np.where(seen, values, np.nan)
            names = tuple(text or "" for text in dataset.descriptions)
            step = 1 / divisor if dataset.dtypes[0] == "uint8" else 0.0
            return names, found, dataset.tags(), step

    names, found, tags, step = aside(read)
    wrong = found[np.isfinite(found) & ((found < -1e-6) | (found > 1 + 1e-6))]
    if len(wrong):
        raise SourceError(f"{source} holds {wrong[0]:g}, and probabilities lie between 0 and 1; name another raster.")
    return names, np.clip(found, 0, 1), tags, step
