"""`earthwords segment`: every form of DST, the options, and every way to fail with one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image

import earthwords
from earthwords.inference.options import adapt_preset
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import SEGMENT_PRESETS
from earthwords.reports import SceneReport
from tests.conftest import Command
from tests.tasks.conftest import BUNDLE, TEXT, WORDS, Segment, labels_of, names


@pytest.fixture(scope="module")
def like_tiny(micro: Path) -> Segmenter:
    """The toy model with small windows, as the fixture `segment` runs it."""
    return Segmenter.from_preset(replace(SEGMENT_PRESETS["tiny"], tile_size=64, overlap=32), model=micro, device="cpu")


@pytest.fixture(scope="module")
def expected(like_tiny: Segmenter, scene_file: Path) -> SegmentationResult:
    return like_tiny.predict(scene_file, WORDS, probabilities=True)


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


def test_bands_swap(segment: Segment, scene_file: Path, tmp_path: Path, like_tiny: Segmenter) -> None:
    assert segment(scene_file, tmp_path / "a.tif", "-b", "3,1,2").code == 0
    wanted = like_tiny.predict(scene_file, WORDS, bands=[3, 1, 2])
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), wanted.labels)
    assert (wanted.labels != like_tiny.predict(scene_file, WORDS).labels).mean() > 0.1


def test_a_part_of_it(segment: Segment, scene_file: Path, tmp_path: Path, expected: SegmentationResult) -> None:
    bounds = ("326_430", "2_781_080", "326_460", "2_781_125")
    done = segment(scene_file, tmp_path / "a.tif", "--bounds", *(b.replace("_", "") for b in bounds))
    assert done.code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), expected.labels[16:106, 25:85])


def test_working_coarser(segment: Segment, scene_file: Path, tmp_path: Path, like_tiny: Segmenter) -> None:
    assert segment(scene_file, tmp_path / "a.tif", "--gsd", 1.2).code == 0
    wanted = like_tiny.predict(scene_file, WORDS, gsd=1.2)
    np.testing.assert_array_equal(labels_of(tmp_path / "a.tif"), wanted.labels)


def test_working_as_coarse_as_the_preset_knows(
    segment: Segment, scene_file: Path, tmp_path: Path, like_tiny: Segmenter
) -> None:
    (tmp_path / "coarse.toml").write_text('base = "tiny"\ngsd = [1.2, 4.0]\n')
    assert segment(scene_file, tmp_path / "a.tif", "--preset", tmp_path / "coarse.toml").code == 0
    wanted = like_tiny.predict(scene_file, WORDS, gsd=1.2)
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
    preset = source.parent / "finer.toml"
    preset.write_text('base = "tiny"\nupsampler = "jbu"\nupsampler_weights = "tiny-jbu"\n')
    done = command("segment", source, dst, "--preset", preset, "--model", micro, "--tile-size", 64, *TEXT)
    assert done.code == 0
    assert "building" in done.out and "m2" in done.out and "polygons" in done.out
    assert f"preview: {dst / 'preview.png'}" in done.err
    assert "embedded" not in done.err, "the notice about the embedded model is for the embedded model"
    assert "Note: The upsampler tiny-jbu belongs to tiny" in done.err
    assert all(line.strip() for line in done.err.splitlines())


def test_less_energy_tells_its_ranks(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    options = ["--upsampler", "bilinear", "--energy", 0.6]
    assert segment(scene_file, tmp_path / "out", *options).code == 0
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    low, high = map(int, settings["ranks"].split(" to "))
    assert 1 <= low <= high <= 16, "tokens of a window"
    assert settings["energy"] == "0.6"
    assert segment(scene_file, tmp_path / "exact", "--upsampler", "bilinear", "--energy", 1).code == 0
    assert "ranks" not in json.loads((tmp_path / "exact" / "report.json").read_text())["settings"]


def test_blending_is_recorded_and_changes_the_map(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    for blend in ("mean", "cosine"):
        assert segment(scene_file, tmp_path / f"{blend}.tif", "--blend-mode", blend).code == 0
        with rasterio.open(tmp_path / f"{blend}.tif") as dataset:
            assert dataset.tags()["EARTHWORDS_BLEND"] == blend
    assert (labels_of(tmp_path / "mean.tif") != labels_of(tmp_path / "cosine.tif")).any()
