"""Polygons over a raster: GeoJSON, GeoPackage and what else GDAL reads, in any CRS.

The raster is `--images`, or the one beside the file with its stem. It is read in tiles; a polygon is cut by the tile,
stays if the tile shows enough of its area, and the box is that of the part which is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.data.annotations.boxes._common import How, Item, has_json, renamed, set_name
from earthwords.data.annotations.example import Annotated, part, tiles
from earthwords.data.annotations.image_io import RASTERS
from earthwords.errors import SourceError, UsageError
from earthwords.geo.vectors.polygons import raster_grid, read_polygons

VECTORS = (".geojson", ".gpkg", ".fgb", ".shp")
TILE = 512


def fits(source: Path) -> bool:
    """A vector file."""
    return source.is_file() and (source.suffix.lower() in VECTORS or (has_json(source) and _is_geojson(source)))


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a tile, with boxes and names as the note."""
    for example, _ in clipped(source, how):
        yield Item(name=example.name, set=example.set, image=example.image, note=example, window=example.window)


def clipped(source: Path, how: How) -> Iterator[tuple[Annotated, NDArray[np.object_]]]:
    """Every tile, and the parts of its polygons that it shows `(n,)`, in its pixels."""
    raster = _raster(source, how)
    grid = raster_grid(raster)
    shapes, labels, field = read_polygons(str(source), grid, field=how.field)
    names = np.array([renamed(text, how) for text in labels], dtype=object)
    if len(shapes) and not names.any():
        where = "has no column with classes" if field is None else f"has no class in its column {field!r}"
        raise UsageError(f'{source} {where}; name one with --class-field, or all with --classes ({{"*": "building"}}).')
    named = np.array([bool(name) for name in names], dtype=bool)
    shapes, names = shapes[named], names[named]
    whole = shapely.area(shapes)
    tree = shapely.STRtree(shapes)
    for window in tiles(grid.shape, how.tile or TILE):
        sides = (window.col, window.row, window.col_stop, window.row_stop)
        near = np.sort(tree.query(shapely.box(*sides)))
        parts = shapely.clip_by_rect(shapes[near], *sides)
        shown = shapely.area(parts)
        kept = (shown > 0) & (shown >= how.visible * whole[near] * (1 - 1e-9))
        moved = shapely.transform(parts[kept], lambda points, at=(window.col, window.row): points - at)
        example = Annotated(
            name=source.stem,
            set=set_name(source),
            image=raster,
            size=grid.shape,
            boxes=shapely.bounds(parts[kept]) - (window.col, window.row) * 2,
            classes=tuple(names[near[kept]].tolist()),
        )
        yield part(example, window), moved


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The tile."""
    yield item.note


def _raster(source: Path, how: How) -> str:
    if how.images is not None and Path(how.images).is_file():
        return how.images
    folder = Path(how.images) if how.images is not None else source.parent
    found = [folder / f"{source.stem}{suffix}" for suffix in RASTERS]
    there = next((path for path in found if path.is_file()), None)
    if there is None:
        raise SourceError(f"The raster of {source} was not found beside it; name it with --images FILE.")
    return str(there)


def _is_geojson(source: Path) -> bool:
    with source.open("rb") as file:
        return b'"FeatureCollection"' in file.read(4096)
