"""Marks that a person draws: a GeoPackage in the workspace, saved whole at every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from earthwords.serve.errors import problems
from earthwords.serve.schemas import MOST_LETTERS, PRINTABLE, Asked, Latitude, Longitude
from earthwords.serve.tiles import Id

if TYPE_CHECKING:
    from pathlib import Path

    from earthwords.serve.state import ServerState

MOST_MARKS = 20_000
GEOJSON = "application/geo+json"

Position = Annotated[list[float], Field(min_length=2, max_length=3)]
Place = tuple[Longitude, Latitude]
Ring = Annotated[list[Place], Field(min_length=4)]


class PointAsked(Asked):
    """A place."""

    type: Literal["Point"]
    coordinates: Place


class PolygonAsked(Asked):
    """An outline, and its holes."""

    type: Literal["Polygon"]
    coordinates: Annotated[list[Ring], Field(min_length=1)]


class MarkProperties(BaseModel):
    """What a mark tells; others than the class are not kept."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    name: Annotated[str, Field(alias="class", min_length=1, max_length=MOST_LETTERS, pattern=PRINTABLE)]


class MarkAsked(BaseModel):
    """A mark."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["Feature"]
    geometry: Annotated[PointAsked | PolygonAsked, Field(discriminator="type")]
    properties: MarkProperties


class MarksAsked(BaseModel):
    """All marks of a source."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["FeatureCollection"]
    features: Annotated[list[MarkAsked], Field(max_length=MOST_MARKS)]


class MarksSaved(BaseModel):
    """How many there are now, and where."""

    saved: int
    file: str


def router(state: ServerState) -> APIRouter:
    """`/api/sources/{id}/marks`."""
    routes = APIRouter(prefix="/api/sources", tags=["marks"])

    @routes.get(
        "/{id}/marks", response_class=Response,
        responses={200: {"description": "The marks.", "content": {GEOJSON: {}}}, **problems(404, 422)},
    )  # fmt: skip
    async def get_marks(id: Id) -> Response:
        """The marks of a source (GeoJSON, degrees)."""
        raster = await state.run(state.library.get, id)
        return Response(await state.run(read_marks, file_of(state, raster.id)), media_type=GEOJSON)

    @routes.put("/{id}/marks", responses=problems(404, 408, 413, 415, 422, 507))
    async def put_marks(id: Id, marks: MarksAsked) -> MarksSaved:
        """Save all marks of a source, in the place of those before."""
        raster = await state.run(state.library.get, id)
        path = file_of(state, raster.id)
        await state.run(write_marks, path, marks)
        return MarksSaved(saved=len(marks.features), file=str(path))

    return routes


def file_of(state: ServerState, id: str) -> Path:
    """Where the marks of a source lie; `teach` takes the file."""
    return state.settings.workspace / "marks" / f"{id}.gpkg"


def write_marks(path: Path, marks: MarksAsked) -> None:
    """Write them; the file before stays whole until they are there.

    Raises:
        OutputError: the disk is full.
    """
    import numpy as np
    import shapely
    from pyproj import CRS

    from earthwords.geo.vectors.write import VectorWriter
    from earthwords.types import VectorLayer

    shapes: list[Any] = []
    for mark in marks.features:
        kind, at = mark.geometry.type, mark.geometry.coordinates
        shapes.append(shapely.Point(at) if kind == "Point" else shapely.Polygon(at[0], at[1:]))
    degrees = CRS.from_epsg(4326)
    layer = VectorLayer(
        geometries=np.array(shapes, object),
        columns={"class": np.array([mark.properties.name for mark in marks.features], object)},
        crs=degrees,
    )
    with VectorWriter(
        path, crs=degrees, schema={"class": "str"}, layer_name="marks", geometry_type="Unknown", overwrite=True
    ) as writer:
        writer.write(layer)


def read_marks(path: Path) -> bytes:
    """As GeoJSON; none where nothing was saved."""
    if not path.exists():
        return b'{"type": "FeatureCollection", "features": []}'
    from earthwords.geo.vectors.served import as_geojson

    return as_geojson(path)
