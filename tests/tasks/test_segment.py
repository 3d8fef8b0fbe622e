"""`earthwords segment`: every form of DST, the options, and every way to fail with one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import earthwords
from earthwords.errors import UsageError
from earthwords.inference.result import SegmentationResult
from earthwords.inference.segmenter import Segmenter
from earthwords.presets import SEGMENT_PRESETS
from earthwords.tasks.segment import adapt_preset
from earthwords.types import SceneReport
from tests.conftest import TRANSFORM, Command, Outcome

WORDS = ["building,roof", "road", "water", "trees"]
TEXT = [part for words in WORDS for part in ("-t", words)]
BUNDLE = {"labels.tif", "labels.tif.aux.xml", "labels.qml", "polygons.gpkg", "polygons.qml", "preview.png"} | {
    "report.json"
}

Segment = Callable[..., Outcome]


@pytest.fixture
def segment(command: Command, micro: Path) -> Segment:
    """`segment(src, dst, ...)` with the toy model, small windows and nothing said."""

    def run(src: object, dst: object, *options: object, words: list[str] = TEXT) -> Outcome:
        return command("segment", src, dst, "--model", micro, "--tile-size", 64, "--quiet", *words, *options)

    return run


@pytest.fixture(scope="module")
def expected(segmenter: Segmenter, scene_file: Path) -> SegmentationResult:
    return segmenter.predict(scene_file, WORDS, probabilities=True)


def labels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def names(folder: Path) -> set[str]:
    """All that is in a folder, hidden things included; empty where there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


# ---- what comes out


@pytest.mark.parametrize("name", ["labels.tif", "LABELS.TIFF"])
def test_labels(segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult, name: str) -> None:
    done = segment(scene_file, tmp_path / "new" / name)
    assert (done.code, done.err) == (0, "")
    np.testing.assert_array_equal(labels_of(tmp_path / "new" / name), expected.labels)
    assert names(tmp_path / "new") == {name, f"{name}.aux.xml"}


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
def test_polygons(
    segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult, suffix: str
) -> None:
    path = tmp_path / f"found{suffix}"
    assert segment(scene_file, path).code == 0
    assert names(tmp_path) == {path.name}
    frame = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    wanted = expected.to_geodataframe()
    assert len(frame) == len(wanted) > 20
    assert frame["class"].value_counts().to_dict() == wanted["class"].value_counts().to_dict()
    assert frame["area_m2"].sum() == pytest.approx(wanted["area_m2"].sum(), rel=1e-6)
    assert frame["score"].between(0.2, 1).all()
    assert frame.crs.to_epsg() == (4326 if suffix == ".geojson" else 32640)
    if suffix != ".geojson":
        assert frame.geometry.area.sum() == pytest.approx(0.25 * expected.valid.sum())
        np.testing.assert_allclose(frame.total_bounds, wanted.total_bounds)


def test_a_picture(segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult) -> None:
    assert segment(scene_file, tmp_path / "map.png").code == 0
    with Image.open(tmp_path / "map.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected.plot()))
    assert names(tmp_path) == {"map.png"}


@pytest.mark.parametrize("form", ["no suffix", "folder", "folder with a dot"])
def test_a_folder(segment: Segment, scene_file: Path, tmp_path: Path, form: str) -> None:
    folder = tmp_path / ("out.v2" if form == "folder with a dot" else "out")
    if form != "no suffix":
        folder.mkdir()
    done = segment(scene_file, folder, "--json")
    assert names(folder) == BUNDLE
    report = json.loads(done.out)
    assert report == json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert {Path(p).parent for p in report["outputs"].values()} == {folder}


def test_the_python_function_returns_the_report(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    report = earthwords.segment(
        str(scene_file), tmp_path / "out", text=WORDS, model=str(micro), tile_size=64, bands=[3, 2, 1], quiet=True
    )
    assert isinstance(report, SceneReport)
    assert json.loads(json.dumps(report.as_json())) == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report.settings["bands"] == "3,2,1 (blue, green, red)"


def test_a_class_file_says_the_same_as_options(
    segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult
) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("building,roof\nroad\n\nwater\ntrees\n")
    assert segment(scene_file, tmp_path / "a.tif", "--classes", classes, words=[]).code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), expected.labels)


def test_a_background_takes_the_pixels_below_the_threshold(
    segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult
) -> None:
    assert segment(scene_file, tmp_path / "a.tif", "--threshold", 0.6, "--background", "water").code == 0
    weak = expected.valid & (expected.score < 0.6)
    labels = labels_of(tmp_path / "a.tif")
    assert (labels[weak] == 2).all() and (labels[~weak] == expected.labels[~weak]).all()


def test_bands_swap(segment: Segment, scene_file: Path, tmp_path: Path, segmenter: Segmenter) -> None:
    assert segment(scene_file, tmp_path / "a.tif", "-b", "3,1,2").code == 0
    wanted = segmenter.predict(scene_file, WORDS, bands=[3, 1, 2])
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), wanted.labels)
    assert (wanted.labels != segmenter.predict(scene_file, WORDS).labels).mean() > 0.1


def test_a_part_of_it(segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult) -> None:
    bounds = ("326_430", "2_781_080", "326_460", "2_781_125")
    done = segment(scene_file, tmp_path / "a.tif", "--bounds", *(b.replace("_", "") for b in bounds))
    assert done.code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), expected.labels[16:106, 25:85])


def test_working_coarser(segment: Segment, scene_file: Path, tmp_path: Path, segmenter: Segmenter) -> None:
    assert segment(scene_file, tmp_path / "a.tif", "--gsd", 1.2).code == 0
    wanted = segmenter.predict(scene_file, WORDS, gsd=1.2)
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), wanted.labels)


def test_working_as_coarse_as_the_preset_knows(
    segment: Segment, scene_file: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    (tmp_path / "coarse.toml").write_text('base = "tiny"\ngsd = [1.2, 4.0]\n')
    assert segment(scene_file, tmp_path / "a.tif", "--preset", tmp_path / "coarse.toml").code == 0
    wanted = segmenter.predict(scene_file, WORDS, gsd=1.2)
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), wanted.labels)


def test_another_upsampler_does_not_inherit_the_weights() -> None:
    published = SEGMENT_PRESETS["segearth-ov"]
    assert published.upsampler_weights is not None
    assert adapt_preset(published, upsampler="simfeatup") == published
    for name, expected in (("jbu", "jbu"), ("none", None)):
        row = adapt_preset(published, upsampler=name)
        assert (row.upsampler, row.upsampler_weights) == (expected, None)


def test_windows_that_are_only_resized_overlap_by_half() -> None:
    row = adapt_preset(SEGMENT_PRESETS["tiny"], upsampler=None, tile_size=100, overlap=None, attention=None)
    assert (row.tile_size, row.overlap, row.attention) == (100, 50, "segearth")
    row = adapt_preset(SEGMENT_PRESETS["tiny"], upsampler=None, tile_size=100, overlap=0)
    assert (row.tile_size, row.overlap) == (100, 0)


def test_creation_options(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    assert segment(scene_file, tmp_path / "a.tif", "--co", "compress=ZSTD", "--co", "BLOCKSIZE=128").code == 0
    with rasterio.open(tmp_path / "a.tif") as written:
        assert written.compression.name == "zstd" and written.block_shapes == [(128, 128)]


@pytest.mark.parametrize(("dst", "name"), [("out", "probabilities.tif"), ("a.tif", "a_probabilities.tif")])
def test_probabilities(
    segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult, dst: str, name: str
) -> None:
    assert segment(scene_file, tmp_path / dst, "--probabilities", "float32").code == 0
    folder = tmp_path / "out" if dst == "out" else tmp_path
    with rasterio.open(folder / name) as written:
        np.testing.assert_array_equal(written.read(), expected.probabilities)


def test_small_polygons_are_left_out(
    segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult
) -> None:
    assert segment(scene_file, tmp_path / "a.gpkg", "--min-area", 50).code == 0
    areas = geopandas.read_file(tmp_path / "a.gpkg")["area_m2"]
    assert sorted(areas) == sorted(a for a in expected.to_geodataframe()["area_m2"] if a >= 50)


def test_simplified_outlines_have_fewer_corners(
    segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult
) -> None:
    assert segment(scene_file, tmp_path / "a.gpkg", "--simplify", 1.0).code == 0
    simple, exact = geopandas.read_file(tmp_path / "a.gpkg"), expected.to_geodataframe()
    assert len(simple) == len(exact)
    assert simple.geometry.count_coordinates().sum() < 0.7 * exact.geometry.count_coordinates().sum()
    assert simple.geometry.is_valid.all()


def test_an_older_output_is_replaced_when_asked(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    assert segment(scene_file, tmp_path / "out").code == 0
    before = (tmp_path / "out" / "report.json").read_bytes()
    assert segment(scene_file, tmp_path / "out", "--overwrite", words=["-t", "sea"]).code == 0
    assert (tmp_path / "out" / "report.json").read_bytes() != before
    assert names(tmp_path / "out") == BUNDLE


def test_what_it_says(command: Command, micro: Path, image: np.ndarray, make_scene: Callable[..., Path]) -> None:
    source = make_scene(np.moveaxis(image, -1, 0), nodata=0)
    dst = source.parent / "out"
    done = command("segment", source, dst, "--model", micro, "--tile-size", 64, *TEXT)
    assert done.code == 0
    assert "building" in done.out and "m2" in done.out and "polygons" in done.out
    assert f"preview: {dst / 'preview.png'}" in done.err
    assert "tiny" not in done.err, "the notice about the embedded model is for the embedded model"
    assert all(line.strip() for line in done.err.splitlines())


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
    segment(tmp_path, tmp_path / "out").failed(1, "is a folder, not a raster")
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
        (["--attention", "clearclp"], "Unknown attention 'clearclp'. Did you mean 'clearclip'?"),
        (["--upsampler", "simfeatupp"], "Unknown upsampler 'simfeatupp'. Did you mean 'simfeatup'?"),
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
    for model in ("model.pt", "folder"):
        done = command("segment", scene_file, tmp_path / "o", "-t", "road", "--quiet", "--model", tmp_path / model)
        done.failed(1, f"Cannot read weights from {tmp_path / model}")
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
    segment(scene_file, tmp_path / "a.shp").failed(2, "Cannot write a.shp: the suffix must be one of .tif, .gpkg")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("dst", ["s3://bucket/labels.tif", "https://host/x/labels.tif", "/vsis3/bucket/labels.tif"])
def test_an_output_in_the_cloud(
    segment: Segment, scene_file: Path, tmp_path: Path, dst: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    segment(scene_file, dst).failed(2, "is not a local path; write to a local file and upload that")
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

    monkeypatch.setattr("earthwords.geo.picture.PreviewBuilder.image", fail)
    segment(scene_file, tmp_path / "out").failed(
        1, "Unexpected failure (ZeroDivisionError: division by zero); run again with --debug"
    )
    assert names(tmp_path) == set()
