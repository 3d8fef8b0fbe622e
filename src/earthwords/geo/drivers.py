"""Which of GDAL's formats this installation can write."""

from __future__ import annotations

import pyogrio
import rasterio

RASTER_DRIVERS = ("GTiff", "COG", "VRT", "PNG", "JPEG")
VECTOR_DRIVERS = ("GPKG", "GeoJSON", "FlatGeobuf")


def missing_drivers() -> tuple[str, ...]:
    """The drivers we need that rasterio and pyogrio do not bring; empty for the wheels from PyPI."""
    with rasterio.Env() as environment:
        rasters = set(environment.drivers())
    writable = {name for name, modes in pyogrio.list_drivers().items() if "w" in modes}
    return tuple(
        [name for name in RASTER_DRIVERS if name not in rasters]
        + [name for name in VECTOR_DRIVERS if name not in writable]
    )
