"""Rasters on servers: the files beside them, servers that do not answer, and the process that reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image

from earthwords import interrupt
from earthwords.errors import ServerError, SourceError
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources import remote
from earthwords.geo.sources.gdal_dataset import REMOTE_OPTIONS
from earthwords.types import Window
from tests.geo.conftest import TRANSFORM
from tests.geo.test_scene import Make, distinct, whole
from tests.servers import FileServer, wait_until

SHAPE = (3, 300, 411)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with FileServer(tmp_path) as files:
        yield files


@pytest.fixture
def fresh() -> Iterator[None]:
    """Readers of before know nothing of what is set in the environment, nor should those of now be used later."""
    remote._end_all()
    yield
    remote._end_all()


@pytest.fixture
def impatient(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL gives a server a second."""
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")


def same(scene: Scene, other: Scene) -> None:
    """The same pixels, holes and place."""
    here, there = (s.read_native(whole(s)) for s in (scene, other))
    np.testing.assert_array_equal(here.data, there.data)
    np.testing.assert_array_equal(here.valid, there.valid)
    assert scene.native == other.native and scene.stretch == other.stretch and scene.notes == other.notes
    assert scene.date() == other.date()


# Files beside a file


def test_a_mask_beside_a_file_counts_over_http(make_raster: Make, rng: np.random.Generator, server: FileServer) -> None:
    mask = np.full(SHAPE[1:], 255, np.uint8)
    mask[10:30, 20:50] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"):
        path = make_raster(distinct(rng, "uint16", SHAPE), mask=mask)
    assert path.with_name("scene.tif.msk").exists()
    with open_scene(path) as here, open_scene(f"{server.url}/scene.tif") as there:
        same(here, there)
        assert (~there.read_native(whole(there)).valid).sum() == 600


def test_a_place_beside_a_file_counts_over_http(
    make_raster: Make, rng: np.random.Generator, server: FileServer
) -> None:
    path = make_raster(distinct(rng, "uint8", SHAPE), profile="BASELINE")
    assert path.with_name("scene.tif.aux.xml").exists()
    with open_scene(path) as here, open_scene(f"/vsicurl/{server.url}/scene.tif") as there:
        same(here, there)
        assert there.native.crs is not None and there.native.transform == TRANSFORM


@pytest.mark.parametrize(("suffix", "world"), [("jpg", "jgw"), ("png", "pgw"), ("tif", "tfw"), ("tif", "wld")])
def test_world_files_count_over_http(
    tmp_path: Path, rng: np.random.Generator, server: FileServer, suffix: str, world: str
) -> None:
    Image.fromarray(np.moveaxis(distinct(rng, "uint8", SHAPE), 0, -1)).save(tmp_path / f"a.{suffix}")
    (tmp_path / f"a.{world}").write_text("2\n0\n0\n-2\n404212.9\n3285141.9\n")
    with open_scene(tmp_path / f"a.{suffix}") as here, open_scene(f"{server.url}/a.{suffix}") as there:
        same(here, there)
        assert there.native.transform == TRANSFORM


def test_overviews_beside_a_file_are_used(make_raster: Make, rng: np.random.Generator, server: FileServer) -> None:
    """The sample of a large scene takes the overview, not all pixels."""
    path = make_raster(distinct(rng, "uint16", (3, 3000, 2600)), tiled=True, blockxsize=256, blockysize=256)
    with rasterio.Env(TIFF_USE_OVR="YES"), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert path.with_name("scene.tif.ovr").exists()
    with open_scene(path) as here, open_scene(f"{server.url}/scene.tif") as there:
        assert here.stretch == there.stretch
    assert (
        sum(
            int(last) - int(first) + 1
            for _, asked, wanted in server.log
            if asked.endswith(".tif") and wanted
            for first, last in [wanted.split("-")]
        )
        < path.stat().st_size / 4
    )


def test_few_requests_are_made_and_no_folder_is_listed(
    make_raster: Make, rng: np.random.Generator, server: FileServer, tmp_path: Path
) -> None:
    """Three more than before for a COG, all for files by name."""
    plain = make_raster(distinct(rng, "uint8", (3, 900, 1100)))
    rasterio.shutil.copy(plain, tmp_path / "cog.tif", driver="COG", BLOCKSIZE=256)
    with open_scene(f"{server.url}/cog.tif") as scene:
        scene.read(Window(row=300, col=500, height=200, width=200))
    asked = [(method, path.removeprefix("/")) for method, path, _ in server.log]
    beside = [name for _, name in asked if name != "cog.tif"]
    assert beside == ["cog.tif.aux.xml", "cog.tif.msk", "cog.tif.MSK"]
    assert len(asked) <= 7


def test_no_bucket_is_listed(
    make_raster: Make,
    rng: np.random.Generator,
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh: None,
) -> None:
    """A bucket is asked whether there is something by the name of each file, not for what there is."""
    for key, value in {"S3_ENDPOINT": f"127.0.0.1:{server.port}", "HTTPS": "NO", "VIRTUAL_HOSTING": "FALSE"}.items():
        monkeypatch.setenv(f"AWS_{key}", value)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    (tmp_path / "bucket").mkdir()
    path = make_raster(distinct(rng, "uint8", SHAPE))
    path.rename(tmp_path / "bucket" / "scene.tif")
    with open_scene("s3://bucket/scene.tif") as scene:
        assert scene.native.crs is not None
    listings = [asked for _, asked, _ in server.log if "delimiter" in asked]
    assert all("prefix=scene.tif." in asked for asked in listings)
    assert len(server.log) <= 8


@pytest.mark.parametrize("address", ["{url}/scene.tif?signature=secret", "/vsicurl/{url}/scene.tif?signature=secret"])
def test_a_signed_address_has_no_files_beside_it(
    make_raster: Make, rng: np.random.Generator, server: FileServer, address: str
) -> None:
    data = distinct(rng, "uint16", SHAPE)
    make_raster(data)
    with open_scene(address.format(url=server.url)) as scene:
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, data)
        assert "secret" not in str(scene.tags()) + str(scene.identity())
    assert {asked for _, asked, _ in server.log} == {"/scene.tif?signature=secret"}


@pytest.mark.parametrize(("missing", "said"), [(404, False), (403, False), (503, True)])
def test_a_server_that_does_not_say_whether_there_is_a_mask(
    make_raster: Make, rng: np.random.Generator, tmp_path: Path, missing: int, said: bool, impatient: None
) -> None:
    make_raster(distinct(rng, "uint8", SHAPE))
    with FileServer(tmp_path, missing=missing) as server, open_scene(f"{server.url}/scene.tif") as scene:
        told = [note for note in scene.notes if "scene.tif.msk (HTTP 503): it is left out" in note]
        assert bool(told) == said and all("does not say whether there is" in note for note in told)


def test_parts_that_are_allowed_are_read(make_raster: Make, rng: np.random.Generator, server: FileServer) -> None:
    data = distinct(rng, "uint8", SHAPE)
    path = make_raster(data)
    local = path.with_name("local.vrt")
    rasterio.shutil.copy(path, local, driver="VRT")
    text = local.read_text().replace('relativeToVRT="1">scene', f'relativeToVRT="0">/vsicurl/{server.url}/scene')
    local.write_text(text)
    with pytest.raises(SourceError, match=r"local\.vrt has parts .*/scene\.tif.*--allow-remote-parts"):
        open_scene(local)
    with open_scene(local, allow_remote_parts=True) as scene:
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, data)


def test_settings_around_the_call_hold_for_the_reader(
    make_raster: Make, rng: np.random.Generator, server: FileServer
) -> None:
    make_raster(distinct(rng, "uint8", SHAPE))
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), open_scene(f"{server.url}/scene.tif") as scene:
        scene.read(whole(scene))
    assert server.asked(".msk") == 0


# Servers that do not answer


@pytest.mark.parametrize(
    ("manner", "after"), [("silent", 0), ("silent", 1), ("silent", 4), ("headers", 1), ("headers", 4), ("trickle", 4)]
)
def test_a_silent_server_is_given_up(
    make_raster: Make, rng: np.random.Generator, server: FileServer, impatient: None, manner: str, after: int
) -> None:
    make_raster(distinct(rng, "uint8", SHAPE), tiled=True, blockxsize=64, blockysize=64)
    server.manner = manner
    server.silent = lambda method, path: path.endswith("scene.tif") and len(server.log) > after
    began = time.monotonic()
    with (
        pytest.raises(ServerError, match=r"the server did not answer in time .*try again later.*GDAL_HTTP_LOW_SPEED"),
        open_scene(f"{server.url}/scene.tif") as scene,
    ):
        scene.read(whole(scene))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("where", ["environment", "a rasterio.Env"])
def test_a_silence_is_told_whatever_sets_how_long_it_may_be(
    make_raster: Make,
    rng: np.random.Generator,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    fresh: None,
    where: str,
) -> None:
    settings = {"GDAL_HTTP_LOW_SPEED_TIME": "1", "GDAL_HTTP_MAX_RETRY": "0", "GDAL_HTTP_CONNECTTIMEOUT": "soon"}
    if where == "environment":
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
    make_raster(distinct(rng, "uint8", SHAPE))
    server.silent = lambda method, path: True
    with rasterio.Env(**(settings if where != "environment" else {})), pytest.raises(ServerError, match="in time"):
        open_scene(f"{server.url}/scene.tif")


def test_the_next_read_after_a_silence_is_whole(
    make_raster: Make, rng: np.random.Generator, server: FileServer, impatient: None
) -> None:
    """GDAL would give zeros for blocks that it could not get."""
    data = distinct(rng, "uint8", SHAPE)
    make_raster(data, tiled=True, blockxsize=64, blockysize=64)
    with open_scene(f"{server.url}/scene.tif") as scene:
        server.silent = lambda method, path: True
        with pytest.raises(ServerError):
            scene.read(whole(scene))
        server.silent = lambda method, path: False
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, data)


def test_every_request_has_a_limit() -> None:
    for name in ("GDAL_HTTP_CONNECTTIMEOUT", "GDAL_HTTP_LOW_SPEED_TIME", "GDAL_HTTP_LOW_SPEED_LIMIT"):
        assert 0 < float(REMOTE_OPTIONS[name]) <= 1000


@pytest.mark.parametrize("opened", [False, True])
def test_a_thread_that_waits_ends_when_it_is_not_wanted(
    make_raster: Make, rng: np.random.Generator, server: FileServer, opened: bool
) -> None:
    make_raster(distinct(rng, "uint8", SHAPE), tiled=True, blockxsize=64, blockysize=64)
    source, stop = f"{server.url}/scene.tif", threading.Event()
    scene = open_scene(source) if opened else None
    server.silent = lambda method, path: True

    def read() -> None:
        with interrupt.stoppable(stop):
            (scene or open_scene(source)).read(Window(row=0, col=0, height=300, width=411))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(read)
        assert server.stuck.wait(60)
        began = time.monotonic()
        stop.set()
        with pytest.raises(interrupt.Interrupted):
            future.result()
        assert time.monotonic() - began < 2


CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from earthwords.geo.scene import open_scene
try:
    open_scene(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_the_waiting_of_a_program(make_raster: Make, rng: np.random.Generator, server: FileServer) -> None:
    make_raster(distinct(rng, "uint8", SHAPE))
    server.silent = lambda method, path: True
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, f"{server.url}/scene.tif"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and server.stuck.wait(60)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert time.monotonic() - began < 3
    assert process.wait() == 0


# The process that reads


def children() -> list[int]:
    return [child._process.pid for child in remote._children if child.alive]


def test_a_reader_that_dies_is_replaced(make_raster: Make, rng: np.random.Generator, server: FileServer) -> None:
    data = distinct(rng, "uint16", SHAPE)
    make_raster(data)
    with open_scene(f"{server.url}/scene.tif") as scene:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        np.testing.assert_array_equal(scene.read_native(whole(scene)).data, data)


def test_scenes_share_a_few_readers(
    make_raster: Make, rng: np.random.Generator, server: FileServer, fresh: None
) -> None:
    data = [distinct(rng, "uint8", SHAPE) for _ in range(6)]
    for i, each in enumerate(data):
        make_raster(each, name=f"{i}.tif")
    scenes = [open_scene(f"{server.url}/{i}.tif") for i in range(6)]
    assert len(children()) == remote.MOST
    with ThreadPoolExecutor(6) as pool:
        read = list(pool.map(lambda scene: scene.read_native(whole(scene)).data, scenes))
    for found, expected in zip(read, data, strict=True):
        np.testing.assert_array_equal(found, expected)
    for scene in scenes:
        scene.close()
    assert len(children()) == 1
    with pytest.raises(SourceError, match="was closed"):
        scenes[0].read(Window(row=0, col=0, height=5, width=5))


def test_a_reader_that_opens_no_more_never_reads_another_scene(
    make_raster: Make, rng: np.random.Generator, server: FileServer, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    """Readers number their scenes: of a new one the same number may be another scene."""
    monkeypatch.setattr(remote, "MOST", 1)
    data = distinct(rng, "uint8", SHAPE)
    gone, kept = make_raster(distinct(rng, "uint8", SHAPE), name="gone.tif"), make_raster(data, name="kept.tif")
    with open_scene(f"{server.url}/{gone.name}") as lost, open_scene(f"{server.url}/{kept.name}") as other:
        os.kill(children()[0], signal.SIGKILL)
        gone.unlink()
        for _ in range(2):
            with pytest.raises(SourceError, match="Cannot open"):
                lost.read_native(whole(lost))
            np.testing.assert_array_equal(other.read_native(whole(other)).data, data)


@pytest.mark.parametrize(
    "program", ["raise SystemExit(3)", "print('no answer', flush=True); import time; time.sleep(600)"]
)
def test_a_reader_without_an_answer_is_told(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, fresh: None, program: str
) -> None:
    monkeypatch.setattr(remote, "_PROGRAM", program)
    with pytest.raises(SourceError, match="ended without an answer"):
        open_scene(f"{server.url}/scene.tif")
    assert not children()


def test_a_reader_imports_nothing_of_the_current_folder(
    make_raster: Make,
    rng: np.random.Generator,
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh: None,
) -> None:
    make_raster(distinct(rng, "uint8", SHAPE))
    for name in ("numpy", "rasterio", "pickle"):
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w'); raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with open_scene(f"{server.url}/scene.tif") as scene:
        assert scene.read(whole(scene)).valid.all()
    assert not list(tmp_path.glob("ran-*"))


ORPHAN = """
import os, sys, time
from earthwords.geo.sources import remote
from earthwords.geo.scene import open_scene
scene = open_scene(sys.argv[1])
print(remote._children[0]._process.pid, flush=True)
time.sleep(600)
"""


def test_a_reader_ends_with_its_parent(make_raster: Make, rng: np.random.Generator, server: FileServer) -> None:
    make_raster(distinct(rng, "uint8", SHAPE))
    command = [sys.executable, "-c", ORPHAN, f"{server.url}/scene.tif"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = int(process.stdout.readline())
        process.kill()
    assert wait_until(lambda: not _lives(reader), seconds=10)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("make", [lambda path: str(path), lambda path: f"vrt://{path}?bands=1,2,3"])
def test_local_files_need_no_other_process(
    make_raster: Make, rng: np.random.Generator, make: Callable[[Path], str]
) -> None:
    remote._end_all()
    with open_scene(make(make_raster(distinct(rng, "uint8", SHAPE)))) as scene:
        assert scene.read(whole(scene)).valid.all()
    assert not children()
