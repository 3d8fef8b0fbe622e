"""Routes of views, marks that teach, sentences, things, places to mark and similar places."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from earthwords.errors import UsageError
from earthwords.serve.errors import Problem, not_found, problems
from earthwords.serve.schemas import Latitude, Longitude, PlaceBody
from earthwords.serve.tiles import Id
from earthwords.serve.views.gallery import Gallery, HeldView, held, view_id
from earthwords.serve.views.parts import SeenView, ViewPart
from earthwords.serve.views.process import GoneError, ViewProcess
from earthwords.serve.views.schemas import (
    CollectionBody,
    CountAsked,
    CountBody,
    PartAsked,
    PlaceAsked,
    ReferAsked,
    SaveAsked,
    SavedBody,
    SimilarAsked,
    SuggestAsked,
    TeachAsked,
    TeachBody,
    ViewAsked,
    ViewBody,
    ViewExportAsked,
)

if TYPE_CHECKING:
    from earthwords.serve.state import ServerState

SIMILAR_SIDE = 128
"""Pixels around a place that others are compared with."""
MEDIA = {
    "png": "image/png",
    "geojson": "application/geo+json",
    "gpkg": "application/geopackage+sqlite3",
    "geotiff": "image/tiff",
}


class Views:
    """The process, and the views that it has made."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self.process = ViewProcess(state.settings)
        self.gallery = Gallery()

    def part(self, asked: PartAsked) -> ViewPart:
        """What is looked at.

        Raises:
            Problem, UsageError: no such source, or the bounds lie beside it.
        """
        raster = self.state.library.get(asked.source)
        window = self.state.library.window(raster, asked.bounds)
        return ViewPart(raster=raster, window=window, max_side=asked.max_side)

    def around(self, place: PlaceAsked) -> ViewPart:
        """A few pixels around a place.

        Raises:
            Problem, UsageError: no such source, or the place lies beside it.
        """
        from earthwords.geo.sources.served import pixel_of_lonlat
        from earthwords.types import Window

        raster = self.state.library.get(place.source)
        pixel = pixel_of_lonlat(raster.facts.placed, place.lng, place.lat)
        if pixel is None:
            raise UsageError("That place lies beside the source.")
        grid = raster.facts.grid
        height, width = min(SIMILAR_SIDE, grid.height), min(SIMILAR_SIDE, grid.width)
        row = min(max(0, pixel[0] - height // 2), grid.height - height)
        col = min(max(0, pixel[1] - width // 2), grid.width - width)
        return ViewPart(
            raster=raster, window=Window(row=row, col=col, height=height, width=width), max_side=SIMILAR_SIDE
        )

    async def ask(self, request: Request, what: str, **arguments: Any) -> Any:
        """An answer of the process; the work ends when the client goes.

        Raises:
            Problem: as `ViewProcess.ask`.
        """
        try:
            return await self.process.ask(what, arguments, gone=request.is_disconnected)
        except GoneError as error:
            raise Problem(408, "The client has gone.") from error

    async def look(self, request: Request, asked: ViewAsked) -> HeldView:
        """A map of a part; the same question has the same answer.

        Raises:
            Problem: as `ask`.
        """
        part = await self.state.run(self.part, asked)
        id = view_id(part, asked.model_dump(exclude={"source", "bounds", "max_side"}))
        found = self.gallery.find(id)
        if found is not None:
            return found
        if not asked.words and asked.taught is None:
            raise UsageError("Say what to look for: one word or more.")
        seen: SeenView = await self.ask(
            request, "look", part=part, words=asked.words, fast=asked.fast, taught=asked.taught,
            against=asked.against if isinstance(asked.against, str) else tuple(asked.against),
        )  # fmt: skip
        made = await self.state.run(held, id, part, seen, fast=asked.fast, taught=asked.taught)
        self.gallery.hold(made)
        return made


def router(state: ServerState) -> APIRouter:
    """`/api/views` and its neighbours."""
    views = Views(state)
    state.views = views
    state.starting.append(views.process.start)
    state.stopping.append(views.process.stop)
    state.waiting.append(views.process.missing)
    routes = APIRouter(prefix="/api", tags=["views"])
    _maps(routes, state, views)
    _teaching(routes, state, views)
    _finding(routes, state, views)
    return routes


def _maps(routes: APIRouter, state: ServerState, views: Views) -> None:
    @routes.post("/views", responses=problems(404, 408, 413, 415, 422))
    async def make_view(request: Request, asked: ViewAsked) -> ViewBody:
        """A map of a part of a source, at once."""
        return ViewBody(**(await views.look(request, asked)).body)

    @routes.get("/views/{id}", responses=problems(404, 422))
    async def get_view(id: Id) -> ViewBody:
        """A map that was made before."""
        return ViewBody(**views.gallery.get(id).body)

    @routes.get(
        "/views/{id}/scores.png",
        response_class=Response,
        responses={
            200: {"description": "Class + 1, score and the runner-up's score.", "content": {"image/png": {}}},
            304: {"description": "It has not changed."},
            **problems(404, 422),
        },
    )
    async def get_scores(request: Request, id: Id) -> Response:
        """The scores of a view in EPSG:3857, exact; they fill its corners."""
        tag = f'"{id}"'
        headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
        picture = views.gallery.get(id).picture
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(picture, media_type="image/png", headers=headers)

    @routes.get("/views/{id}/point", responses=problems(404, 422))
    async def get_point(id: Id, lng: Annotated[Longitude, Query()], lat: Annotated[Latitude, Query()]) -> PlaceBody:
        """What is at a place."""
        return PlaceBody(**views.gallery.get(id).at(lng, lat))

    @routes.post(
        "/views/{id}/export",
        response_class=Response,
        responses={
            200: {"description": "The file.", "content": {kind: {} for kind in MEDIA.values()}},
            **problems(404, 413, 415, 422),
        },
    )
    async def export_view(request: Request, id: Id, asked: ViewExportAsked) -> Response:
        """The map as a file, at other thresholds."""
        view = views.gallery.get(id)
        unknown = sorted(set(asked.thresholds) - set(view.seen.thresholds))
        if unknown:
            raise UsageError(f"This view has no class {unknown[0]!r}; it has: {', '.join(view.seen.thresholds)}.")

        name = view.file_name(asked.format)
        data = await views.ask(
            request, "export", result=view.seen.result, thresholds={**view.seen.thresholds, **asked.thresholds},
            name=name, min_area=asked.min_area, simplify=asked.simplify,
        )  # fmt: skip
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=MEDIA[asked.format], headers=headers)


def _teaching(routes: APIRouter, state: ServerState, views: Views) -> None:
    folder = state.settings.workspace / "taught"

    @routes.post("/teach", responses=problems(404, 408, 413, 415, 422))
    async def teach(request: Request, asked: TeachAsked) -> TeachBody:
        """Learn from marks, and show the part again."""
        part = await state.run(views.part, asked)
        name = secrets.token_hex(8)
        report = await views.ask(
            request, "teach", part=part, words=asked.words, marks=asked.marks.model_dump(), onto=asked.onto, name=name
        )
        again = ViewAsked(source=asked.source, bounds=asked.bounds, max_side=asked.max_side, taught=name)
        view = await views.look(request, again)
        return TeachBody.model_validate({"taught": name, "view": view.body, "report": report})

    @routes.delete("/taught/{id}", status_code=204, response_class=Response, responses=problems(404, 422))
    async def forget(request: Request, id: Id) -> Response:
        """Drop what marks have taught."""
        if not (folder / id).is_dir():
            raise not_found("teaching", id)
        views.gallery.forget_taught(id)
        await state.run(shutil.rmtree, folder / id)
        await views.ask(request, "forget", name=id)
        return Response(status_code=204)

    @routes.post("/taught/{id}/save", responses=problems(404, 409, 413, 415, 422))
    async def save(id: Id, asked: SaveAsked) -> SavedBody:
        """Keep what marks have taught as a preset of a name."""
        if not (folder / id).is_dir():
            raise not_found("teaching", id)
        place = state.settings.workspace / "presets" / asked.name
        if place.exists():
            raise Problem(409, f"There is a preset {asked.name} already; choose another name.")

        def copy() -> None:
            place.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
            shutil.copytree(folder / id, part, dirs_exist_ok=True)
            part.chmod(0o755)
            part.rename(place)

        await state.run(copy)
        return SavedBody(name=asked.name, folder=str(place))


def _finding(routes: APIRouter, state: ServerState, views: Views) -> None:
    @routes.post("/refer", responses=problems(404, 408, 413, 415, 422))
    async def refer(request: Request, asked: ReferAsked) -> CollectionBody:
        """Where a sentence points to, or all that it fits."""
        part = await state.run(views.part, asked)
        return CollectionBody(**await views.ask(request, "refer", part=part, sentence=asked.sentence, every=asked.all))

    @routes.post("/count", responses=problems(404, 408, 413, 415, 422))
    async def count(request: Request, asked: CountAsked) -> CountBody:
        """The things of a part."""
        part = await state.run(views.part, asked)
        return CountBody(**await views.ask(request, "count", part=part, words=asked.words))

    @routes.post("/suggest", responses=problems(404, 408, 413, 415, 422))
    async def suggest(request: Request, asked: SuggestAsked) -> CollectionBody:
        """What to mark next."""
        part = await state.run(views.part, asked)
        marks = None if asked.marks is None else asked.marks.model_dump()
        return CollectionBody(
            **await views.ask(
                request, "suggest", part=part, words=asked.words, taught=asked.taught, marks=marks, n=asked.n
            )
        )

    @routes.post("/similar", responses=problems(404, 408, 413, 415, 422))
    async def similar(request: Request, asked: SimilarAsked) -> CollectionBody:
        """Tiles of an archive that are like words, or like a place."""
        folder = state.settings.workspace / "indexes" / asked.index
        if not (folder / "index.json").is_file():
            raise not_found("index", asked.index)
        if asked.words is None and asked.point is None:
            raise UsageError("Say what to look for: words, a place, or both.")
        part = None if asked.point is None else await state.run(views.around, asked.point)
        found = await views.ask(request, "similar", folder=folder, words=asked.words, part=part, limit=asked.limit)
        ids = {str(raster.real): raster.id for raster in await state.run(state.library.all)}
        for feature in found["features"]:
            name = feature["properties"]["name"]
            feature["properties"]["source"] = ids.get(str(Path(name).resolve()))
            feature["properties"]["name"] = Path(name).name
        return CollectionBody(**found)
