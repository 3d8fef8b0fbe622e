"""Our own vector files as a server hands them out: GeoJSON in degrees, and tiles for a map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyogrio
from affine import Affine
from pyproj import Transformer

from earthwords.errors import OutputError, SourceError, brief
from earthwords.files.atomic import staging
from earthwords.geo.grids.georeference import Bounds

DEGREES, MERCATOR = 4326, 3857
ZOOMS = (8, 17)
"""Of tiles of polygons."""


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


def write_pmtiles(source: Path, target: Path) -> None:
    """Polygons as PMTiles, in a layer `polygons`.

    Raises:
        SourceError: the source is damaged.
        OutputError: the tiles cannot be written, or the polygons have no CRS.
    """
    frame = read_frame(source)
    if frame.crs is None:
        raise OutputError(f"{source.name} has no CRS, so its polygons have no place in tiles; take GeoJSON.")
    with staging(target, overwrite=True) as folder:
        try:
            frame.to_file(
                folder / target.name, driver="PMTiles", layer="polygons", engine="pyogrio", MINZOOM=ZOOMS[0],
                MAXZOOM=ZOOMS[1],
            )  # fmt: skip
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
