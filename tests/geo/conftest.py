"""Rasters that hide no swapped axis: H != W, bands that differ, an origin away from 0."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from earthwords.types import Grid

ROOT = Path(__file__).parents[2]
TRANSFORM = Affine(2.0, 0.0, 404211.9, 0.0, -2.0, 3285142.9)


@pytest.fixture
def make_raster(tmp_path: Path) -> Callable[..., Path]:
    """Write a raster: `make_raster(data, name=..., crs=..., mask=..., ...)`."""

    def make(data: np.ndarray, *, name: str = "scene.tif", **options: Any) -> Path:
        path = tmp_path / name
        after = {key: options.pop(key, None) for key in ("mask", "colormap", "colours", "names", "scales", "offsets")}
        profile = {"driver": "GTiff", "crs": "EPSG:32617", "transform": TRANSFORM, **options}
        count, height, width = data.shape
        with rasterio.open(path, "w", count=count, height=height, width=width, dtype=data.dtype, **profile) as dataset:
            if after["colours"]:
                dataset.colorinterp = after["colours"]
            if after["colormap"]:
                dataset.write_colormap(1, after["colormap"])
            for number, text in enumerate(after["names"] or (), start=1):
                dataset.set_band_description(number, text)
            if after["scales"]:
                dataset.scales, dataset.offsets = after["scales"], after["offsets"]
            dataset.write(data)
            if after["mask"] is not None:
                dataset.write_mask(after["mask"])
        return path

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240501)


@pytest.fixture
def grid() -> Grid:
    return Grid(height=37, width=53, transform=TRANSFORM, crs=CRS.from_epsg(32617))


@pytest.fixture(scope="session")
def demo() -> Path:
    """The folder of real rasters, where the machine has it."""
    folder = Path(os.environ.get("EARTHWORDS_DATA", ROOT.parent / "shared" / "data")) / "geotiff_demo"
    if not folder.is_dir():
        pytest.skip(f"no real rasters in {folder}; set EARTHWORDS_DATA")
    return folder
