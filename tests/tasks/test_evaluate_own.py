"""`evaluate segmentation FOLDER --classes FILE`: a labelled folder of one's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

import earthwords
from tests.conftest import Command, Outcome
from tests.micro import patchwork

CLASSES = ("road,street", "roof", "water")
SHAPES = {"a": (40, 66), "b": (52, 35), "c": (33, 47)}
PRESET = 'base = "tiny"\nweights = "{micro}"\ntile_size = 32\noverlap = 16\n'


def mask_of(name: str) -> np.ndarray:
    """Blocks of all classes, an edge that does not count."""
    rng = np.random.default_rng(ord(name))
    mask = np.kron(rng.integers(0, len(CLASSES), (9, 9)), np.ones((8, 8), int))[: SHAPES[name][0], : SHAPES[name][1]]
    mask[:3] = 255
    return mask.astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several kinds and sizes, with their masks."""
    folder = tmp_path / "My Tiles"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for (name, shape), suffix in zip(SHAPES.items(), ("png", "tif", "png"), strict=True):
        Image.fromarray(patchwork(*shape, seed=ord(name))).save(folder / "images" / f"{name}.{suffix}")
        Image.fromarray(mask_of(name)).save(folder / "masks" / f"{name}.png")
    (folder / "images" / "b.tif.aux.xml").write_text("<PAMDataset/>")
    (folder / "masks" / ".hidden.png").write_bytes(b"")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


@pytest.fixture
def toml(micro: Path, tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(PRESET.format(micro=micro))
    return path


Measure = Callable[..., Outcome]


@pytest.fixture
def measure(command: Command, folder: Path, toml: Path, tmp_path: Path) -> Measure:
    """`measure(option, ...)` of the folder."""

    def run(*options: object, where: Path = folder) -> Outcome:
        argv = ["--classes", tmp_path / "classes.txt", "--preset", toml, "-o", tmp_path / "out", "--quiet"]
        return command("evaluate", "segmentation", where, *argv, *options)

    return run


def test_figures_are_those_of_the_maps_that_segment_makes(
    measure: Measure, folder: Path, toml: Path, tmp_path: Path
) -> None:
    done = measure("--json")
    assert done.code == 0, done.err
    (entry,) = json.loads(done.out)["results"]
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for path in sorted((folder / "images").glob("?.???")):
        earthwords.segment(str(path), tmp_path / "map.tif", text=CLASSES, preset=str(toml), quiet=True, overwrite=True)
        with rasterio.open(tmp_path / "map.tif") as file:
            found = file.read(1)
        truth = mask_of(path.stem)
        np.add.at(counts, (truth[truth < 255], found[truth < 255]), 1)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    assert (np.array(entry["figures"]["confusion"])[:, :-1] == counts).all() and counts.sum() > 4000
    assert entry["figures"]["tuned"]["IoU"] == pytest.approx(list(100 * np.diag(counts) / union))
    assert entry["figures"]["metric"] == "mIoU" and entry["classes"] == ["road", "roof", "water"]
    assert entry["dataset"] == "my-tiles" and entry["figures"]["images"] == 3
    text = (tmp_path / "out" / "results.md").read_text()
    assert "## Segmentation: your own sets" in text and "| my-tiles | mIoU | 3 |" in text
    assert "my-tiles" in (tmp_path / "out" / "report.html").read_text()


def test_layout_of_mmsegmentation(measure: Measure, folder: Path, tmp_path: Path) -> None:
    plain = json.loads(measure("--json").out)["results"][0]["figures"]["confusion"]
    other = tmp_path / "mm"
    for split in ("train", "val"):
        for kind, source in (("img_dir", "images"), ("ann_dir", "masks")):
            shutil.copytree(folder / source, other / kind / split)
    (other / "img_dir" / "train" / "c.png").unlink()
    (other / "ann_dir" / "train" / "c.png").unlink()
    measure(where=other).failed(2, "splits train, val", "--split")
    measure("--split", "vall", where=other).failed(2, "no split 'vall'", "Did you mean 'val'?")
    done = measure("--split", "val", "--json", where=other)
    assert json.loads(done.out)["results"][0]["figures"]["confusion"] == plain
    shutil.rmtree(other / "img_dir" / "val")
    assert json.loads(measure("--json", where=other).out)["results"][0]["figures"]["images"] == 2


def test_one_class_beside_a_background(measure: Measure, folder: Path, tmp_path: Path) -> None:
    for name in SHAPES:
        Image.fromarray(np.minimum(mask_of(name), 1)).save(folder / "masks" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("background\nroof\n")
    assert json.loads(measure("--json").out)["results"][0]["figures"]["metric"] == "IoU"
    (tmp_path / "classes.txt").write_text("road\nroof\n")
    figures = json.loads(measure("--json").out)["results"][0]["figures"]
    assert figures["metric"] == "mIoU" and figures["tuned"]["mIoU"] is not None


def test_a_folder_with_the_name_of_a_published_set(measure: Measure, folder: Path) -> None:
    found = json.loads(measure("--json", where=folder.rename(folder.with_name("LoveDA"))).out)["results"][0]
    assert found["dataset"] == "own-loveda" and found["figures"]["published"] == []


def change(folder: Path, what: str) -> None:
    """Make something wrong."""
    masks = folder / "masks"
    if what == "no masks":
        shutil.rmtree(masks)
    elif what == "mask missing":
        (masks / "b.png").unlink()
    elif what == "image missing":
        (folder / "images" / "a.png").unlink()
    elif what == "two of one name":
        shutil.copy(folder / "images" / "a.png", folder / "images" / "a.jpg")
    elif what == "size":
        Image.fromarray(mask_of("a").T.copy()).save(masks / "a.png")
    elif what == "value":
        Image.fromarray(np.full(SHAPES["c"], 7, np.uint8)).save(masks / "c.png")
    elif what == "colours":
        Image.fromarray(patchwork(*SHAPES["c"])).save(masks / "c.png")
    elif what == "damaged":
        (masks / "c.png").write_bytes((masks / "c.png").read_bytes()[:60])
    elif what == "empty":
        for path in (folder / "images").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("what", "code", "fragments"),
    [
        ("no masks", 2, ["images and masks or images and labels or img_dir and ann_dir", "it holds images"]),
        ("mask missing", 1, ["1 of 3 files have no mask of the same name", "b.tif"]),
        ("image missing", 1, ["1 of 3 files have no image of the same name", "a.png"]),
        ("two of one name", 1, ["a.jpg and a.png have the same name"]),
        ("size", 1, ["66 x 40 pixels, its image 40 x 66"]),
        ("value", 1, ["holds the value 7", "0 (road) to 2 (water), or 255"]),
        ("colours", 1, ["c.png is an image of mode RGB"]),
        ("damaged", 1, ["c.png"]),
        ("empty", 2, ["images holds no image."]),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_measured(
    measure: Measure, folder: Path, tmp_path: Path, what: str, code: int, fragments: list[str]
) -> None:
    change(folder, what)
    measure().failed(code, *fragments)
    assert not (tmp_path / "out").exists()


def test_refusals(command: Command, measure: Measure, folder: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "out", "--quiet"]
    command("evaluate", "segmentation", folder, *out).failed(2, "is a folder of your own", "--classes FILE")
    command("evaluate", "segmentation", "--classes", tmp_path / "classes.txt", *out).failed(2, "FOLDER --classes FILE")
    measure("--data", tmp_path).failed(2, "FOLDER --classes FILE")
    measure(folder).failed(2, "Two folders are called 'my-tiles'")
    measure(where=tmp_path / "nowhere").failed(2, "nowhere is not a folder")
    command("evaluate", "segmentation", "dubai", "--data", tmp_path, "--split", "val", *out).failed(2, "--split is for")
    command("evaluate", "segmentation", folder, "--classes", tmp_path / "no.txt", *out).failed(
        2, "Cannot read", "no.txt"
    )
    assert not (tmp_path / "out").exists()
