"""What a finished or running job has made: its figures, score tiles, places, polygons and files."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import FileResponse, Response

from earthwords.errors import EarthwordsError
from earthwords.serve.errors import Problem, not_found, problems, without_folders
from earthwords.serve.result_store import ResultAbout, made_folder, read_result, result_folder
from earthwords.serve.schemas import Latitude, Longitude, PlaceBody, ResultBody, ScoreHistogram
from earthwords.serve.score_tiles import areas_of, sampled_tile, score_tile, scores_of
from earthwords.serve.tiles import Id, Number, Zoom, answer_tile
from earthwords.types import SCORE_STEPS

if TYPE_CHECKING:
    from affine import Affine

    from earthwords.geo.grids.georeference import Bounds as BoundsOfGrid
    from earthwords.geo.sources.served import RasterFacts
    from earthwords.serve.state import ServerState

RASTERS = ("labels.tif", "change.tif", "probabilities.tif")
"""One of them tells where a result lies."""
VECTORS = ("polygons.gpkg", "instances.gpkg", "changes.gpkg")
"""One of them holds what polygons are asked of."""
MOST_FEATURES = 2_000
GEOJSON = "application/geo+json"
_BINARY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}}}
}
_NUMBERS = r"^-?\d+(\.\d+)?(,-?\d+(\.\d+)?){3}$"


@dataclass(frozen=True, kw_only=True)
class ServedResult:
    """A result as it is now."""

    about: ResultAbout
    folder: Path
    made: Path
    report: dict[str, Any] | None
    """None: the job has not ended well, or not yet."""

    @property
    def complete(self) -> bool:
        """Whether all of its files are there."""
        return self.report is not None

    @property
    def has_scores(self) -> bool:
        """Whether thresholds can be chosen anew."""
        return self.complete and all((self.folder / name).is_file() for name in ("labels.tif", "probabilities.tif"))

    @property
    def vectors(self) -> Path | None:
        """Polygons, or things that were counted."""
        return next((path for name in VECTORS if (path := self.folder / name).is_file()), None)


def router(state: ServerState) -> APIRouter:
    """`/api/results/{id}` and what lies below it, but for exports."""
    routes = APIRouter(prefix="/api/results", tags=["results"])

    @routes.get("/{id}", responses=problems(404, 422))
    async def get_result(id: Id) -> ResultBody:
        """What was asked for, what was found, and which files there are."""
        return ResultBody(**await state.run(lambda: body_of(state, open_result(state, id))))

    @routes.get(
        "/{id}/scores/{z}/{x}/{y}.png", response_class=Response,
        responses={
            200: {"description": "The tile: top class + 1, its score and the runner-up's, 0..250.",
                  "content": {"image/png": {}}},
            204: {"description": "There is nothing yet, or nothing at all."},
            304: {"description": "The tile has not changed."},
            **problems(404, 422, 507),
        },
    )  # fmt: skip
    async def get_score_tile(request: Request, id: Id, z: Zoom, x: Number, y: Number) -> Response:
        """A tile of the two best classes; while the job runs, of what is done."""
        result = await state.run(open_result, state, id)
        if result.has_scores:
            scores = await state.run_long(scores_of, result.folder, result.made)
            key = ("scores", id, scores.raster.name, z, x, y)
            return await answer_tile(
                state, request, key, "image/png",
                lambda: score_tile(scores.raster, placed_facts(state, result, scores.raster), z, x, y),
            )  # fmt: skip
        key = ("scores", id, "underway", z, x, y)
        return await answer_tile(
            state, request, key, "image/png", lambda: underway_tile(state, result, z, x, y), keep=False
        )

    @routes.get("/{id}/point", responses=problems(404, 422, 507))
    async def get_point(id: Id, lng: Annotated[Longitude, Query()], lat: Annotated[Latitude, Query()]) -> PlaceBody:
        """The two best classes at a place."""
        return PlaceBody(**await state.run(lambda: point_of(state, open_result(state, id), lng, lat)))

    @routes.get("/{id}/histogram", responses=problems(404, 409, 422, 507))
    async def get_histogram(id: Id) -> ScoreHistogram:
        """Area of every class by score, of the whole scene."""
        result = await state.run(open_result, state, id)
        check_scores(result)
        scores = await state.run_long(scores_of, result.folder, result.made)
        return ScoreHistogram(**await state.run(areas_of, scores))

    @routes.get(
        "/{id}/polygons.geojson", response_class=Response,
        responses={200: {"description": "Features in degrees.", "content": {GEOJSON: {}}}, **problems(404, 409, 422)},
    )  # fmt: skip
    async def get_polygons(
        id: Id, bounds: Annotated[str | None, Query(pattern=_NUMBERS, max_length=200)] = None
    ) -> Response:
        """Polygons, counted things or changes that touch the bounds (west,south,east,north); 2,000 at most."""
        return Response(await state.run(lambda: polygons_of(state, open_result(state, id), bounds)), media_type=GEOJSON)

    @routes.get(
        "/{id}/polygons.pmtiles", response_class=FileResponse,
        responses={**_BINARY, 206: {"description": "A part of it."}, 416: {"description": "There is no such part."},
                   **problems(404, 409, 422, 507)},
    )  # fmt: skip
    async def get_tiled_polygons(id: Id) -> FileResponse:
        """All polygons as PMTiles, layer `polygons`; `Range` gives parts."""
        result = await state.run(open_result, state, id)
        return FileResponse(await state.run_long(pmtiles_of, result), media_type="application/octet-stream")

    @routes.get(
        "/{id}/files/{name}", response_class=FileResponse, responses={**_BINARY, **problems(404, 422)}
    )  # fmt: skip
    async def get_file(id: Id, name: Annotated[str, InPath(max_length=200)]) -> FileResponse:
        """A file of the result."""
        result = await state.run(open_result, state, id)
        if name not in {file["name"] for file in files_of(result)}:
            raise not_found("file", name)
        return FileResponse(
            result.folder / name, filename=name, media_type="application/octet-stream",
            content_disposition_type="attachment",
        )  # fmt: skip

    return routes


def open_result(state: ServerState, id: str) -> ServedResult:
    """A result as it is now.

    Raises:
        Problem: there is none.
    """
    workspace = state.settings.workspace
    about, folder = read_result(workspace, id), result_folder(workspace, id)
    report = None
    with suppress(OSError, ValueError):
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return ServedResult(about=about, folder=folder, made=made_folder(workspace, id), report=report)


def body_of(state: ServerState, result: ServedResult) -> dict[str, Any]:
    """What the API tells of a result."""
    facts = facts_of_result(state, result)
    classes, thresholds = classes_and_thresholds(result)
    gsd = None if facts is None or not facts.georeferenced else facts.grid.gsd_m
    return {
        "id": result.about.id, "job": result.about.job, "kind": result.about.kind,
        "source": result.about.sources[0] if result.about.sources else None, "sources": list(result.about.sources),
        "bounds": None if facts is None else facts.bounds, "classes": classes, "thresholds": thresholds,
        "notes": _notes(state, result), "report": result.report,
        "files": files_of(result), "complete": result.complete, "gsd_m": gsd,
    }  # fmt: skip


def _notes(state: ServerState, result: ServedResult) -> list[dict[str, str]]:
    """Of the report; which of them are cautions the job has kept."""
    kinds: dict[str, str] = {}
    with suppress(Problem):
        job = None if state.jobs is None else state.jobs.queue.get(result.about.job)
        kinds = {} if job is None else {told["text"]: told["kind"] for told in job.notes}
    folders = state.settings.folder, state.settings.workspace
    texts = [without_folders(text, *folders) for text in (result.report or {}).get("notes", [])]
    return [{"kind": kinds.get(text, "note"), "text": text} for text in texts]


def files_of(result: ServedResult) -> list[dict[str, Any]]:
    """Of the folder, but what is hidden."""
    if not result.complete:
        return []
    found = sorted(p for p in result.folder.iterdir() if p.is_file() and not p.is_symlink() and p.name[0] != ".")
    kinds = {Path(path).name: kind for kind, path in (result.report or {}).get("outputs", {}).items()}
    return [{"kind": kinds.get(p.name, p.suffix[1:]), "name": p.name, "size": p.stat().st_size} for p in found]


def classes_and_thresholds(result: ServedResult) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """As far as the files tell, or what was asked for."""
    from earthwords.inference.segment.stored import open_stored
    from earthwords.inference.segment.underway import open_underway
    from earthwords.serve.words import classes_of
    from earthwords.text.vocabulary import parse_classes

    if result.has_scores:
        with open_stored(result.folder) as map:
            vocabulary, levels = map.vocabulary, map.thresholds.tolist()
    elif (underway := None if result.complete else open_underway(result.folder)) is not None:
        vocabulary, levels = underway.vocabulary, underway.thresholds.tolist()
    else:
        try:
            vocabulary, levels = parse_classes(result.about.words), []
        except EarthwordsError:
            return [], {}
    thresholds = {title: round(level, 6) for title, level in zip(vocabulary.titles, levels, strict=False)}
    return [c.model_dump() for c in classes_of(vocabulary)], thresholds


def facts_of_result(state: ServerState, result: ServedResult) -> RasterFacts | None:
    """Where a result lies on the map; None where nobody knows yet."""
    raster = next((path for name in RASTERS if (path := result.folder / name).is_file()), None)
    if raster is not None and result.complete:
        return placed_facts(state, result, raster)
    with suppress(Problem):
        return state.library.get(result.about.sources[0]).facts if result.about.sources else None
    return None


def placed_facts(state: ServerState, result: ServedResult, raster: Path) -> RasterFacts:
    """Of a raster of a result; one without a place lies on its source."""
    from earthwords.geo.sources.served import facts_of, placed_on

    facts = facts_of(raster)
    if facts.georeferenced or not result.about.sources:
        return facts
    try:
        source = state.library.get(result.about.sources[0])
    except Problem:
        return facts
    return placed_on(facts, source.facts)


def underway_tile(state: ServerState, result: ServedResult, z: int, x: int, y: int) -> bytes | None:
    """Of blocks that are done."""
    from earthwords.inference.segment.underway import open_underway

    map = None if result.complete else open_underway(result.folder)
    if map is None or not result.about.sources:
        return None
    source = state.library.get(result.about.sources[0]).facts
    facts = replace(source, grid=source.grid.window(map.region), placed=source.placed.window(map.region))
    return sampled_tile(facts, z, x, y, map.sample)


def check_scores(result: ServedResult) -> None:
    """Refuse what needs probabilities where there are none.

    Raises:
        Problem: the job runs still (409), or makes none (404).
    """
    if result.has_scores:
        return
    if not result.complete:
        raise Problem(409, "The job has not ended, so there are no figures of the whole scene yet.")
    raise Problem(404, f"A result of {result.about.kind} has no probabilities.")


def point_of(state: ServerState, result: ServedResult, lng: float, lat: float) -> dict[str, Any]:
    """The two best classes at a place."""
    import numpy as np

    from earthwords.geo.sources.served import pixel_of_lonlat
    from earthwords.inference.segment.stored import open_stored
    from earthwords.inference.segment.underway import open_underway

    nothing = {"class": None, "score": 0.0, "second": None, "second_score": 0.0, "lng": lng, "lat": lat}
    if result.has_scores:
        facts = placed_facts(state, result, result.folder / "labels.tif")
        at = pixel_of_lonlat(facts.placed, lng, lat)
        if at is None:
            return nothing
        with open_stored(result.folder) as map:
            rows, titles = map.pixel(*at), map.vocabulary.titles
        top, second = int(rows.top[0, 0]), int(rows.second[0, 0])
        if top < 0:
            return nothing
        found = {"class": titles[top], "score": round(float(rows.score[0, 0]), 4)}
        if second >= 0:
            found |= {"second": titles[second], "second_score": round(float(rows.second_score[0, 0]), 4)}
        return {**nothing, **found}
    map_now = None if result.complete else open_underway(result.folder)
    if map_now is None:
        check_scores(result)
        return nothing
    source = state.library.get(result.about.sources[0]).facts
    at = pixel_of_lonlat(source.placed.window(map_now.region), lng, lat)
    if at is None:
        return nothing
    planes = map_now.sample(np.array([[at[0]]]), np.array([[at[1]]]))[:, 0, 0].tolist()
    if not planes[0]:
        return nothing
    score = {"score": planes[1] / SCORE_STEPS, "second_score": planes[2] / SCORE_STEPS}
    return {**nothing, "class": map_now.vocabulary.titles[planes[0] - 1], **score}


def polygons_of(state: ServerState, result: ServedResult, bounds: str | None) -> bytes:
    """GeoJSON of what touches the bounds."""
    from earthwords.geo.vectors.served import as_geojson

    path = vectors_of(result)
    box: BoundsOfGrid | None = None
    if bounds is not None:
        west, south, east, north = map(float, bounds.split(","))
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise Problem(422, f"{bounds} is not west,south,east,north in degrees.")
        box = (west, south, east, north)
    return as_geojson(path, bounds=box, most=MOST_FEATURES, move=moved(state, result))


def moved(state: ServerState, result: ServedResult) -> Affine | None:
    """From coordinates of vectors without a CRS to Web Mercator; None: they have a CRS."""
    from earthwords.geo.sources.served import to_placed

    if not result.about.sources:
        return None
    source = state.library.get(result.about.sources[0]).facts
    return None if source.georeferenced else to_placed(source)


def vectors_of(result: ServedResult) -> Path:
    """The file of polygons.

    Raises:
        Problem: there is none (yet).
    """
    if result.vectors is not None and result.complete:
        return result.vectors
    if not result.complete:
        raise Problem(409, "The job has not ended, so there are no polygons yet.")
    raise Problem(404, f"A result of {result.about.kind} has no polygons.")


def pmtiles_of(result: ServedResult) -> Path:
    """All polygons as tiles; made at the first question."""
    from earthwords.geo.vectors.served import write_pmtiles

    source = vectors_of(result)
    target = result.made / f"polygons-{source.stat().st_mtime_ns:x}.pmtiles"
    if not target.exists():
        write_pmtiles(source, target)
    return target
