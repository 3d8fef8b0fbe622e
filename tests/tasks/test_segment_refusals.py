"""`earthwords segment` and what it cannot do: one sentence, the right exit code, nothing left behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save_file

import earthwords
from earthwords.errors import UsageError
from tests.conftest import TRANSFORM, Command, Outcome
from tests.tasks.conftest import Segment, names

# ---- bad sources


def test_a_missing_source(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    wrong = scene_file.with_name("scenes.tif")
    segment(wrong, tmp_path / "out").failed(1, f"{wrong} does not exist. Did you mean", "scene.tif")
    assert names(tmp_path) == set()


def test_a_truncated_source(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tif"
    cut.write_bytes(scene_file.read_bytes()[:40_000])
    segment(cut, tmp_path / "out").failed(1, "cut.tif", "damaged", "copy or download it again")
    assert names(tmp_path) == {"cut.tif"}


def test_a_source_that_is_no_raster(segment: Segment, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a raster, and a long enough text to be sure of that\n" * 10)
    segment(tmp_path / "notes.txt", tmp_path / "out").failed(1, "is not a raster that GDAL can read")
    segment(tmp_path, tmp_path / "out").failed(2, f"No raster was found for {tmp_path}; a folder is searched for .tif")
    assert names(tmp_path) == {"notes.txt"}


def test_two_bands_where_three_are_needed(
    segment: Segment, make_scene: Callable[..., Path], image: np.ndarray, tmp_path: Path
) -> None:
    source = make_scene(np.moveaxis(image[..., :2], -1, 0))
    segment(source, tmp_path / "out").failed(2, "has 2 bands and three are needed", "--bands 1,2,2")
    segment(source, tmp_path / "out", "--bands", "1,2,3").failed(2, "Band 3 does not exist")
    segment(source, tmp_path / "out", "--bands", "1,2").failed(2, "Three bands are needed")
    assert segment(source, tmp_path / "a.tif", "--bands", "1,2,2").code == 0


def test_a_container_of_rasters(segment: Segment, tmp_path: Path) -> None:
    path = tmp_path / "two.gpkg"
    profile = {"driver": "GPKG", "height": 9, "width": 17, "count": 3, "dtype": "uint8", "crs": "EPSG:32640"}
    for table, mode in (("first", "NO"), ("second", "YES")):
        options = {"RASTER_TABLE": table, "APPEND_SUBDATASET": mode}
        with rasterio.open(path, "w", transform=TRANSFORM, **profile, **options) as dataset:
            dataset.write(np.full((3, 9, 17), 7, np.uint8))
    segment(path, tmp_path / "out").failed(1, "holds several rasters; name one of them: GPKG:")
    assert not (tmp_path / "out").exists()


def test_no_bands_at_all(segment: Segment, tmp_path: Path) -> None:
    empty = tmp_path / "empty.vrt"
    empty.write_text('<VRTDataset rasterXSize="13" rasterYSize="7"></VRTDataset>')
    segment(empty, tmp_path / "out").failed(1, "is not a raster that GDAL can read")
    assert names(tmp_path) == {"empty.vrt"}


def test_nothing_but_nodata(segment: Segment, make_scene: Callable[..., Path], tmp_path: Path) -> None:
    source = make_scene(np.zeros((3, 40, 60), np.uint8), nodata=0)
    segment(source, tmp_path / "out").failed(1, "has no valid pixel", "check the nodata value")
    assert not (tmp_path / "out").exists()


def test_bounds_elsewhere(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    segment(scene_file, tmp_path / "out", "--bounds", 1, 2, 3, 4).failed(2, "do not touch the scene", "EPSG:32640")
    segment(scene_file, tmp_path / "out", "--bounds", 3, 2, 1, 4).failed(2, "WEST SOUTH EAST NORTH")
    assert not (tmp_path / "out").exists()


# ---- bad words


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ([], "No words to look for"),
        (["-t", " , "], "The class ' , ' has no name"),
        (["-t", "road", "-t", "water,Road"], "The word 'road' is given twice"),
        (["-t", ",".join(f"word {i}" for i in range(5000))], "5,000 words are too many"),
        (["-t", "road", "--background", "sea"], "The background 'sea' is not among the classes"),
    ],
)
def test_wrong_words(segment: Segment, scene_file: Path, tmp_path: Path, words: list[str], fragment: str) -> None:
    segment(scene_file, tmp_path / "out", words=words).failed(2, fragment)
    assert names(tmp_path) == set()


def test_words_twice_over(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("road\n")
    segment(scene_file, tmp_path / "out", "--classes", tmp_path / "c.txt").failed(2, "either by -t or by --classes")
    segment(scene_file, tmp_path / "out", "--classes", tmp_path / "d.txt", words=[]).failed(2, "d.txt")


def test_a_string_instead_of_words(scene_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Give a list of classes"):
        earthwords.segment(str(scene_file), tmp_path / "out", text="road")


# ---- bad names and numbers


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--preset", "segearth"], "Unknown preset 'segearth'. Did you mean 'segearth-ov'?"),
        (["--preset", "mine.toml"], "Cannot read the preset mine.toml"),
        (["--attention", "clearclp"], 'for --attention. Choose from: "vanilla"'),
        (["--upsampler", "simfeatupp"], 'Did you mean "simfeatup"?'),
        (["--templates", "openai_80"], "Unknown template set 'openai_80'. Did you mean 'openai80'?"),
        (["--device", "gpu"], "Device 'gpu' is not available here"),
        (["--co", "COMPRESS"], "Creation option 'COMPRESS' is not KEY=VAL"),
        (["--co", "COMPRES=LZW"], "Unknown creation option 'COMPRES'. Did you mean 'COMPRESS'?"),
        (["--stretch", "percentil"], "Unknown stretch 'percentil'. Did you mean 'percentile'?"),
        (["--bands", "red,green,bleu"], "Unknown band 'bleu'. Did you mean 'blue'?"),
        (["--probabilities", "float16"], "float16"),
        (["--overlap", "64"], "Windows of 64 pixels with an overlap of 64 are impossible"),
        (["--batch-size", "0"], "got a batch of 0"),
        (["--threshold", "1.5"], "between 0 and 1, got 1.5"),
        (["--min-area", "-3"], "cannot be negative"),
        (["--gsd", "0"], "must be a positive number of metres"),
        (["--nodata", "300"], "The nodata value 300 cannot occur in uint8 data"),
        (["--batch-size", "many"], 'unable to convert "many" into int'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(segment: Segment, scene_file: Path, tmp_path: Path, options: list[str], fragment: str) -> None:
    segment(scene_file, tmp_path / "out", *options).failed(2, fragment)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"attention": "clearclp"}, "Unknown attention 'clearclp'. Did you mean 'clearclip'?"),
        ({"upsampler": "simfeatupp"}, "Unknown upsampler 'simfeatupp'. Did you mean 'simfeatup'?"),
        ({"blend_mode": "max"}, "Unknown blend mode 'max'. Known: cosine, linear, mean, tukey."),
        ({"probabilities": "int8"}, "Probabilities are one of no, uint8, float32"),
    ],
)
def test_python_is_told_too(
    micro: Path, scene_file: Path, tmp_path: Path, option: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        earthwords.segment(str(scene_file), tmp_path / "out", text=["road"], model=str(micro), quiet=True, **option)
    assert names(tmp_path) == set()


def test_a_model_that_does_not_exist(command: Command, scene_file: Path, tmp_path: Path) -> None:
    def run(model: str) -> Outcome:
        return command("segment", scene_file, tmp_path / "out", "-t", "road", "--quiet", "--offline", "--model", model)

    run("openai-vit-b16").failed(2, "Unknown model 'openai-vit-b16'. Did you mean 'openai-vit-b-16'?")
    run("./no/such/model.pt").failed(1, "No checkpoint at ./no/such/model.pt")
    run("nobody/nothing").failed(1, "nobody/nothing", "run once without --offline")
    assert names(tmp_path) == set()


@pytest.fixture
def broken(micro: Path, tmp_path: Path) -> Path:
    """A copy of the toy model to break."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in micro.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_checkpoint_with_missing_names(command: Command, broken: Path, scene_file: Path, tmp_path: Path) -> None:
    state = load_file(broken / "model.safetensors")
    missing = sorted(name for name in state if "text_model.encoder.layers.1" in name)
    save_file({k: v for k, v in state.items() if k not in missing}, broken / "model.safetensors")
    done = command("segment", scene_file, tmp_path / "out", "-t", "road", "--quiet", "--model", broken)
    done.failed(1)
    assert sum(name in done.err for name in missing) == 3, "the first three are told"
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_the_wrong_shape(command: Command, broken: Path, scene_file: Path, tmp_path: Path) -> None:
    state = load_file(broken / "model.safetensors")
    state["visual_projection.weight"] = torch.zeros(7, 32)
    save_file(state, broken / "model.safetensors")
    done = command("segment", scene_file, tmp_path / "out", "-t", "road", "--quiet", "--model", broken)
    done.failed(1, "visual_projection.weight")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_none(command: Command, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("certainly no checkpoint")
    (tmp_path / "folder").mkdir()
    for model, why in (("model.pt", "Cannot read weights from {}"), ("folder", "{} is not a CLIP folder")):
        done = command("segment", scene_file, tmp_path / "o", "-t", "road", "--quiet", "--model", tmp_path / model)
        done.failed(1, why.format(tmp_path / model))
    assert names(tmp_path) == {"model.pt", "folder"}


# ---- bad places


def test_an_output_that_exists(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    for name in ("labels.tif", "polygons.qml"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text("mine")
        segment(scene_file, folder).failed(2, f"{folder / name} exists; pass --overwrite")
        assert names(folder) == {name} and (folder / name).read_text() == "mine"


def test_an_unknown_suffix(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    segment(scene_file, tmp_path / "a.kml").failed(2, "Cannot write a.kml: the suffix must be one of .tif, .gpkg")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("dst", ["s3://bucket/labels.tif", "https://host/x/labels.tif", "/vsis3/bucket/labels.tif"])
def test_an_output_in_the_cloud(
    segment: Segment, scene_file: Path, tmp_path: Path, dst: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    segment(scene_file, dst).failed(2, "is not a local path; write to a local one and upload that")
    assert names(tmp_path) == set()


def test_a_folder_below_a_file(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    segment(scene_file, tmp_path / "file").failed(1, "Cannot make the folder", "is a file")
    segment(scene_file, tmp_path / "file" / "deep" / "a.tif").failed(1, "Cannot make the folder", "is a file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, which even root cannot write to")
def test_a_folder_that_cannot_be_written_to(segment: Segment, scene_file: Path) -> None:
    segment(scene_file, "/proc/earthwords").failed(1, "Cannot make the folder /proc/earthwords")
    segment(scene_file, "/proc/labels.tif").failed(1, "/proc")


def test_the_source_is_not_overwritten(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "labels.tif"
    source.write_bytes(scene_file.read_bytes())
    for dst in (source, tmp_path):
        segment(source, dst, "--overwrite").failed(2, "is the source itself and would be lost")
    assert source.read_bytes() == scene_file.read_bytes() and names(tmp_path) == {"labels.tif"}


# ---- the traceback


def test_a_traceback_on_request(segment: Segment, tmp_path: Path) -> None:
    done = segment(tmp_path / "missing.tif", tmp_path / "out", "--debug")
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err and "SourceError" in done.err
    assert done.err.splitlines()[-1].startswith("earthwords: ")


def test_a_failure_nobody_foresaw(
    segment: Segment, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, *args: object, **options: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("earthwords.viz.preview.PreviewBuilder.image", fail)
    segment(scene_file, tmp_path / "out").failed(
        1, "Unexpected failure (ZeroDivisionError: division by zero); run again with --debug"
    )
    assert names(tmp_path) == set()
