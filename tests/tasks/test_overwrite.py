"""`--overwrite` never replaces a file that the command reads, whatever it is called, in any verb."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image

import earthwords
from earthwords.data.segmentation.fakes import make_fake
from earthwords.errors import UsageError
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import TEXT

Segment = Callable[..., Outcome]
NAMES = {
    "plain": "{path}",
    "file": "file://{path}",
    "page": "GTIFF_DIR:1:{path}",
    "vrt": "{folder}/v.vrt",
    "vrt of a vrt": "{folder}/deep/w.vrt",
    "vrt by another name": "{folder}/photo.tif",
    "connection": "vrt://{path}?bands=1,2,3",
    "hard link": "{folder}/hard.tif",
    "soft link": "{folder}/soft.tif",
}


@pytest.fixture
def ortho(tmp_path: Path) -> Path:
    """A scene, and other ways to it."""
    folder = tmp_path / "here"
    (folder / "deep").mkdir(parents=True)
    path = write_raster(folder / "ortho.tif", np.moveaxis(patchwork(70, 90), -1, 0))
    rasterio.shutil.copy(path, folder / "v.vrt", driver="VRT")
    text = (folder / "v.vrt").read_text(encoding="utf-8")
    (folder / "deep" / "w.vrt").write_text(text.replace(">ortho.tif<", ">../v.vrt<"), encoding="utf-8")
    (folder / "photo.tif").write_text(text, encoding="utf-8")
    os.link(path, folder / "hard.tif")
    (folder / "soft.tif").symlink_to("ortho.tif")
    return path


@pytest.fixture
def unchanged(ortho: Path) -> Callable[[], None]:
    """Checks that the scene is what it was."""
    before = ortho.read_bytes()

    def check() -> None:
        assert ortho.read_bytes() == before

    return check


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("verb", ["segment", "refer", "upsample"])
def test_the_source(
    command: Command, ortho: Path, micro: Path, unchanged: Callable[[], None], verb: str, how: str
) -> None:
    source = NAMES[how].format(path=ortho, folder=ortho.parent)
    words = {"segment": TEXT, "refer": ["-t", "the road"], "upsample": ["--method", "bilinear"]}[verb]
    done = command(verb, source, ortho, "--overwrite", "--quiet", *words)
    done.failed(2, f"{ortho} is ", " and would be lost; choose another DST")
    unchanged()


def test_files_beside_the_source(segment: Segment, ortho: Path) -> None:
    """The mask of the source would be taken for one of an older output, and removed."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(ortho, "r+") as dataset:
        dataset.write_mask(np.full((70, 90), 255, np.uint8))
    mask = ortho.with_name("ortho.tif.msk")
    shutil.copy(ortho, ortho.with_name("scene.tif"))
    ortho.with_name("scene.tif.msk").symlink_to(mask.name)
    ortho.unlink()
    segment(ortho.with_name("scene.tif"), ortho).failed(2, f"{mask} is a file that")
    assert mask.exists()


@pytest.mark.parametrize("option", ["--classes", "--templates", "--preset", "--upsampler-weights"])
def test_other_files(command: Command, ortho: Path, micro: Path, tmp_path: Path, option: str) -> None:
    """The outputs of a folder have fixed names, which may be those of a file that is read."""
    text = {"--classes": "road\n", "--templates": "a {}\n", "--preset": f'weights = "{micro}"\n'}.get(option, "x")
    (tmp_path / "given").write_text(text, encoding="utf-8")
    (tmp_path / "given.toml").symlink_to("given")
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "given", tmp_path / "out" / "labels.qml")
    given = [option, tmp_path / ("given.toml" if option == "--preset" else "given")]
    words = [] if option == "--classes" else TEXT
    done = command("segment", ortho, tmp_path / "out", *given, *words, "--overwrite", "--quiet", "--offline")
    done.failed(2, f"labels.qml is read as {option} and would be lost")
    assert (tmp_path / "given").read_text(encoding="utf-8") == text


def test_a_result_in_python(ortho: Path, micro: Path, unchanged: Callable[[], None]) -> None:
    result = earthwords.Segmenter.from_preset("tiny", model=micro, device="cpu").predict(
        f"file://{ortho}", ["road", "water"]
    )
    with pytest.raises(UsageError, match="would be lost"):
        result.save(ortho, overwrite=True)
    unchanged()


def test_classes_of_images(command: Command, ortho: Path, micro: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"{ortho}\n", encoding="utf-8")
    argv = ["classify", f"@{tmp_path / 'list.csv'}", "--model", micro, *TEXT, "--overwrite", "--quiet"]
    command(*argv, "--out", tmp_path / "list.csv").failed(2, "list.csv is read as the list")
    (tmp_path / "words.csv").write_text("road\nwater\n", encoding="utf-8")
    argv = ["classify", ortho, "--model", micro, "--classes", tmp_path / "words.csv", "--overwrite", "--quiet"]
    command(*argv, "--out", tmp_path / "words.csv").failed(2, "words.csv is read as --classes")


def test_results_of_a_search(command: Command, tmp_path: Path, micro: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    Image.fromarray(patchwork(80, 100, seed=3)).save(archive / "plain.png")
    rasterio.shutil.copy(archive / "plain.png", tmp_path / "v.vrt", driver="VRT")
    index = tmp_path / "index"
    earthwords.index(str(archive / "plain.png"), str(index), model=str(micro), quiet=True, device="cpu")
    before = {path: path.read_bytes() for path in (*index.iterdir(), archive / "plain.png")}
    shape = {"type": "Polygon", "coordinates": [[[50, 20], [60, 20], [60, 30], [50, 20]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    argv = ["search", index, "--overwrite", "--quiet", "--device", "cpu", "--offline"]
    command(*argv, "road", archive / "plain.png").failed(2, "plain.png is the source itself and would be lost")
    like = ["--like", tmp_path / "v.vrt"]
    command(*argv, "-o", archive / "plain.png", *like).failed(2, "plain.png is ", "would be lost")
    command(*argv, "road", index / "tiles.parquet").failed(2, "tiles.parquet is read as tiles.parquet of the index")
    area = tmp_path / "area.geojson"
    command(*argv, "road", area, "--within", area).failed(2, "area.geojson is read as --within")
    assert {path: path.read_bytes() for path in before} == before


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Two images with boxes, as COCO has them."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for i in range(2):
        Image.fromarray(patchwork(60, 80, seed=i)).save(folder / "images" / f"{i:09d}.jpg")
    images = [{"id": i, "file_name": f"{i:09d}.jpg", "width": 80, "height": 60} for i in range(2)]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 30, 20],
         "segmentation": [[5, 5, 35, 5, 35, 25, 5, 25]], "area": 600, "iscrowd": 0}
        for i in range(2)
    ]  # fmt: skip
    table = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ship"}]}
    (folder / "boxes.json").write_text(json.dumps(table), encoding="utf-8")
    return folder


@pytest.mark.parametrize("verb", ["pairs", "expressions"])
def test_lists(command: Command, annotated: Path, tmp_path: Path, verb: str) -> None:
    """Folders that are replaced as a whole: images in them, files of others, and names that are taken."""
    coco = [annotated / "boxes.json", "--images", annotated / "images", "--format", "coco"]
    source, *options = coco
    good = tmp_path / "out" / "list.jsonl"
    done = command(verb, source, good, *options, "--quiet")
    assert done.code == 0, done.err
    target = tmp_path / "x_images"
    (annotated / "images").rename(target)
    moved = ["--images", target, "--format", "coco", "--quiet"]
    if verb == "expressions":
        for i in range(2):
            (target / f"{i:09d}.jpg").rename(target / f"{i:06d}.jpg")
        table = (annotated / "boxes.json").read_text(encoding="utf-8").replace("000000000.jpg", "000000.jpg")
        (annotated / "boxes.json").write_text(table.replace("000000001.jpg", "000001.jpg"), encoding="utf-8")
    before = {path: path.read_bytes() for path in target.iterdir()}
    command(verb, source, tmp_path / "x.jsonl", *moved).failed(2, f"{target} exists; pass --overwrite")
    done = command(verb, source, tmp_path / "x.jsonl", *moved, "--overwrite")
    done.failed(2, "is one of the sources and would be lost")
    (target / "holiday.jpg").write_bytes(b"mine")
    done = command(verb, source, tmp_path / "x.jsonl", *moved, "--overwrite")
    done.failed(2, "holds other files, such as holiday.jpg")
    assert {path: path.read_bytes() for path in before} == before


def test_pairs_leave_files_of_others_alone(command: Command, annotated: Path, tmp_path: Path) -> None:
    source = annotated / "boxes.json"
    options = ["--images", annotated / "images", "--format", "coco", "--quiet"]
    (tmp_path / "x.report.json").write_text("mine", encoding="utf-8")
    command("pairs", source, tmp_path / "x.jsonl", *options).failed(2, "x.report.json exists; pass --overwrite")
    assert (tmp_path / "x.report.json").read_text(encoding="utf-8") == "mine"
    assert command("pairs", source, tmp_path / "shards", *options).code == 0
    (tmp_path / "shards" / "notes.txt").write_text("mine", encoding="utf-8")
    done = command("pairs", source, tmp_path / "shards", *options, "--overwrite")
    done.failed(2, "holds other files, such as notes.txt")
    (tmp_path / "shards" / "notes.txt").unlink()
    assert command("pairs", source, tmp_path / "shards", *options, "--overwrite").code == 0


def test_a_list_that_is_the_source(command: Command, annotated: Path, tmp_path: Path) -> None:
    """A list of images is annotation and destination in one."""
    source, options = annotated / "boxes.json", ["--images", annotated / "images", "--format", "coco", "--quiet"]
    (tmp_path / "l.jsonl").symlink_to(source)
    for verb in ("pairs", "expressions"):
        done = command(verb, source, tmp_path / "l.jsonl", *options, "--overwrite")
        done.failed(2, "l.jsonl is one of the sources and would be lost")


@pytest.mark.parametrize("verb", ["clip", "upsampler", "refer"])
def test_a_training_does_not_end_in_what_it_began_from(
    command: Command, ortho: Path, micro: Path, tmp_path: Path, verb: str
) -> None:
    model = shutil.copytree(micro, tmp_path / "model")
    before = {path: path.read_bytes() for path in model.iterdir()}
    (tmp_path / "list.jsonl").write_text("{}\n", encoding="utf-8")
    source, option = {
        "clip": (tmp_path / "list.jsonl", ["--model", model]),
        "upsampler": (ortho, ["--backbone", model]),
        "refer": (tmp_path / "list.jsonl", ["--words", model]),
    }[verb]
    (model / {"clip": "log.csv", "upsampler": "upsampler.safetensors", "refer": "refseg.safetensors"}[verb]).touch()
    done = command("train", verb, source, model, *option, "--quiet", "--steps", 1)
    done.failed(2, "would be lost; choose another DST")
    assert {path: path.read_bytes() for path in before} == before


def test_a_measurement_does_not_replace_what_it_reads(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    names = tmp_path / "out" / "results.json"
    names.write_text('{"a": "b"}', encoding="utf-8")
    done = command("evaluate", "scenes", "knn", "--data", tmp_path, "--out", tmp_path / "out", "--names", names)
    done.failed(2, "results.json is read as --names and would be lost")


def test_a_download_is_not_replaced_by_what_is_prepared(command: Command, tmp_path: Path) -> None:
    """Images of the download that are links into the folder of an earlier preparation."""
    download = tmp_path / "download"
    make_fake("loveda", download)
    done = command("data", "prepare", "loveda", download, tmp_path / "ready", "--partial", "--quiet")
    assert done.code == 0, done.err
    kept = next(path for path in sorted(download.rglob("*.png")) if "Val" in path.parts)
    inside = next(path for path in sorted((tmp_path / "ready").rglob("*.png")))
    kept.rename(tmp_path / "ready" / "original.png")
    kept.symlink_to(tmp_path / "ready" / "original.png")
    done = command("data", "prepare", "loveda", download, tmp_path / "ready", "--partial", "--quiet", "--overwrite")
    done.failed(2, "original.png is ", "would be lost")
    assert kept.exists() and inside.exists()
