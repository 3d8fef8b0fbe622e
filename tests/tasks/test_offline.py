"""Every verb that reads scenes: no connection with `--offline`, and none that a local file asks for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import earthwords
from earthwords.errors import SourceError, UsageError
from earthwords.inference.segment.segmenter import Segmenter
from tests.conftest import Command, write_raster
from tests.geo.sources.test_network import vrt_text
from tests.micro import patchwork
from tests.servers import Listener

Argv = Callable[[str, Path], list[object]]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        yield server


def trap(path: Path, url: str) -> Path:
    """A local file that points to a server."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(vrt_text(f"/vsicurl/{url}/part.tif"))
    return path


def yolo(folder: Path, url: str) -> Path:
    trap(folder / "images" / "a.tif", url)
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "classes.txt").write_text("ship\n")
    return folder


def labelled(folder: Path, url: str) -> Path:
    trap(folder / "images" / "a.tif", url)
    (folder / "labels").mkdir()
    labels = np.zeros((1, 64, 64), np.uint8)
    labels[:, 20:40, 10:50] = 1
    write_raster(folder / "labels" / "a.tif", labels)
    (folder / "classes.txt").write_text("road\nwater\n")
    return folder


VERBS: dict[str, Argv] = {
    "segment": lambda src, out: ["segment", src, out, "-t", "water", "-t", "road", "--upsampler", "none"],
    "refer": lambda src, out: ["refer", src, out, "-t", "the white roof"],
    "upsample": lambda src, out: ["upsample", src, out, "--method", "bilinear"],
    "classify": lambda src, out: ["classify", src, "-t", "water", "-t", "road"],
    "index": lambda src, out: ["index", src, out],
    "train upsampler": lambda src, out: ["train", "upsampler", src, out, "--steps", "1", "--image-size", "32"],
}
"""Those that take any source."""


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("options", [[], ["--offline"]], ids=["as usual", "offline"])
def test_a_local_file_sends_no_verb_to_a_server(
    command: Command, tmp_path: Path, listener: Listener, verb: str, options: list[str]
) -> None:
    source = trap(tmp_path / "scenes" / "photo.tif", listener.url)
    done = command(*VERBS[verb](str(source), tmp_path / "out"), "--quiet", *options)
    assert listener.connections == 0
    assert done.code == 1 and "parts that are read over the network" in done.err
    assert ("--allow-remote-parts" in done.err) == (not options)


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_allowed_is_read(command: Command, tmp_path: Path, listener: Listener, verb: str) -> None:
    source = trap(tmp_path / "scenes" / "photo.tif", listener.url)
    done = command(*VERBS[verb](str(source), tmp_path / "out"), "--quiet", "--allow-remote-parts")
    assert listener.connections > 0 and done.code == 1
    assert "404" in done.err or "part.tif" in done.err


@pytest.mark.parametrize("verb", VERBS)
def test_an_address_is_refused_offline(command: Command, tmp_path: Path, listener: Listener, verb: str) -> None:
    for source in (f"{listener.url}/a.tif", f"/vsicurl/{listener.url}/a.tif"):
        command(*VERBS[verb](source, tmp_path / "out"), "--quiet", "--offline").failed(2, "is read over the network")
    command(*VERBS[verb](source, tmp_path / "out"), "--offline", "--allow-remote-parts").failed(2, "--offline forbids")
    assert listener.connections == 0
    assert verb.startswith("train") or not (tmp_path / "out").exists()


def test_many_scenes_and_workers_reach_nobody(command: Command, tmp_path: Path, listener: Listener) -> None:
    for name in ("a", "b"):
        trap(tmp_path / "scenes" / f"{name}.tif", listener.url)
    image = np.moveaxis(patchwork(300, 400), -1, 0)
    write_raster(tmp_path / "scenes" / "good.tif", image)
    words = ["-t", "water", "-t", "road", "--upsampler", "none", "--workers", "2", "--quiet"]
    done = command("segment", tmp_path / "scenes", tmp_path / "out", *words)
    assert done.code == 1 and listener.connections == 0
    assert (tmp_path / "out" / "good" / "labels.tif").exists()


def test_sets_and_annotated_images_reach_nobody(command: Command, tmp_path: Path, listener: Listener) -> None:
    own = labelled(tmp_path / "own", listener.url)
    scenes = tmp_path / "places"
    for name in ("harbour", "forest"):
        trap(scenes / name / "a.tif", listener.url)
    lines = [
        ["pairs", yolo(tmp_path / "town", listener.url), tmp_path / "pairs"],
        ["expressions", tmp_path / "town", tmp_path / "sentences"],
        ["evaluate", "segmentation", own, "--classes", own / "classes.txt", "--out", tmp_path / "seg"],
        ["evaluate", "scenes", "zero-shot", "--data", scenes, "--out", tmp_path / "zero"],
    ]
    for argv in lines:
        done = command(*argv, "--quiet")
        assert done.code in (1, 2), (argv, done)
        assert listener.connections == 0, argv
        if argv[0] == "evaluate":
            assert command(*argv, "--quiet", "--offline").code in (1, 2)
            assert listener.connections == 0, argv


# Indexes


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_raster(folder / "scene.tif", np.moveaxis(patchwork(150, 170), -1, 0))
    earthwords.index(folder / "scene.tif", folder / "index", model=str(micro), quiet=True, device="cpu")
    return folder / "index"


@pytest.fixture
def crafted(index: Path, tmp_path: Path, listener: Listener) -> Path:
    """An index whose tiles are said to lie on a server."""
    folder = tmp_path / "index"
    shutil.copytree(index, folder)
    for name in ("tiles.parquet", "sources.parquet"):
        table = pq.read_table(folder / name)
        sources = pa.array([f"{listener.url}/x.tif"] * len(table), pa.string())
        pq.write_table(table.set_column(table.schema.get_field_index("source"), "source", sources), folder / name)
    return folder


def test_a_crafted_index_sends_no_search_to_a_server(
    command: Command, crafted: Path, tmp_path: Path, listener: Listener
) -> None:
    for i, options in enumerate(([], ["--offline"])):
        assert command("search", crafted, "water", tmp_path / f"out{i}", "--quiet", *options).code == 0
        assert listener.connections == 0
    with earthwords.Index.open(crafted, device="cpu") as opened:
        found = opened.search("water", top=2)
        assert [problem for _, problem in found._pictures(50)] == ["on a server (--allow-remote-parts)"] * len(found)
        assert listener.connections == 0
    assert command("search", crafted, "water", tmp_path / "allowed", "--quiet", "--allow-remote-parts").code == 0
    assert listener.connections > 0


def test_an_image_to_be_like_reaches_nobody_offline(
    command: Command, index: Path, tmp_path: Path, listener: Listener
) -> None:
    photo = trap(tmp_path / "photo.tif", listener.url)
    command("search", index, "--like", photo, "--quiet").failed(1, "--allow-remote-parts")
    command("search", index, "--like", f"{listener.url}/a.tif", "--quiet", "--offline").failed(2, "over the network")
    assert listener.connections == 0


# Python


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_loaded_offline_reads_offline(micro: Path, tmp_path: Path, listener: Listener, offline: bool) -> None:
    source = trap(tmp_path / "photo.tif", listener.url)
    segmenter = Segmenter.from_preset(model=micro, device="cpu", offline=offline)
    upsampler = earthwords.Upsampler.from_preset(model=micro, device="cpu", offline=offline)
    embedder = earthwords.Embedder.from_preset(model=micro, device="cpu", offline=offline)
    referrer = earthwords.Referrer.from_preset(device="cpu", offline=offline)
    calls = (
        lambda s: segmenter.predict(s, ["water", "road"]),
        upsampler.image,
        embedder.image,
        lambda s: referrer.predict(s, "the roof"),
    )
    for call in calls:
        with pytest.raises(SourceError, match="parts that are read over the network"):
            call(source)
        if offline:
            with pytest.raises(UsageError, match="is read over the network"):
                call(f"{listener.url}/a.tif")
    assert listener.connections == 0
    allowed = Segmenter.from_preset(model=micro, device="cpu", allow_remote_parts=True)
    with pytest.raises(SourceError):
        allowed.predict(source, ["water"])
    assert listener.connections > 0
