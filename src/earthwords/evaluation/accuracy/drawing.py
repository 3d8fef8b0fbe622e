"""A stratified random sample of a map as a file of points, for a person to say what is there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from earthwords.errors import Caution, UsageError, number_of
from earthwords.evaluation.accuracy.allocation import EXPECTED, SampleSpec, allocate
from earthwords.evaluation.accuracy.census import Census, DrawnPixels
from earthwords.files.atomic import check_no_others, exists, hidden_folder, writing
from earthwords.geo.class_raster import ClassRaster
from earthwords.geo.grids.georeference import crs_to_pixel, pixel_to_crs
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.vectors.write import VectorWriter
from earthwords.types import Grid, VectorLayer, Window
from earthwords.viz.chips import chip

SCHEMA = {
    "id": "int32",
    "class": "str",
    "stratum": "str",
    "strat_area": "float64",
    "strat_px": "int64",
    "inclusion": "float64",
    "weight": "float64",
}
"""Names of ten letters at most, which a shapefile keeps."""
CHIP = "chip"


@dataclass(frozen=True, kw_only=True)
class StratumRow:
    """A class that was drawn from."""

    name: str
    pixels: int
    area: float
    """Square metres, or pixels without a CRS."""
    share: float
    """Of the area of the map, 0..1."""
    points: int


@dataclass(frozen=True, kw_only=True)
class SampleReport:
    """A sample that was drawn."""

    map: str
    out: Path
    points: int
    strata: tuple[StratumRow, ...]
    unit: str
    """Of areas: `m2` or `px`."""
    allocation: str
    seed: int
    chips: Path | None
    """Folder of pictures."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "out": str(self.out), "chips": None if self.chips is None else str(self.chips)}

    def table(self) -> tuple[str, tuple[str, ...], list[list[str]]]:
        """Title, columns, rows."""
        title = f"{number_of(self.points, 'point')} in {self.out}: fill in the column class, then assess with --truth"
        rows = [[row.name, f"{row.pixels:,}", f"{row.share:.2%}", f"{row.points:,}"] for row in self.strata]
        return title, ("class", "pixels", "share", "points"), rows


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnPoints:
    """Points that were drawn, with what they stand for."""

    layer: VectorLayer
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    strata: tuple[StratumRow, ...]
    notes: tuple[str, ...]


def draw_points(raster: ClassRaster, census: Census, wanted: SampleSpec) -> DrawnPoints:
    """Points in random order, so that a person does not see class after class.

    Raises:
        UsageError: too few points, or an unknown class.
    """
    census = census.occurring()
    names = [raster.title(value) for value in census.values]
    shares = census.areas / census.areas.sum()
    total = wanted.total(names, shares)
    numbers = allocate(total, list(census.areas), census.pixels, rule=wanted.allocation, rare=wanted.rare)
    parts = [
        _of_class(name, each, number, area, pixels)
        for name, each, number, area, pixels in zip(
            names, census.drawn, numbers, census.areas, census.pixels, strict=True
        )
    ]
    order = np.random.Generator(np.random.Philox(key=wanted.seed)).permutation(sum(numbers))
    columns = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
    rows, cols = columns.pop("row"), columns.pop("col")
    x, y = pixel_to_crs(raster.grid, cols + 0.5, rows + 0.5)
    columns = {"id": np.arange(1, len(rows) + 1), "class": np.full(len(rows), None, object), **columns}
    strata = tuple(
        StratumRow(name=name, pixels=pixels, area=float(area), share=float(share), points=number)
        for name, pixels, area, share, number in zip(names, census.pixels, census.areas, shares, numbers, strict=True)
    )
    layer = VectorLayer(geometries=shapely.points(x, y), columns=columns, crs=raster.grid.crs)
    return DrawnPoints(layer=layer, rows=rows, cols=cols, strata=strata, notes=_notes(strata, wanted, total))


def _of_class(name: str, found: DrawnPixels, number: int, area: float, pixels: int) -> dict[str, NDArray[Any]]:
    """The columns of a class."""
    sizes = found.areas[:number]
    chance = np.ones(number) if number == pixels else np.minimum(1.0, number * sizes / area)
    return {
        "row": found.rows[:number],
        "col": found.cols[:number],
        "stratum": np.full(number, name, object),
        "strat_area": np.full(number, float(area)),
        "strat_px": np.full(number, pixels),
        "inclusion": chance,
        "weight": sizes if number == pixels else np.full(number, area / number),
    }


def _notes(strata: Sequence[StratumRow], wanted: SampleSpec, total: int) -> tuple[str, ...]:
    notes = []
    drawn = sum(row.points for row in strata)
    if wanted.standard_error is not None:
        notes.append(
            f"{drawn:,} points for a standard error of the overall accuracy of {wanted.standard_error:g}, if classes "
            f"are as accurate as expected ({', '.join(wanted.expected) or f'{EXPECTED:g} each'})."
        )
    if drawn < total:
        notes.append(f"The map has {drawn:,} pixels, so there are no {total:,} points: every pixel was drawn.")
    small = [row.name for row in strata if row.points == row.pixels and drawn == total]
    if small:
        notes.append(f"All pixels were drawn of {', '.join(small)}.")
    few = [f"{row.name} ({row.points})" for row in strata if row.points < min(20, row.pixels)]
    if few:
        notes.append(Caution(f"Few points, so wide intervals of the accuracy: {', '.join(few)}."))
    return tuple(notes)


def write_points(
    drawn: DrawnPoints, path: Path, grid: Grid, *, chips: Sequence[str | None] | None, overwrite: bool
) -> None:
    """The file; `chips` are paths of pictures, from its folder."""
    columns, schema = dict(drawn.layer.columns), dict(SCHEMA)
    if chips is not None:
        columns[CHIP], schema[CHIP] = np.array(chips, object), "str"
    layer = VectorLayer(geometries=drawn.layer.geometries, columns=columns, crs=drawn.layer.crs)
    with VectorWriter(
        path, crs=grid.crs, source_crs=grid.coordinate_crs, schema=schema, layer_name="points",
        geometry_type="Point", overwrite=overwrite,
    ) as writer:  # fmt: skip
        writer.write(layer)


@contextmanager
def chips_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder that takes the place of `folder` when the block ends well.

    Raises:
        UsageError: it is there and may not be replaced, or holds other files.
    """
    if os.path.lexists(folder):
        if not overwrite:
            raise exists(folder)
        check_no_others(folder, re.compile(r"\d+\.png"))
    with hidden_folder(folder) as hidden:
        made = hidden / "chips"
        made.mkdir()
        yield made
        with writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(made, folder)


def write_chips(drawn: DrawnPoints, grid: Grid, source: str, folder: Path, *, side: int) -> list[str | None]:
    """A picture for each point, `ID.png`; its name, or None where the image does not reach.

    Args:
        drawn: the points.
        grid: of the map.
        source: the image.
        folder: where they go.
        side: of a picture, pixels of the image.
    """
    digits = len(str(len(drawn.rows)))
    names: list[str | None] = []
    with open_scene(source, offline=True) as scene:
        for i, corners in enumerate(_corners(drawn, grid, scene, source)):
            middle = corners.mean(axis=0)
            window = _around(middle, scene.native, side)
            if window is None:
                names.append(None)
                continue
            raster = scene.read_rgb(window)
            outline = [(x - window.col, y - window.row) for x, y in corners]
            picture = chip(np.asarray(raster.data, float), raster.valid, outline)
            name = f"{i + 1:0{digits}}.png"
            with writing(folder / name):
                picture.save(folder / name)
            names.append(name)
    return names


def _corners(drawn: DrawnPoints, grid: Grid, scene: Scene, source: str) -> NDArray[np.float64]:
    """`(n, 4, 2)` x and y of the corners of each pixel of the map, in pixels of the image."""
    steps = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    cols, rows = drawn.cols[:, None] + steps[:, 0], drawn.rows[:, None] + steps[:, 1]
    if (grid.crs is None) != (scene.native.crs is None):
        raise UsageError(f"{source} and the map cannot be laid on each other: one of them has no CRS.")
    x, y = pixel_to_crs(grid, cols, rows)
    if grid.crs is not None and scene.native.crs is not None and not grid.crs.equals(scene.native.crs):
        x, y = Transformer.from_crs(grid.crs, scene.native.crs, always_xy=True).transform(x, y)
    return np.stack(crs_to_pixel(scene.native, x, y), axis=-1)


def _around(middle: NDArray[np.float64], grid: Grid, side: int) -> Window | None:
    """A window of the image around a place, shifted to stay inside; None: the place is not in it."""
    x, y = middle
    if not (np.isfinite(middle).all() and 0 <= x < grid.width and 0 <= y < grid.height):
        return None
    height, width = min(side, grid.height), min(side, grid.width)
    row = int(np.clip(round(y - height / 2), 0, grid.height - height))
    col = int(np.clip(round(x - width / 2), 0, grid.width - width))
    return Window(row=row, col=col, height=height, width=width)
