"""Our own vector files as a server hands them out: GeoJSON in degrees, and tiles for a map."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyogrio
from affine import Affine
from pyproj import Transformer

from earthwords.errors import OutputError, SourceError, UsageError, brief
from earthwords.files.atomic import staging
from earthwords.geo.grids.georeference import Bounds
from earthwords.geo.vectors.limits import zoom_levels

DEGREES, MERCATOR = 4326, 3857
MOST_SECONDS = 300.0
"""That tiles of polygons may take; GDAL makes them in a process of its own, since it lets no other thread work."""
_PROGRAM = """
import sys
import pyogrio
source, target, least, most = sys.argv[1:]
meta, table = pyogrio.read_arrow(source)
pyogrio.write_arrow(
    table, target, driver="PMTiles", layer="polygons", geometry_name=meta["geometry_name"] or "wkb_geometry",
    geometry_type=meta["geometry_type"], crs=meta["crs"], MINZOOM=least, MAXZOOM=most,
)
"""


def read_frame(path: Path, *, bounds: Bounds | None = None, most: int | None = None, move: Affine | None = None) -> Any:
    """Features as a table in degrees; those of a file without a CRS stay where they are, unless moved.

    Args:
        bounds: in degrees; only what touches them.
        most: features read.
        move: of a file without a CRS, to Web Mercator.

    Raises:
        SourceError: the file is damaged.
    """
    import geopandas

    try:
        crs = pyogrio.read_info(path)["crs"]
        frame = geopandas.read_file(path, bbox=_box(crs, bounds, move), rows=most, engine="pyogrio")
    except Exception as error:  # pyogrio and GDAL have many
        raise SourceError(f"{path.name} cannot be read ({brief(error)}).") from error
    if frame.crs is None and move is not None:
        t = move
        frame = frame.set_geometry(frame.geometry.affine_transform([t.a, t.b, t.d, t.e, t.c, t.f]))
        frame = frame.set_crs(MERCATOR, allow_override=True)
    return frame if frame.crs is None else frame.to_crs(DEGREES)


def _box(crs: str | None, bounds: Bounds | None, move: Affine | None) -> Bounds | None:
    """Bounds in degrees in the coordinates of a file."""
    if bounds is None:
        return None
    to = crs or (MERCATOR if move is not None else None)
    if to is None:
        return bounds
    west, south, east, north = Transformer.from_crs(DEGREES, to, always_xy=True).transform_bounds(*bounds)
    if crs or move is None:
        return west, south, east, north
    xs, ys = zip(
        *(~move @ corner for corner in ((west, south), (east, north), (west, north), (east, south))), strict=True
    )
    return min(xs), min(ys), max(xs), max(ys)


def as_geojson(
    path: Path, *, bounds: Bounds | None = None, most: int | None = None, move: Affine | None = None
) -> bytes:
    """Features as GeoJSON; see `read_frame`."""
    text: str = read_frame(path, bounds=bounds, most=most, move=move).to_json(drop_id=True)
    return text.encode()


def write_pmtiles(source: Path, target: Path, *, gsd: float | None = None) -> None:
    """Polygons as PMTiles, in a layer `polygons`, at the zoom levels of `zoom_levels`.

    Args:
        gsd: metres of a pixel of what they were drawn from.

    Raises:
        SourceError: the source is damaged.
        UsageError: there are no polygons, or they have no CRS.
        OutputError: the tiles cannot be written, or take longer than `MOST_SECONDS`.
    """
    frame = read_frame(source)
    if frame.crs is None:
        raise UsageError(f"{source.name} has no CRS, so its polygons have no place in tiles; take GeoJSON.")
    if frame.empty:
        raise UsageError(f"{target.name} would hold nothing, and PMTiles cannot be empty; write a .gpkg.")
    levels = zoom_levels(frame.total_bounds, frame.crs, gsd)
    with staging(target, overwrite=True) as folder:
        try:
            lonlat = folder / "polygons.fgb"
            frame.to_file(lonlat, driver="FlatGeobuf", engine="pyogrio")
            argv = [str(lonlat), str(folder / target.name), *map(str, levels)]
            subprocess.run(
                [sys.executable, "-P", "-c", _PROGRAM, *argv], check=True, capture_output=True, encoding="utf-8",
                timeout=MOST_SECONDS, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
            lonlat.unlink()
        except subprocess.TimeoutExpired as error:
            raise OutputError(
                f"{target.name} takes longer than {MOST_SECONDS:g} s to write; write a .gpkg, or take a part."
            ) from error
        except subprocess.CalledProcessError as error:
            told = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
            raise OutputError(f"{target.name} cannot be written ({brief(told[-1])}).") from error
        except Exception as error:  # pyogrio and GDAL have many
            raise OutputError(f"{target.name} cannot be written ({brief(error)}).") from error


def write_chosen(
    source: Path, target: Path, *, least: Mapping[str, float], min_area: float = 0.0, simplify: float = 0.0
) -> None:
    """Features of a file that reach the least score of their class and the least area, as another file.

    Args:
        least: class to score.
        min_area: m2, of features with a column of it.
        simplify: tolerance in the units of the file's CRS.

    Raises:
        SourceError: the source is damaged.
        OutputError: the target cannot be written.
    """
    import geopandas

    try:
        frame = geopandas.read_file(source, engine="pyogrio")
    except Exception as error:
        raise SourceError(f"{source.name} cannot be read ({brief(error)}).") from error
    if "score" in frame and "class" in frame and least:
        frame = frame[frame["score"] >= frame["class"].map(least).fillna(0.0)]
    if min_area and "area_m2" in frame:
        frame = frame[frame["area_m2"].fillna(0) >= min_area]
    if simplify:
        frame = frame.set_geometry(frame.geometry.simplify(simplify))
    if target.suffix == ".geojson" and frame.crs is not None:
        frame = frame.to_crs(DEGREES)
    with staging(target, overwrite=True) as folder:
        try:
            frame.to_file(folder / target.name, engine="pyogrio")
        except Exception as error:
            raise OutputError(f"{target.name} cannot be written ({brief(error)}).") from error
