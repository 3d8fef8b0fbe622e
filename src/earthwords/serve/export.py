"""Files of a result with other thresholds: decided again from the probabilities, by the writers of `segment`."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from earthwords.errors import EarthwordsError
from earthwords.files.output_tags import TAG
from earthwords.serve.errors import Problem, problems
from earthwords.serve.results import ServedResult, open_result, vectors_of
from earthwords.serve.schemas import MOST_LETTERS, Asked
from earthwords.serve.tiles import Id

if TYPE_CHECKING:
    from earthwords.geo.scene import Scene
    from earthwords.inference.segment.stored import StoredMap
    from earthwords.serve.state import ServerState
    from earthwords.types import Window

Format = Literal["geotiff", "gpkg", "geojson", "pmtiles", "png"]
SUFFIXES = {"geotiff": ".tif", "gpkg": ".gpkg", "geojson": ".geojson", "pmtiles": ".pmtiles", "png": ".png"}
KINDS = {"geotiff": "labels", "gpkg": "polygons", "geojson": "polygons", "pmtiles": "polygons", "png": "preview"}
MEDIA = {
    "geotiff": "image/tiff", "gpkg": "application/geopackage+sqlite3", "geojson": "application/geo+json",
    "pmtiles": "application/vnd.pmtiles", "png": "image/png",
}  # fmt: skip
Share = Annotated[float, Field(ge=0, le=1)]
Title = Annotated[str, Field(max_length=MOST_LETTERS)]


class ExportAsked(Asked):
    """What to write."""

    format: Format
    thresholds: Annotated[
        dict[Annotated[str, Field(max_length=MOST_LETTERS)], Share], Field(max_length=1000, default_factory=dict)
    ]
    """Title of a class to its least score; of others that of the run."""
    min_area: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    """Smallest polygon, m2."""
    simplify: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Tolerance of outlines, metres."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file to send, and what goes when it is sent."""

    path: Path
    name: str
    folder: Path


def router(state: ServerState) -> APIRouter:
    """`/api/results/{id}/export`."""
    routes = APIRouter(prefix="/api/results", tags=["results"])
    content: dict[str, dict[str, str]] = {media: {} for media in MEDIA.values()}

    @routes.post(
        "/{id}/export", response_class=FileResponse,
        responses={200: {"description": "The file.", "content": content},
                   **problems(404, 408, 409, 413, 415, 422, 507)},
    )  # fmt: skip
    async def export_result(id: Id, asked: ExportAsked) -> FileResponse:
        """The map with these thresholds, as a file."""
        result = await state.run(open_result, state, id)
        made = await state.run_long(export, state, result, asked)
        return FileResponse(
            made.path, filename=made.name, media_type=MEDIA[asked.format], content_disposition_type="attachment",
            background=BackgroundTask(shutil.rmtree, made.folder, ignore_errors=True),
        )  # fmt: skip

    return routes


def export(state: ServerState, result: ServedResult, asked: ExportAsked) -> Exported:
    """Write a file of a result.

    Raises:
        Problem: the job has not ended, or there is nothing of that kind.
        UsageError: a threshold of a class that there is not.
        OutputError: the disk is full.
    """
    if not result.complete:
        raise Problem(409, "The job has not ended; its map can be exported when it has.")
    folder = result.made / "exports" / secrets.token_hex(8)
    folder.mkdir(parents=True)
    try:
        name = f"{_stem(state, result)}-{result.about.kind}{SUFFIXES[asked.format]}"
        path = folder / f"map{SUFFIXES[asked.format]}"
        if result.has_scores:
            _decided(state, result, asked, path)
        else:
            _as_made(result, asked, path)
        return Exported(path=path, name=name, folder=folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _decided(state: ServerState, result: ServedResult, asked: ExportAsked, path: Path) -> None:
    """From the probabilities."""
    from earthwords.geo.vectors.served import write_pmtiles
    from earthwords.inference.segment.stored import open_stored

    with open_stored(result.folder) as map:
        if asked.format == "pmtiles":
            write_decided(map, {"polygons": path.with_suffix(".gpkg")}, asked, None)
            write_pmtiles(path.with_suffix(".gpkg"), path, gsd=map.grid.gsd_m)
            return
        scene = _scene(state, result, map) if asked.format == "png" else None
        try:
            write_decided(map, {KINDS[asked.format]: path}, asked, scene)
        finally:
            if scene is not None:
                scene.close()


def write_decided(map: StoredMap, paths: Mapping[str, Path], asked: ExportAsked, scene: Scene | None) -> None:
    """Write outputs of `segment` from a stored map."""
    from earthwords.inference.windows.outputs import About, OutputOptions, write_outputs

    tags = {name: text for name, text in map.tags.items() if name.startswith("EARTHWORDS_")}
    tags.pop("EARTHWORDS_SCALE", None)
    tags.pop(TAG, None)
    if asked.thresholds:
        tags["EARTHWORDS_THRESHOLD"] = threshold_text(map, asked.thresholds)
    about = About(grid=map.grid, tags=tags, source=tags.get("EARTHWORDS_SOURCE", "map"), vocabulary=map.vocabulary)
    options = OutputOptions(min_area=asked.min_area, simplify=asked.simplify)
    write_outputs(paths, map.strips(asked.thresholds, scene), about=about, options=options)


def threshold_text(map: StoredMap, thresholds: Mapping[str, float]) -> str:
    """As `segment` tells its thresholds: one for all, or the run's and those of classes."""
    own = dict(zip(map.vocabulary.titles, map.thresholds.tolist(), strict=True))
    levels = {title: thresholds.get(title, own[title]) for title in own}
    if len({f"{level:g}" for level in levels.values()}) == 1:
        return f"{next(iter(levels.values())):g}"
    return "; ".join(["0", *(f"{title} {level:g}" for title, level in levels.items())])


def _scene(state: ServerState, result: ServedResult, map: StoredMap) -> Scene | None:
    """The source, if its pixels are still those of the map; None: the picture is grey."""
    with suppress(Problem, IndexError, EarthwordsError):
        scene = state.library.scene(state.library.get(result.about.sources[0]))
        region = region_in(scene, map)
        if region is not None:
            scene.region = region
            return scene
        scene.close()
    return None


def region_in(scene: Scene, map: StoredMap) -> Window | None:
    """The pixels of a scene that a map lies on; None: it does not lie on them."""
    from earthwords import types

    col, row = ~scene.native.transform @ (map.grid.transform.c, map.grid.transform.f)
    window = types.Window(row=round(row), col=round(col), height=map.grid.height, width=map.grid.width)
    inside = window.row >= 0 and window.col >= 0
    inside = inside and window.row_stop <= scene.native.height and window.col_stop <= scene.native.width
    return window if inside and abs(row - window.row) < 0.01 and abs(col - window.col) < 0.01 else None


def _as_made(result: ServedResult, asked: ExportAsked, path: Path) -> None:
    """A result without probabilities: what was written, and of its polygons those that reach the thresholds."""
    from earthwords.geo.vectors.served import write_chosen, write_pmtiles

    if asked.format in ("geotiff", "png"):
        names = ("labels.tif", "change.tif") if asked.format == "geotiff" else ("preview.png",)
        found = next((file for name in names if (file := result.folder / name).is_file()), None)
        if found is None:
            raise Problem(404, f"A result of {result.about.kind} has no {asked.format}.")
        shutil.copyfile(found, path)
        return
    source = vectors_of(result)
    target = path if asked.format != "pmtiles" else path.with_suffix(".gpkg")
    write_chosen(source, target, least=asked.thresholds, min_area=asked.min_area, simplify=asked.simplify)
    if asked.format == "pmtiles":
        write_pmtiles(target, path)


def _stem(state: ServerState, result: ServedResult) -> str:
    """Of the file's name: letters, digits, `-`, `_` and `.` of the source's."""
    with suppress(Problem, IndexError):
        name = Path(state.library.get(result.about.sources[0]).name).stem
        safe = "".join(c for c in name if c.isascii() and (c.isalnum() or c in "-_."))
        return safe.strip(".") or "map"
    return "map"
