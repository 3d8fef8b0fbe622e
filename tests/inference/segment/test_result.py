"""A segmentation in memory: saved, shown, taken to geopandas."""

from __future__ import annotations

import io
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image

from earthwords.errors import UsageError
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.types import Segmentation

WORDS = ["building,roof", "road", "water", "trees"]


@pytest.fixture(scope="module")
def result(segmenter: Segmenter, scene_file: Path) -> SegmentationResult:
    return segmenter.predict(scene_file, WORDS, probabilities=True)


def test_it_is_a_segmentation(result: SegmentationResult) -> None:
    assert isinstance(result, Segmentation)
    assert repr(result).startswith("SegmentationResult(130 x 190 pixels: building ")
    shares = [float(part.split()[-1].rstrip("%)")) for part in repr(result).split(": ")[1].split(", ")]
    known = result.labels[result.labels < 4]
    np.testing.assert_allclose(shares, 100 * np.bincount(known, minlength=4) / known.size, atol=0.06)


def test_polygons_for_geopandas(result: SegmentationResult) -> None:
    frame = result.to_geodataframe()
    assert list(frame.columns) == ["id", "class", "label", "score", "area_m2", "geometry"]
    assert frame.crs == result.grid.crs
    for label, title in enumerate(result.vocabulary.titles):
        rows = frame[frame["class"] == title]
        pixels = int((result.labels == label).sum())
        assert pixels > 0
        assert rows.geometry.area.sum() == pytest.approx(0.25 * pixels, rel=1e-6)
        assert rows["area_m2"].sum() == pytest.approx(0.25 * pixels, rel=2e-3), "ground metres, not the map's"
        assert (rows["label"] == label).all()
        mean = (rows["score"] * rows.geometry.area).sum() / rows.geometry.area.sum()
        assert mean == pytest.approx(result.score[result.labels == label].mean(), abs=1e-4)


def test_small_polygons_can_be_left_out(result: SegmentationResult) -> None:
    every, large = result.to_geodataframe(), result.to_geodataframe(min_area=50)
    assert 0 < len(large) < len(every)
    assert len(large) == (every["area_m2"] >= 50).sum()


def test_without_any_polygon_the_columns_stay(result: SegmentationResult) -> None:
    none = result.to_geodataframe(min_area=1e9)
    assert len(none) == 0
    assert list(none.columns) == ["id", "class", "label", "score", "area_m2", "geometry"]
    assert none["score"].dtype == np.float32 and none["id"].dtype == np.int64


def test_a_picture(result: SegmentationResult) -> None:
    picture = result.plot()
    assert picture.mode == "RGB" and picture.width > 2 * 190
    small = result.plot(max_side=95)
    assert small.size != picture.size
    shown = Image.open(io.BytesIO(result._repr_png_()))
    assert shown.format == "PNG"
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(picture))


def test_a_picture_of_an_array_without_a_place(segmenter: Segmenter, image: np.ndarray) -> None:
    found = segmenter.predict(image, WORDS)
    assert found.plot().width > 2 * 190
    frame = found.to_geodataframe()
    assert frame.crs is None and frame["area_px"].sum() == 130 * 190


def test_saved_labels_are_the_labels(result: SegmentationResult, tmp_path: Path) -> None:
    report = result.save(tmp_path / "labels.tif")
    assert set(report.outputs) == {"labels"} and [p.name for p in tmp_path.iterdir()].count("labels.tif") == 1
    with rasterio.open(tmp_path / "labels.tif") as written:
        np.testing.assert_array_equal(written.read(1), result.labels)
        assert written.transform == result.grid.transform and written.crs.to_epsg() == 32640
        assert written.tags()["EARTHWORDS_PRESET"] == "micro"


def test_a_folder_gets_everything(result: SegmentationResult, tmp_path: Path) -> None:
    report = result.save(tmp_path / "out", probabilities="uint8", min_area=20)
    names = {"labels.tif", "polygons.gpkg", "preview.png", "labels.qml", "polygons.qml", "report.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names | {"probabilities.tif", "labels.tif.aux.xml"}
    assert report.source == result.source
    with Image.open(tmp_path / "out" / "preview.png") as preview:
        np.testing.assert_array_equal(np.asarray(preview), np.asarray(result.plot()))
    frame = geopandas.read_file(tmp_path / "out" / "polygons.gpkg")
    assert len(frame) == len(result.to_geodataframe(min_area=20)) == sum(c.polygons or 0 for c in report.classes)


def test_an_existing_file_is_kept(result: SegmentationResult, tmp_path: Path) -> None:
    (tmp_path / "labels.tif").write_text("mine")
    with pytest.raises(UsageError, match="exists; pass --overwrite"):
        result.save(tmp_path / "labels.tif")
    assert (tmp_path / "labels.tif").read_text() == "mine"
    result.save(tmp_path / "labels.tif", overwrite=True)
    with rasterio.open(tmp_path / "labels.tif") as written:
        assert written.shape == (130, 190)


def test_the_source_is_not_overwritten(result: SegmentationResult) -> None:
    before = Path(result.source).read_bytes()
    with pytest.raises(UsageError, match="is the source itself"):
        result.save(result.source, overwrite=True)
    assert Path(result.source).read_bytes() == before


def test_probabilities_that_were_not_kept(segmenter: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    found = segmenter.predict(image, WORDS)
    with pytest.raises(UsageError, match="call predict with probabilities=True"):
        found.save(tmp_path / "out", probabilities="float32")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "sentence"), [("map.jpg", "suffix must be one of"), ("s3://b/x.tif", "local path")])
def test_where_it_cannot_go(result: SegmentationResult, name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        result.save(name)
    assert not Path("s3:").exists()
