"""`earthwords train upsampler`: from a folder of images to an upsampler that `segment` takes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.conftest import Command, Outcome
from tests.micro import patchwork

from .conftest import Segment, labels_of

Train = Callable[..., Outcome]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 21 images, of which every twentieth is held out."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(21):
        Image.fromarray(patchwork(60, 70 + seed, seed=seed)).save(folder / f"{seed:02d}.png")
    return folder


@pytest.fixture
def train(command: Command, micro: Path, images: Path) -> Train:
    """`train(out, ...)` with the toy model, a few small crops and steps."""

    def run(out: Path, *options: object, backbone: object = micro, source: object = images) -> Outcome:
        small = ("--steps", 4, "--batch-size", 2, "--save-frequency", 2, "--validate-every", 2)
        if "--image-size" not in options:
            small += ("--image-size", 48)
        return command("train", "upsampler", source, out, "--backbone", backbone, "--quiet", *small, *options)

    return run


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, "One image to learn from and none held out: figures are of that image, --held-out names others"),
        (2, "1 image to learn from, 1 held out"),
        (7, "6 images to learn from, 1 held out"),
        (21, "20 images to learn from, 1 held out"),
    ],
)
def test_what_is_held_out_is_told(
    command: Command, micro: Path, images: Path, tmp_path: Path, count: int, told: str
) -> None:
    for path in sorted(images.iterdir())[count:]:
        path.unlink()
    small = ("--steps", 2, "--batch-size", 2, "--validate-every", 1, "--image-size", 48, "--backbone", micro)
    done = command("train", "upsampler", images, tmp_path / "model", *small)
    assert done.code == 0 and told in done.err


@pytest.mark.parametrize("method", ["simfeatup", "jbu", "anyup"])
def test_what_is_trained_segments(
    train: Train, segment: Segment, scene_file: Path, tmp_path: Path, method: str
) -> None:
    size = ("--image-size", 64, "--width", 16) if method == "anyup" else ()
    done = train(tmp_path / "model", "--method", method, *size, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["losses"]
    assert {"crop" if method == "anyup" else "reconstruction", "heldout", "heldout_bilinear"} <= told.keys()
    with safe_open(tmp_path / "model" / "upsampler.safetensors", "pt") as file:
        assert file.metadata()["method"] == method and "micro" in file.metadata()["teachers"]
    rows = list(csv.DictReader((tmp_path / "model" / "log.csv").open()))
    assert [row["step"] for row in rows if row["name"] == "heldout"] == ["2", "4"]
    ups = ("--upsampler", method, "--upsampler-weights")
    assert segment(scene_file, tmp_path / "a.tif", *ups, tmp_path / "model").code == 0
    assert segment(scene_file, tmp_path / "b.tif", *ups, tmp_path / "model" / "upsampler.safetensors").code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), labels_of(tmp_path / "b.tif"))
    other = "jbu" if method == "simfeatup" else "simfeatup"
    refused = segment(scene_file, tmp_path / "c.tif", "--upsampler", other, "--upsampler-weights", tmp_path / "model")
    assert refused.code == 1 and f"does not fit upsampler {other!r}" in refused.err


def test_a_training_goes_on(train: Train, tmp_path: Path) -> None:
    """A finished run, asked again, delivers the same; other options are refused."""
    assert train(tmp_path / "model").code == 0
    first = load_file(tmp_path / "model" / "upsampler.safetensors")
    again = train(tmp_path / "model")
    assert again.code == 0
    second = load_file(tmp_path / "model" / "upsampler.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = train(tmp_path / "model", "--lr", 0.5)
    assert other.code == 2 and "was trained with lr 0.001, not 0.5" in other.err
    assert train(tmp_path / "model", "--lr", 0.5, "--no-resume").code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--method", "simfeatap"), "simfeatap"),
        (("--features", "penultimat"), 'Did you mean "penultimate"'),
        (("--image-size", 50), "50 pixels are no multiple of the backbone's patches of 16"),
        (("--image-size", 0), "--image-size must be above 0"),
        (("--lr", -1), "--lr must be above 0"),
        (("--width", 64), "--width is for anyup and naf"),
        (("--method", "anyup", "--width", 20, "--image-size", 64), "multiple of 8, got 20"),
        (("--method", "anyup", "--image-size", 65), "must be even, got 65"),
        (("--method", "naf", "--width", 24, "--image-size", 288), "multiple of 16, got 24"),
        (("--method", "naf", "--image-size", 256), "9 or more patches of 16 pixels a side, got images of 256"),
        (("--held-out", "nothing/*.tif"), "No raster was found"),
        (("--backbone", "a", "b"), "learns from one backbone"),
    ],
)
def test_wrong_use_is_told(train: Train, tmp_path: Path, options: tuple[object, ...], sentence: str) -> None:
    done = train(tmp_path / "model", *options)
    assert done.code == 2 and sentence in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_an_empty_folder_is_told(train: Train, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = train(tmp_path / "model", source=tmp_path / "empty")
    assert done.code == 2 and "No raster was found" in done.err


def test_georeferenced_rasters_are_images_too(train: Train, scene_file: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "model", "--held-out", scene_file, "--gsd", 3, source=scene_file)
    assert done.code == 0, done.err
