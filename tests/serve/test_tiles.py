"""Sources and image tiles: places and pixels as rasterio has them, nothing outside, nothing twice."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient
from PIL import Image
from rasterio.warp import Resampling, reproject, transform_bounds

from earthwords.serve.state import ServerState
from earthwords.serve.tiles import TileCache
from tests.conftest import write_raster
from tests.serve.conftest import PLACE, picture

GRID = morecantile.tms.get("WebMercatorQuad")


def sources(client: TestClient) -> dict[str, dict[str, Any]]:
    """By name."""
    return {source["name"]: source for source in client.get("/api/sources").json()["sources"]}


def tile_over(bounds: list[float], zoom: int) -> tuple[int, int, int]:
    """The tile over the middle of bounds."""
    west, south, east, north = bounds
    tile = GRID.tile((west + east) / 2, (south + north) / 2, zoom)
    return zoom, tile.x, tile.y


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_what_is_listed(client: TestClient, folder: Path) -> None:
    found = sources(client)
    assert list(found) == ["deep/sixteen.tif", "plain.png", "town.tif"]
    town = found["town.tif"]
    with rasterio.open(folder / "town.tif") as dataset:
        expected = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    np.testing.assert_allclose(town["bounds"], expected, atol=1e-6)
    assert (town["width"], town["height"], town["bands"], town["dtype"]) == (460, 300, 3, "uint8")
    assert (town["crs"], town["georeferenced"], town["ready"]) == ("EPSG:32632", True, True)
    assert town["gsd_m"] == pytest.approx(0.5)
    assert town["size_bytes"] == (folder / "town.tif").stat().st_size
    plain = found["plain.png"]
    assert not plain["georeferenced"] and plain["gsd_m"] is None
    degrees = 180 / (np.pi * 6378137)
    np.testing.assert_allclose(plain["bounds"], np.array([-60, -45, 60, 45]) * degrees, rtol=1e-4)


def test_ids_stay_and_notes_tell_what_was_assumed(client: TestClient) -> None:
    first, again = sources(client), sources(client)
    assert {name: s["id"] for name, s in first.items()} == {name: s["id"] for name, s in again.items()}
    whole = client.get(f"/api/sources/{first['plain.png']['id']}").json()
    assert any("No CRS" in note["text"] for note in whole["notes"])


def test_a_tile_has_the_pixels_of_the_raster(client: TestClient, folder: Path) -> None:
    source = sources(client)["town.tif"]
    z, x, y = tile_over(source["bounds"], 18)
    got = client.get(f"/api/sources/{source['id']}/tiles/{z}/{x}/{y}.webp")
    assert got.status_code == 200 and got.headers["content-type"] == "image/webp"
    shown = decoded(got.content).astype(int)
    with rasterio.open(folder / "town.tif") as dataset:
        expected = np.zeros((3, 256, 256), np.uint8)
        bounds = GRID.xy_bounds(morecantile.Tile(x, y, z))
        reproject(
            rasterio.band(dataset, [1, 2, 3]), expected, dst_crs="EPSG:3857", resampling=Resampling.bilinear,
            dst_transform=rasterio.transform.from_bounds(*bounds, 256, 256), init_dest_nodata=True,
        )  # fmt: skip
    inside = expected.sum(0) > 0
    if shown.shape[2] == 4:
        assert ((shown[..., 3] > 0) == inside).mean() > 0.99
    assert inside.mean() > 0.3
    error = np.abs(shown[..., :3] - np.moveaxis(expected, 0, -1))[inside]
    assert error.mean() < 6, "WebP loses little"
    assert np.abs(shown[..., [1, 0, 2]] - np.moveaxis(expected, 0, -1))[inside].mean() > 20, "bands in their order"


def test_sixteen_bits_are_stretched_and_nodata_is_clear(client: TestClient) -> None:
    source = sources(client)["deep/sixteen.tif"]
    z, x, y = tile_over(source["bounds"], 18)
    shown = decoded(client.get(f"/api/sources/{source['id']}/tiles/{z}/{x}/{y}.webp").content)
    assert shown.shape == (256, 256, 4)
    seen = shown[shown[..., 3] > 0]
    assert seen[:, :3].min() < 20 and seen[:, :3].max() > 235, "from black to white"
    whole = client.app.state.server.library.get(source["id"])  # type: ignore[attr-defined]
    assert 0 < (shown[..., 3] == 0).mean() < 1 and whole.facts.grid.width == 150


def test_a_raster_without_a_place_lies_around_zero(client: TestClient) -> None:
    source = sources(client)["plain.png"]
    got = client.get(f"/api/sources/{source['id']}/tiles/17/{2**16}/{2**16}.webp")
    shown = decoded(got.content)
    # a tile of zoom 17 is 305.7 m wide; the lower right quarter of 60 x 45 pixels of a metre begins at its corner
    clear = shown[..., 3]
    assert clear[2, 2] and clear[35, 48] and not clear[60, 10] and not clear[10, 70]


def test_outside_is_nothing_and_the_same_is_not_sent_again(client: TestClient) -> None:
    id = sources(client)["town.tif"]["id"]
    z, x, y = tile_over(sources(client)["town.tif"]["bounds"], 17)
    path = f"/api/sources/{id}/tiles/{z}/{x}/{y}.webp"
    tag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    outside = client.get(f"/api/sources/{id}/tiles/{z}/{x + 50}/{y}.webp")
    assert (outside.status_code, outside.content) == (204, b"")
    assert client.get(f"/api/sources/{id}/tiles/2/7/0.webp").status_code == 204, "no such column at this zoom"


def test_a_file_that_changes_has_other_tiles(client: TestClient, folder: Path) -> None:
    source = sources(client)["town.tif"]
    z, x, y = tile_over(source["bounds"], 18)
    path = f"/api/sources/{source['id']}/tiles/{z}/{x}/{y}.webp"
    first = client.get(path)
    write_raster(folder / "town.tif", 255 - picture(), photometric="RGB", transform=PLACE, crs="EPSG:32632")
    os.utime(folder / "town.tif", ns=(1, 1))
    second = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200 and second.content != first.content
    (folder / "town.tif").unlink()
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [("nothing/tiles/1/0/0.webp", 404), ("a/tiles/1/0/0.webp", 422), ("abcdefgh/tiles/25/0/0.webp", 422),
     ("abcdefgh/tiles/3/-1/0.webp", 422), ("abcdefgh/tiles/3/99999999/0.webp", 422)],
)  # fmt: skip
def test_tiles_that_there_are_not(client: TestClient, path: str, status: int) -> None:
    answer = client.get(f"/api/sources/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status and answer.json()["detail"].endswith(".")


def test_the_cache_forgets_what_was_not_used() -> None:
    cache = TileCache(most_bytes=3_000)
    for i in range(3):
        cache.put((i,), bytes(700))
    assert cache.get((0,)) == (True, bytes(700))
    cache.put((3,), bytes(700))
    assert cache.get((1,)) == (False, None) and cache.get((0,))[0] and cache.get((3,))[0]
    cache.put((4,), None)
    assert cache.get((4,)) == (True, None)
    assert cache.bytes <= 3_000


def test_many_threads_get_the_same_tile(state: ServerState) -> None:
    from earthwords.serve.tiles import image_tile

    raster = next(r for r in state.library.all() if r.name == "town.tif")
    z, x, y = tile_over(list(raster.facts.bounds), 18)
    found: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: found.append(image_tile(state, raster, z, x, y))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1 and found[0]
