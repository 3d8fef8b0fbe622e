"""The CRS that outputs carry: the source's own, in the words in which GDAL gave it.

Through other words (WKT 2, PROJJSON) compound CRSs lose their codes, and some even their datum.
"""

from __future__ import annotations

import io
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from affine import Affine
from pyproj import CRS
from rasterio.crs import CRS as RasterioCRS
from rasterio.io import DatasetReader, MemoryFile

from earthwords.files.reading import read_bytes
from earthwords.types import Grid, SourceCrs

_EPOCH = re.compile(rb'<SRS[^>]*\bcoordinateEpoch="([0-9.]+)"')


def source_crs_of(dataset: DatasetReader) -> tuple[SourceCrs | None, tuple[str, ...]]:
    """The CRS of an open dataset for outputs, and sentences on what the formats cannot hold of it.

    None without a CRS, and for one that GDAL can read but not write.
    """
    wkt = wkt_of(dataset)
    if not wkt:
        return None, ()
    kept = _through_geotiff(wkt)
    if kept is None:
        return None, (f"The CRS {name_of(wkt)!r} cannot be written: the outputs have none.",)
    notes = []
    if not kept or RasterioCRS.from_wkt(kept) != RasterioCRS.from_wkt(wkt):
        notes.append(f"GeoTIFF cannot hold all of the CRS {name_of(wkt)!r}; vector formats can.")
    epoch = _epoch_of(dataset)
    if epoch is not None:
        notes.append(
            f"The coordinates are of the epoch {epoch:g}: GeoTIFF, GeoPackage and GeoParquet tell that, FlatGeobuf and "
            "GeoJSON cannot."
        )
    return SourceCrs(wkt=wkt, epoch=epoch), tuple(notes)


def wkt_of(dataset: DatasetReader) -> str:
    """The CRS of a dataset in GDAL's words, empty without one or where GDAL itself cannot say what it read."""
    try:
        return str(dataset.crs.to_wkt()) if dataset.crs is not None and dataset.crs.wkt else ""
    except Exception:  # GDAL's own classes, which rasterio does not publish
        return ""


def name_of(wkt: str) -> str:
    """What a CRS is called."""
    with suppress(Exception):  # PROJ's errors
        return str(CRS.from_wkt(wkt).name)
    found = re.match(r'\w+\["([^"]*)"', wkt)
    return found[1] if found else "unknown"


def raster_crs(grid: Grid) -> RasterioCRS | None:
    """The CRS of a grid for rasterio."""
    if grid.source_crs is not None:
        return RasterioCRS.from_wkt(grid.source_crs.wkt)
    return None if grid.crs is None else rasterio_crs(grid.crs)


def rasterio_crs(crs: CRS) -> RasterioCRS:
    """The same CRS for rasterio; by its code if it has one, since words lose the codes of its parts."""
    authority = crs.to_authority(min_confidence=100)
    with suppress(Exception):  # a code that GDAL's tables do not have
        if authority and CRS.from_authority(*authority) == crs:
            return RasterioCRS.from_user_input(":".join(authority))
    with suppress(Exception):  # words that WKT 1 does not have
        if crs.is_compound:
            return RasterioCRS.from_wkt(crs.to_wkt("WKT1_GDAL"))
    return RasterioCRS.from_wkt(crs.to_wkt())


def ogr_crs(crs: CRS | None, source: SourceCrs | None, *, epoch: bool = False) -> str | None:
    """A CRS for OGR, the source's own if there is one; with the epoch of its coordinates if the format can tell it."""
    if source is None or not _known(source):
        return None if crs is None else str(crs.to_wkt())
    return _dated(source) if epoch and source.epoch is not None else source.wkt


def add_epoch(vrt: bytes, epoch: float) -> bytes:
    """The text of a VRT, whose CRS gets the epoch of its coordinates; rasterio has no other way to write one."""
    return re.sub(rb"<SRS\b", b'<SRS coordinateEpoch="%r"' % epoch, vrt, count=1)


def _dated(source: SourceCrs) -> str:
    """With the epoch of the coordinates, if OGR agrees that the earth moves in the CRS."""
    crs = CRS.from_wkt(source.wkt)
    authority = crs.to_authority(min_confidence=100)
    texts = [f"{':'.join(authority)}@{source.epoch!r}"] if authority else []
    texts.append(f"COORDINATEMETADATA[{crs.to_wkt()},EPOCH[{source.epoch!r}]]")
    return next((text for text in texts if _accepted(text)), source.wkt)


@lru_cache(maxsize=64)
def _accepted(text: str) -> bool:
    """Whether OGR takes a text for a CRS; there is no other way to ask pyogrio."""
    import pyarrow as pa  # heavy, and epochs are rare
    import pyogrio
    from pyogrio.errors import CRSError

    table = pa.table({"geometry": pa.array([], pa.binary())})
    how = {"driver": "FlatGeobuf", "geometry_name": "geometry", "geometry_type": "Polygon"}
    try:
        pyogrio.write_arrow(table, io.BytesIO(), crs=text, **how)
    except CRSError:
        return False
    return True


def _known(source: SourceCrs) -> bool:
    """Whether PROJ, and so OGR, understands the CRS."""
    try:
        CRS.from_wkt(source.wkt)
    except Exception:  # of PROJ, several
        return False
    return True


def _epoch_of(dataset: DatasetReader) -> float | None:
    """The epoch of the coordinates (https://gdal.org/en/stable/user/coordinate_epoch.html), which only a VRT shows."""
    found = None
    with suppress(Exception):  # GDAL's own classes; without an epoch the coordinates are what they always were
        if dataset.driver == "VRT" and Path(dataset.name).is_file():  # a copy would double the time to open a large one
            found = _EPOCH.search(read_bytes(dataset.name))
        else:
            with MemoryFile(ext=".vrt") as memory:
                rasterio.shutil.copy(dataset, memory.name, driver="VRT")
                found = _EPOCH.search(memory.read())
    return float(found[1]) if found else None


@lru_cache(maxsize=256)
def _through_geotiff(wkt: str) -> str | None:
    """What a GeoTIFF makes of a CRS, empty for nothing; None: GDAL cannot write it."""
    profile: dict[str, Any] = {"driver": "GTiff", "width": 1, "height": 1, "count": 1, "dtype": "uint8"}
    try:
        with rasterio.Env(), MemoryFile(ext=".tif") as memory:
            crs = RasterioCRS.from_wkt(wkt)
            with memory.open(**profile, crs=crs, transform=Affine(1, 0, 7, 0, -1, 9)):
                pass
            with memory.open() as dataset:
                return wkt_of(dataset)
    except Exception:  # GDAL's own classes
        return None
