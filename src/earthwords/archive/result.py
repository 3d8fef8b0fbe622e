"""What a search has found: a table, places on the map, a sheet of pictures."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from earthwords.archive.storage import FILES, opening
from earthwords.archive.tile_table import SCHEMA
from earthwords.errors import EarthwordsError
from earthwords.files.atomic import writing
from earthwords.files.output_sets import staging_all
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import csv_cell, write_json
from earthwords.geo.destinations import plan_results
from earthwords.geo.scene import open_scene
from earthwords.geo.sources.inputs import Inputs
from earthwords.geo.sources.network import Network, is_remote
from earthwords.geo.vectors.write import VectorWriter, to_geodataframe
from earthwords.types import VectorLayer, Window
from earthwords.viz.contact_sheet import Thumbnail, contact_sheet
from earthwords.viz.panels import to_bytes

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

AREAS = ("within", "like_geometry", "unlike_geometry")
"""Files of polygons that a search may read."""
THUMBNAIL = 200
"""Pixels a side."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SearchResult:
    """Tiles of an index, best first. In a notebook it shows itself as a contact sheet.

    Example:
        >>> found = earthwords.search("archive.index", "harbour with many ships", top=5)
        >>> found.save("ships.gpkg")
    """

    rows: NDArray[np.int64]
    """`(n,)` in the index."""
    scores: NDArray[np.float64]
    """`(n,)` cosines with what was asked for, descending."""
    layer: VectorLayer
    """`(n,)`: footprints in longitude and latitude (None without a CRS), and the columns of the index."""
    query: Mapping[str, Any]
    """What was asked for."""
    index: Path
    settings: Mapping[str, str]
    """How the sources were read."""
    notes: tuple[str, ...] = ()
    """What is known of the results' worth."""
    network: Network = Network.NONE
    """What may be reached for their pictures: the index names them, not the user."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sources(self) -> list[str]:
        """`n` paths or addresses."""
        return list(self.layer.columns["source"])

    def places(self) -> VectorLayer:
        """The footprints with rank (from 1), score and the columns of the index."""
        columns: dict[str, NDArray[Any]] = {
            "rank": np.arange(1, len(self) + 1, dtype=np.int32),
            "score": np.round(self.scores, 6),
        }
        return VectorLayer(
            geometries=self.layer.geometries, columns={**columns, **self.layer.columns}, crs=self.layer.crs
        )

    def to_geodataframe(self) -> GeoDataFrame:
        """`places` for geopandas."""
        return to_geodataframe(self.places())

    def save(self, path: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Write what the suffix says; a folder or none gets everything.

        Args:
            path: `.gpkg .geojson .fgb .parquet .shp .pmtiles` footprints; `.csv` table; `.png` contact sheet; a folder
                or no suffix: results.gpkg, results.csv, sheet.png and report.json.
            overwrite: replace existing files.

        Returns:
            Kind to path.

        Raises:
            UsageError, OutputError: an unknown suffix, or a file that exists or cannot be written.
        """
        inputs = read_by_search(
            self.index,
            sources=self.sources,
            images=(*_listed(self.query.get("like")), *_listed(self.query.get("unlike"))),
            others={f"--{name.replace('_', '-')}": self.query.get(name) for name in AREAS},
        )
        paths = plan_results(Path(path), overwrite=overwrite, inputs=inputs)
        writers: dict[str, Callable[[Path], None]] = {
            "places": self._write_places,
            "table": self._write_table,
            "sheet": lambda place: save_png(self.plot(), place, kind="sheet"),
            "report": lambda place: write_json(place, self.as_json(), indent=2),
        }
        settings = {"index": str(self.index), **{name: str(value) for name, value in self.query.items()}}
        with staging_all(paths, settings=settings, overwrite=overwrite) as places:
            for kind, place in places.items():
                with writing(place):
                    writers[kind](place)
        return paths

    def plot(self, *, side: int = THUMBNAIL) -> Image.Image:
        """A contact sheet as a PIL image: rank, score and name under every picture.

        Args:
            side: longest side of a picture, pixels.
        """
        titles = [f"{i + 1}   {score:.3f}" for i, score in enumerate(self.scores)]
        prints = [
            Thumbnail(image=image, title=title, name=_short(source), problem=problem)
            for title, source, (image, problem) in zip(titles, self.sources, self._pictures(side), strict=True)
        ]
        return contact_sheet(prints, side=side, heading=self.title)

    @property
    def title(self) -> str:
        """What was asked for, in words."""
        words = self.query.get("words")
        parts = ([f'"{words}"'] if words else []) + [
            f"{kind} {_images(self.query, kind)}" for kind in ("like", "unlike") if _images(self.query, kind)
        ]
        limits = [f"{name} {self.query[name]}" for name in ("after", "before") if name in self.query]
        area = ["in the area asked for"] if {"bounds", "within"} & self.query.keys() else []
        of = f"{len(self)} of {self.query['allowed']:,} tiles"
        return ", ".join([" and ".join(parts), *area, *limits, of])

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        columns = self.places().columns
        names = [*columns, "bounds"]
        boxes = shapely.bounds(self.layer.geometries)
        cells = [[_plain(v) for v in values] for values in columns.values()]
        cells.append([None if np.isnan(box).any() else [round(v, 9) for v in box.tolist()] for box in boxes])
        results = [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
        return {"index": str(self.index), "query": dict(self.query), "notes": list(self.notes), "results": results}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        middles = shapely.centroid(self.layer.geometries)
        rows = []
        for i, (score, source) in enumerate(zip(self.scores, self.sources, strict=True)):
            row, col, height, width = (int(self.layer.columns[n][i]) for n in ("row", "col", "height", "width"))
            place = "-" if middles[i] is None else f"{middles[i].x:.5f} {middles[i].y:.5f}"
            pixels = f"{row}, {col}, {height} x {width}"
            rows.append([str(i + 1), f"{score:.3f}", source, pixels, place, self.layer.columns["date"][i] or "-"])
        return self.title, ("rank", "score", "source", "row, col, size", "longitude latitude", "day"), rows

    def __repr__(self) -> str:
        return f"SearchResult({self.title})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.plot().save(buffer, format="PNG")
        return buffer.getvalue()

    def _pictures(self, side: int) -> list[tuple[NDArray[np.uint8] | None, str]]:
        """`(row, col, 3)` of every result, or why there is none."""
        columns, how = self.layer.columns, opening(self.settings)
        found: list[tuple[NDArray[np.uint8] | None, str]] = []
        for i, source in enumerate(self.sources):
            window = Window(**{name: int(columns[name][i]) for name in ("row", "col", "height", "width")})
            try:
                with open_scene(source, **how, **self.network.as_options()) as scene:
                    raster = scene.shrunk(window, most=side)
                found.append((to_bytes(np.where(raster.valid, raster.data, 0.94)), ""))
            except EarthwordsError:
                found.append((None, self._problem(source)))
        return found

    def _problem(self, source: str) -> str:
        """Why there is no picture."""
        if is_remote(source):
            return "cannot be read" if self.network is Network.PARTS else "on a server (--allow-remote-parts)"
        return "cannot be read" if os.path.exists(source) else "missing"

    def _write_places(self, path: Path) -> None:
        kinds = {shape.geom_type for shape in self.layer.geometries if shape is not None}
        schema = {"rank": "int32", "score": "float64", **SCHEMA}
        suffix = path.suffix.lower()
        kind = "Polygon" if kinds <= {"Polygon"} else "MultiPolygon" if suffix == ".shp" else "Unknown"
        places = self.places()
        if suffix in (".fgb", ".pmtiles"):  # has no features without a place
            known = np.array([shape is not None for shape in places.geometries], bool)
            columns = {name: values[known] for name, values in places.columns.items()}
            places = VectorLayer(geometries=places.geometries[known], columns=columns, crs=places.crs)
        with VectorWriter(path, crs=places.crs, schema=schema, layer_name="results", geometry_type=kind) as writer:
            writer.write(places)

    def _write_table(self, path: Path) -> None:
        results = self.as_json()["results"]
        with path.open("w", newline="", encoding="utf-8") as file:
            names = ["rank", "score", "source", "west", "south", "east", "north", *list(SCHEMA)[1:]]
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            for row in results:
                box = row.pop("bounds") or [None] * 4
                row |= dict(zip(("west", "south", "east", "north"), box, strict=True))
                writer.writerow({name: csv_cell(value) for name, value in row.items()})


def read_by_search(
    index: Path, *, sources: Iterable[str], images: Sequence[str | Path], others: Mapping[str, str | Path | None]
) -> Inputs:
    """What a search reads and must not replace.

    Args:
        sources: of the index.
        images: examples.
        others: other files, by the option that names them.
    """
    files = {f"{name} of the index": index / name for name in FILES}
    return Inputs([str(image) for image in images], listed=sorted(set(sources)), others={**files, **others})


def _listed(images: str | Sequence[str] | None) -> list[str]:
    return [] if images is None else [images] if isinstance(images, str) else list(images)


def _images(query: Mapping[str, Any], kind: str) -> str:
    """Examples in words; empty if there are none."""
    images, polygons = _listed(query.get(kind)), query.get(f"{kind}_geometry")
    named = ", ".join(_short(image) for image in images) if len(images) < 3 else f"{len(images)} images"
    under = "" if polygons is None else f"what is under {_short(polygons)}"
    return " of ".join(part for part in (under, named) if part)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _short(source: str) -> str:
    """The last two parts of a path."""
    return "/".join(Path(source).parts[-2:])
