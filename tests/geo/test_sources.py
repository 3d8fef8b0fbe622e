"""Scenes that are no plain files, and what users do wrong."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from earthwords.errors import SourceError, UsageError
from earthwords.geo.scene import open_scene
from earthwords.geo.sources.gdal_dataset import read_band
from earthwords.types import Window
from tests.geo.test_scene import SHAPE, Make, distinct, whole

# Sources beyond plain files


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """A file server that answers range requests, as every real one does."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path.partition("?")[0]))
        found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        first, last = (int(part) for part in found.groups()) if found else (0, len(data) - 1)
        body = data[first : last + 1]
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
        self.end_headers()
        return self.wfile.write(body) and None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(_Ranges, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_addresses_are_read_over_the_network(
    make_raster: Make, rng: np.random.Generator, server: str, prefix: str
) -> None:
    data = distinct(rng, "uint16")
    make_raster(data)
    with open_scene(f"{prefix}{server}/scene.tif?signature=secret") as scene:
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, data)
        assert "secret" not in str(scene.tags())


def test_a_missing_address_is_named(server: str) -> None:
    with pytest.raises(SourceError, match=r"Cannot open http.*/none.tif .*check the address"):
        open_scene(f"{server}/none.tif")


def test_files_inside_archives_are_read(make_raster: Make, rng: np.random.Generator, tmp_path: Path) -> None:
    import zipfile

    data = distinct(rng, "uint8")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(make_raster(data), "inner.tif")
    with open_scene(f"/vsizip/{tmp_path}/a.zip/inner.tif") as scene:
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, data)


def test_threads_may_share_a_scene(make_raster: Make, rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    data = distinct(rng, "uint16", (3, 300, 411))
    with open_scene(make_raster(data, tiled=True, blockxsize=16, blockysize=16), gsd=3) as scene:
        full = scene.read(whole(scene)).data
        parts = [Window(row=row, col=0, height=10, width=scene.grid.width) for row in range(0, 190, 10)]
        with ThreadPoolExecutor(4) as pool:
            for window, raster in zip(parts, pool.map(scene.read, parts), strict=True):
                np.testing.assert_array_equal(raster.data, full[(slice(None), *window.slices)])


def test_a_band_can_be_read_alone(make_raster: Make, rng: np.random.Generator) -> None:
    data = distinct(rng, "uint16")
    path = make_raster(data)
    np.testing.assert_array_equal(read_band(path), data[0])
    np.testing.assert_array_equal(read_band(str(path), 3), data[2])
    with pytest.raises(SourceError, match="does not exist"):
        read_band(path.with_name("none.tif"))


# What users do wrong


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bands": [1, 2, 9]}, "Band 9 does not exist: the raster has 3 bands"),
        ({"bands": ["red", "green", "nir"]}, "Unknown band 'nir'"),
        ({"gsd": 0}, "must be a positive number of metres, got 0"),
        ({"gsd": 5000}, "more than 512 times coarser than the scene's 2 m"),
        ({"stretch": "minmax"}, "Unknown stretch 'minmax'"),
        ({"nodata": 300}, "nodata value 300 cannot occur in uint8 data"),
        ({"nodata": 0.5}, "nodata value 0.5 cannot occur in uint8 data"),
        ({"bounds": (10, 0, 5, 3)}, r"Bounds \(10, 0, 5, 3\) are not WEST SOUTH EAST NORTH"),
        (
            {"bounds": (0, 0, 5, 3)},
            r"Bounds \(0, 0, 5, 3\) do not touch the scene, whose bounds are "
            r"\(404211.9, 3285068.9, 404317.9, 3285142.9\) in EPSG:32617",
        ),
    ],
)
def test_wrong_arguments(make_raster: Make, rng: np.random.Generator, options: dict, words: str) -> None:
    path = make_raster(distinct(rng, "uint8"))
    with pytest.raises(UsageError, match=words):
        open_scene(path, **options)


def test_metres_need_a_crs(make_raster: Make, rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match="without a CRS the size of a pixel in metres is unknown; leave --gsd out"):
        open_scene(make_raster(distinct(rng, "uint8"), crs=None), gsd=1)


@pytest.mark.parametrize(
    "window",
    [
        Window(row=-1, col=0, height=2, width=2),
        Window(row=36, col=0, height=2, width=2),
        Window(row=0, col=52, height=2, width=2),
        Window(row=0, col=0, height=0, width=2),
    ],
)
def test_windows_must_lie_inside(make_raster: Make, rng: np.random.Generator, window: Window) -> None:
    with (
        open_scene(make_raster(distinct(rng, "uint8"))) as scene,
        pytest.raises(UsageError, match="leaves the grid of 37 x 53 pixels"),
    ):
        scene.read(window)


def test_a_missing_file_gets_a_suggestion(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(distinct(rng, "uint8"))
    with pytest.raises(SourceError, match=r"scen.tif does not exist. Did you mean '.*scene.tif'\?"):
        open_scene(path.with_name("scen.tif"))


def test_files_that_are_no_rasters(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(SourceError, match=r"notes.txt is not a raster that GDAL can read"):
        open_scene(tmp_path / "notes.txt")
    with pytest.raises(SourceError, match=r"empty.tif is empty \(0 bytes\)"):
        open_scene(tmp_path / "empty.tif")
    with pytest.raises(SourceError, match=r"is a folder, not a raster"):
        open_scene(tmp_path)


def test_a_truncated_file_is_named_with_the_place(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(distinct(rng, "uint16", (3, 400, 300)), photometric="rgb")
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: len(whole_file) // 2])
    with (
        open_scene(path, stretch="0,9000") as scene,
        pytest.raises(SourceError, match=r"Cannot read rows 380..400, columns 7..300 of .*scene.tif: .*truncated"),
    ):
        scene.read(Window(row=380, col=7, height=20, width=293))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_pictures_are_no_grey_scenes(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(np.moveaxis(distinct(rng, "uint8", (3, 200, 300)), 0, -1)).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(SourceError, match=r"truncated|ends too early"), open_scene(path) as scene:
        scene.read(whole(scene))


def test_several_rasters_in_one_file_are_listed(tmp_path: Path, make_raster: Make, rng: np.random.Generator) -> None:
    path = tmp_path / "several.gpkg"
    for name in ("first", "second"):
        with rasterio.open(
            path,
            "w",
            driver="GPKG",
            height=37,
            width=53,
            count=3,
            dtype="uint8",
            crs="EPSG:32617",
            transform=Affine(2, 0, 5e5, 0, -2, 4e6),
            RASTER_TABLE=name,
            APPEND_SUBDATASET="YES",
        ) as dataset:
            dataset.write(distinct(rng, "uint8"))
    with pytest.raises(SourceError, match=r"holds several rasters; name one of them: GPKG:.*first, GPKG:.*second"):
        open_scene(path)
    with open_scene(f"GPKG:{path}:second") as scene:
        assert scene.native.shape == (37, 53)


def test_complex_numbers_are_refused(make_raster: Make) -> None:
    with pytest.raises(SourceError, match="holds complex numbers"):
        open_scene(make_raster(np.zeros(SHAPE, "complex64")))


def test_a_closed_scene_says_so(make_raster: Make, rng: np.random.Generator) -> None:
    with open_scene(make_raster(distinct(rng, "uint8"))) as scene:
        pass
    with pytest.raises(SourceError, match="was closed"):
        scene.read(whole(scene))


def test_bands_of_different_types_share_one(make_raster: Make, rng: np.random.Generator, tmp_path: Path) -> None:
    data = distinct(rng, "uint8")
    data[:, 3:6, 4:9] = 250
    source = make_raster(data)
    bands = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{i}"><NoDataValue>250</NoDataValue><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i, dtype in enumerate(("Byte", "UInt16", "Float32"), start=1)
    )
    mixed = tmp_path / "mixed.vrt"
    mixed.write_text(f'<VRTDataset rasterXSize="{SHAPE[2]}" rasterYSize="{SHAPE[1]}">{bands}</VRTDataset>')
    with open_scene(mixed) as scene:
        raster = scene.read_native(whole(scene))
    assert raster.data.dtype == np.float32
    np.testing.assert_array_equal(raster.data, data)
    np.testing.assert_array_equal(raster.valid, (data != 250).any(axis=0))


def test_latitudes_that_there_are_not_are_no_degrees(make_raster: Make, rng: np.random.Generator) -> None:
    with open_scene(make_raster(distinct(rng, "uint8"), crs="EPSG:4326")) as scene:
        assert scene.native.crs is None and scene.native.gsd_m is None
        assert (
            scene.notes[0].startswith("The bounds (404211.9, ") and "cannot be degrees of EPSG:4326" in scene.notes[0]
        )
    globe = Affine(360 / 53, 0, -180, 0, -181 / 37, 90.5)
    with open_scene(make_raster(distinct(rng, "uint8"), crs="EPSG:4326", transform=globe, name="globe.tif")) as scene:
        assert scene.native.crs is not None and not any("degrees" in note for note in scene.notes)


def test_a_working_grid_far_finer_than_the_scene_is_refused(make_raster: Make, rng: np.random.Generator) -> None:
    path = make_raster(distinct(rng, "uint8"))
    with pytest.raises(UsageError, match=r"1e-05 m is more than 64 times finer than the scene's 2 m"):
        open_scene(path, gsd=1e-5)
    with open_scene(path, gsd=2 / 64) as scene:
        assert scene.grid.shape == (37 * 64, 53 * 64)
