"""Sources and their image tiles."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request
from numpy.typing import NDArray
from starlette.responses import JSONResponse, Response

from earthwords.serve.errors import busy, problems
from earthwords.serve.schemas import SourceBody, SourcesBody

if TYPE_CHECKING:
    from earthwords.serve.library import Look, ServedRaster
    from earthwords.serve.state import ServerState

SIDE = 256
"""Pixels of a tile."""
MOST_ZOOM = 24
CACHE_BYTES = 64 * 2**20
MAX_AGE_S = 300
QUALITY = 80
"""Of WebP."""
NATIVE_SIDE = 4096
"""Of a raster without overviews, at most so many of its pixels a side go into a tile."""

Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{6,64}$")]
Zoom = Annotated[int, Path(ge=0, le=MOST_ZOOM)]
Number = Annotated[int, Path(ge=0, lt=2**MOST_ZOOM)]


class TileCache:
    """Encoded tiles, those used last; None: there is nothing in the tile."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[tuple[Any, ...], bytes | None] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> tuple[bool, bytes | None]:
        """Whether it is here, and the tile."""
        with self._lock:
            if key not in self._kept:
                return False, None
            self._kept.move_to_end(key)
            return True, self._kept[key]

    def put(self, key: tuple[Any, ...], tile: bytes | None) -> None:
        """Keep a tile; those not used for longest go."""
        with self._lock:
            if key in self._kept:
                self.bytes -= _weight(self._kept.pop(key))
            self._kept[key] = tile
            self.bytes += _weight(tile)
            while self.bytes > self.most_bytes:
                _, old = self._kept.popitem(last=False)
                self.bytes -= _weight(old)


def _weight(tile: bytes | None) -> int:
    return 200 + len(tile or b"")


def router(state: ServerState) -> APIRouter:
    """`/api/sources` and what lies below it, but for marks."""
    import rio_tiler.io  # noqa: F401  (threads that import it all at once find half of it)

    routes = APIRouter(prefix="/api/sources", tags=["sources"])

    @routes.get("", responses=problems())
    async def list_sources() -> SourcesBody:
        """Every raster of the folder, and what the server can do with them."""
        return SourcesBody(**await state.run(sources_of, state))

    @routes.get("/{id}", responses=problems(404, 422))
    async def get_source(id: Id) -> SourceBody:
        """A raster, with what is known of its bands and numbers."""

        def tell() -> dict[str, Any]:
            state.library.preparing = set(preparing(state))
            raster = state.library.get(id)
            state.library.look(raster)
            return state.library.about(raster)

        return SourceBody(**await state.run(tell))

    @routes.post(
        "/{id}/prepare", response_class=JSONResponse,
        responses={200: {"description": "Nothing needs to be done."}, 202: {"description": "A job makes overviews."},
                   **problems(404, 422)},
    )  # fmt: skip
    async def prepare_source(id: Id) -> JSONResponse:
        """Make overviews of a large raster, once."""
        raster = await state.run(state.library.get, id)
        if raster.ready:
            return JSONResponse({"job": None})
        if state.jobs is None:
            raise busy("There is no queue of jobs in this installation.", seconds=60)
        job: Any = (await state.run(preparing, state)).get(id)
        if job is None:
            job = await state.run(state.jobs.submit, "prepare", {"source": id}, label=raster.name)
        return JSONResponse({"job": job.body()}, status_code=202)

    @routes.get(
        "/{id}/tiles/{z}/{x}/{y}.webp",
        response_class=Response,
        responses={
            200: {"description": "The tile.", "content": {"image/webp": {}}},
            204: {"description": "The raster shows nothing there."},
            304: {"description": "The tile has not changed."},
            **problems(404, 422),
        },
    )
    async def get_tile(request: Request, id: Id, z: Zoom, x: Number, y: Number) -> Response:
        """A tile of the web map (256 pixels, EPSG:3857)."""
        raster = await state.run(state.library.get, id)
        key = ("image", id, raster.stamp, raster.prepared is not None, z, x, y)
        return await answer_tile(state, request, key, "image/webp", lambda: image_tile(state, raster, z, x, y))

    return routes


async def answer_tile(
    state: ServerState, request: Request, key: tuple[Any, ...], media_type: str, render: Any, *, keep: bool = True
) -> Response:
    """A tile by its key: not again if the client has it, from the cache, or rendered now."""
    tag = f'"{hashlib.blake2s(repr(key).encode(), digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={MAX_AGE_S}" if keep else "no-store"}
    if keep and tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    there, tile = state.tiles.get(key) if keep else (False, None)
    if not there:
        tile = await state.run(render)
        if keep:
            state.tiles.put(key, tile)
    if tile is None:
        return Response(status_code=204, headers=headers)
    return Response(tile, media_type=media_type, headers=headers)


def sources_of(state: ServerState) -> dict[str, Any]:
    """What `GET /api/sources` tells."""
    from earthwords.presets import SEGMENT_PRESETS

    settings = state.settings
    state.library.preparing = set(preparing(state))
    return {
        "folder": str(settings.folder),
        "workspace": str(settings.workspace),
        "sources": [state.library.about(raster) for raster in state.library.all()],
        "left_out": [{"name": name, "reason": why} for name, why in sorted(state.library.refused().items())],
        "indexes": indexes_of(state),
        "presets": list(SEGMENT_PRESETS),
        "preset": settings.preset,
    }


def preparing(state: ServerState) -> dict[str, Any]:
    """Id of a source to the job that makes its overviews, now or soon."""
    if state.jobs is None:
        return {}
    jobs = state.jobs.queue.newest(limit=200)
    return {
        job.arguments["source"]: job for job in jobs if job.kind == "prepare" and job.state in ("queued", "running")
    }


def indexes_of(state: ServerState) -> list[dict[str, str]]:
    """Searchable archives of the workspace."""
    folder = state.settings.workspace / "indexes"
    found = sorted(path for path in folder.glob("*") if (path / "index.json").is_file())
    return [{"id": path.name, "name": path.name} for path in found]


def image_tile(state: ServerState, raster: ServedRaster, z: int, x: int, y: int) -> bytes | None:
    """A tile as WebP; None where the raster shows nothing."""
    from rio_tiler.errors import TileOutsideBounds

    from earthwords.geo.sources.gdal_dataset import reading
    from earthwords.geo.sources.network import Network
    from earthwords.geo.sources.served import on_the_map, open_served

    if x >= 2**z or y >= 2**z:
        return None
    copy = raster.prepared
    look = None if copy is not None else state.library.look(raster)
    with open_served(copy or raster.real) as dataset, on_the_map(dataset, raster.facts) as placed:
        if not raster.ready and _native_pixels(raster, z) > NATIVE_SIDE:
            raise busy(f"{raster.name} has no overviews yet; prepare it first.", seconds=5)
        try:
            with reading(raster.name, "the tile", Network.NONE):
                data, valid = _read(placed, z, x, y, look)
        except TileOutsideBounds:
            return None
        if not valid.any():
            return None
        return webp(_picture(dataset, data, look), valid)


def _native_pixels(raster: ServedRaster, z: int) -> float:
    """About how many pixels of the raster go along a side of a tile."""
    west, _, east, _ = raster.facts.bounds
    return float(raster.facts.grid.width * (360 / 2**z) / max(east - west, 1e-12))


def _read(dataset: Any, z: int, x: int, y: int, look: Look | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values `(3, 256, 256)` and where there are any."""
    from rio_tiler.io import Reader

    numbers = (1, 2, 3) if look is None else look.numbers
    unique = sorted(set(numbers))
    how = "nearest" if look is not None and look.through_palette else "bilinear"
    with Reader(None, dataset=dataset) as reader:
        image = reader.tile(
            x, y, z, tilesize=SIDE, indexes=unique, resampling_method=how, reproject_method=how,
            unscale=look is not None and not look.through_palette and _scaled(dataset),
        )  # fmt: skip
    data = np.asarray(image.array.data)
    hidden = np.ma.getmaskarray(image.array)
    valid = np.asarray(~hidden.all(axis=0))
    if data.dtype.kind == "f":
        valid &= np.isfinite(data).all(axis=0)
    return data[[unique.index(number) for number in numbers]], valid


def _scaled(dataset: Any) -> bool:
    return any(scale != 1 for scale in dataset.scales) or any(offset != 0 for offset in dataset.offsets)


def _picture(dataset: Any, data: NDArray[Any], look: Look | None) -> NDArray[np.uint8]:
    """Values `(3, row, col)` as `(row, col, 3)` bytes."""
    from earthwords.geo.sources.served import palette_of

    if look is None:
        return np.moveaxis(data, 0, -1).astype(np.uint8)
    if look.through_palette:
        return np.asarray(palette_of(dataset)[data[0]][..., :3])
    return np.moveaxis(np.rint(look.stretch.apply(data) * 255), 0, -1).astype(np.uint8)


def webp(picture: NDArray[np.uint8], valid: NDArray[np.bool_]) -> bytes:
    """A picture, transparent where there is nothing."""
    from PIL import Image

    if not valid.all():
        picture = np.dstack([picture, np.where(valid, 255, 0).astype(np.uint8)])
    into = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(into, format="WEBP", quality=QUALITY, method=2)
    return into.getvalue()
