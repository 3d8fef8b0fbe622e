"""Places to mark: a table, and features with an empty class to fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from earthwords.errors import UsageError
from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.geo.vectors.write import VectorWriter, to_geodataframe
from earthwords.inference.suggest.lattice import Coverage
from earthwords.types import Grid, SourceCrs, VectorLayer, Window

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from earthwords.inference.suggest.run import SuggestOptions

SCHEMA = {
    "class": "str",
    "guess": "str",
    "runner_up": "str",
    "uncertainty": "float64",
    "rank": "int32",
    "source": "str",
}
"""Columns of the features; `class` is empty, to be filled in."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A point or a tile to mark."""

    rank: int
    """From 1, in the order of choice."""
    scene: int
    source: str
    grid: Grid
    row: int
    """Of the pixel in the middle of its cell, or of the most uncertain cell of the tile."""
    col: int
    window: Window | None
    """Of a tile."""
    guess: str
    """The most probable class of the cell, or of the tile."""
    runner_up: str | None
    uncertainty: float
    """0..1: mean of the cell, or of the tile."""
    side: int
    """Of a cell, pixels."""

    def shape(self, *, tile: bool) -> Any:
        """The middle of the pixel, or the tile, in the scene's CRS; in pixels without one."""
        if tile and self.window is not None:
            w = self.window
            cols, rows = (
                np.array([w.col, w.col_stop, w.col_stop, w.col]),
                np.array([w.row, w.row, w.row_stop, w.row_stop]),
            )
            x, y = pixel_to_crs(self.grid, cols.astype(float), rows.astype(float))
            return shapely.Polygon(np.stack([x, y], axis=1))
        x, y = pixel_to_crs(self.grid, np.array([self.col + 0.5]), np.array([self.row + 0.5]))
        return shapely.Point(float(x[0]), float(y[0]))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Suggestions:
    """What to mark next, in the order of choice.

    Example:
        >>> todo = earthwords.suggest("ortho.tif", "todo.gpkg", text=["roof", "road", "trees"])
        >>> todo.to_geodataframe()
    """

    places: tuple[Place, ...]
    titles: tuple[str, ...]
    options: SuggestOptions
    coverage: Coverage
    candidates: int
    """Cells or tiles that were compared."""
    scenes: tuple[str, ...]
    marks: int
    """Marked places in the scenes."""
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    """Scenes that could not be read."""
    output: Path | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def considered(self) -> float:
        """Share of the scenes' pixels that lie in candidates' cells, 0..1."""
        return self.coverage.considered / max(1, self.coverage.pixels)

    def layer(self) -> tuple[VectorLayer, SourceCrs | None]:
        """The features: in the CRS of the scenes, in degrees if theirs differ, in pixels without one."""
        crs, source_crs = self._crs()
        shapes = np.array([place.shape(tile=self.options.tiles is not None) for place in self.places], object)
        for i, place in enumerate(self.places):
            if crs is not None and place.grid.crs is not None and not place.grid.crs.equals(crs):
                shapes[i] = _moved(shapes[i], place.grid.crs, crs)
        columns: dict[str, NDArray[Any]] = {
            "class": np.full(len(self), None, object),
            "guess": np.array([place.guess for place in self.places], object),
            "runner_up": np.array([place.runner_up for place in self.places], object),
            "uncertainty": np.array([round(place.uncertainty, 6) for place in self.places]),
            "rank": np.array([place.rank for place in self.places], np.int32),
            "source": np.array([place.source for place in self.places], object),
        }
        return VectorLayer(geometries=shapes, columns=columns, crs=crs), source_crs

    def to_geodataframe(self) -> GeoDataFrame:
        """The features for geopandas."""
        return to_geodataframe(self.layer()[0])

    def save(self, path: str | Path, *, overwrite: bool = False) -> tuple[str, ...]:
        """Write `.gpkg`, `.geojson`, `.fgb`, `.parquet` or `.shp`; what the format could not keep is given back."""
        layer, source_crs = self.layer()
        kind = "Point" if self.options.tiles is None else "Polygon"
        with VectorWriter(
            path, crs=layer.crs, source_crs=source_crs, schema=SCHEMA, layer_name="suggestions", geometry_type=kind,
            overwrite=overwrite,
        ) as writer:  # fmt: skip
            writer.write(layer)
        return writer.notes

    def summary(self) -> str:
        """What was looked at, in one line."""
        c, many = self.coverage, "" if len(self.scenes) == 1 else f" of {len(self.scenes):,} scenes"
        parts = [f"{self.considered:.1%} of the pixels{many} were considered"]
        if c.pixels > c.observed:
            parts.append(f"{1 - c.observed / c.pixels:.1%} hold no observation")
        if c.black:
            parts.append(f"{c.black / c.pixels:.1%} are black and were passed over")
        what = "candidates" if self.options.tiles is None and not self.options.row.of_tiles else "tiles"
        marks = f"; {self.marks:,} marks were avoided" if self.marks else ""
        return (
            f"{'; '.join(parts)}; {self.candidates:,} {what}, rule {self.options.rule}: {self.options.row.says}{marks}."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        c = self.coverage
        listed = [
            {
                "rank": p.rank, "source": p.source, "row": p.row, "col": p.col, "guess": p.guess,
                "runner_up": p.runner_up, "uncertainty": round(p.uncertainty, 6),
                "tile": None if p.window is None else vars(p.window),
            }
            for p in self.places
        ]  # fmt: skip
        return {
            "output": None if self.output is None else str(self.output),
            "rule": self.options.rule,
            "seed": self.options.seed,
            "classes": list(self.titles),
            "scenes": list(self.scenes),
            "candidates": self.candidates,
            "considered_share": self.considered,
            "nodata_share": 1 - c.observed / max(1, c.pixels),
            "black_share": c.black / max(1, c.pixels),
            "marks": self.marks,
            "notes": list(self.notes),
            "failures": list(self.failures),
            "places": listed,
        }

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        rows = [
            [str(p.rank), p.guess, p.runner_up or "-", f"{p.uncertainty:.3f}", f"{p.row}, {p.col}", p.source]
            for p in self.places
        ]
        return f"{len(self)} places to mark", ("rank", "guess", "runner-up", "uncertainty", "row, col", "source"), rows

    def __repr__(self) -> str:
        return f"Suggestions({len(self)} places, rule {self.options.rule})"

    def _crs(self) -> tuple[CRS | None, SourceCrs | None]:
        grids = [place.grid for place in self.places]
        check_placed(grids, [place.source for place in self.places])
        first = grids[0]
        if first.crs is None or all(grid.crs is not None and grid.crs.equals(first.crs) for grid in grids):
            return first.crs, first.coordinate_crs
        return CRS.from_epsg(4326), None


def check_placed(grids: Sequence[Grid], names: Sequence[str]) -> None:
    """Raises `UsageError` where some scenes have a CRS and others none: one file cannot hold both."""
    placed = [grid.crs is not None for grid in grids]
    if any(placed) and not all(placed):
        yes, no = names[placed.index(True)], names[placed.index(False)]
        raise UsageError(
            f"{yes} has a CRS and {no} has none, so one file cannot hold places of both; ask for each alone."
        )


def _moved(shape: Any, before: CRS, after: CRS) -> Any:
    from pyproj import Transformer

    change = Transformer.from_crs(before, after, always_xy=True)
    return shapely.transform(shape, lambda points: np.stack(change.transform(*points.T), axis=1))
