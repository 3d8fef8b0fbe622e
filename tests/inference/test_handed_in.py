"""What Python hands in gives what the file gives: arrays with a place, open datasets, named dimensions, masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

from earthwords.archive.embedder import Embedder
from earthwords.inference.refer.referrer import Referrer
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.presets import SEGMENT_PRESETS
from tests.conftest import CRS, HEIGHT, TRANSFORM, WIDTH

WORDS = ["building,roof", "road", "water"]
PLACE = {"transform": TRANSFORM, "crs": CRS}


@dataclass
class Named:
    """The least that an array with named dimensions has."""

    values: np.ndarray
    dims: tuple[str, ...]
    coords: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> Any:
        return self.values.dtype


@dataclass
class Coordinate:
    values: Any
    attrs: dict[str, Any]


def named(image: np.ndarray) -> Named:
    x = TRANSFORM.c + 0.5 * (np.arange(WIDTH) + 0.5)
    y = TRANSFORM.f - 0.5 * (np.arange(HEIGHT) + 0.5)
    wkt = rasterio.crs.CRS.from_string(CRS).to_wkt()
    coords = {"x": Coordinate(x, {}), "y": Coordinate(y, {}), "spatial_ref": Coordinate(0, {"crs_wkt": wkt})}
    return Named(image.transpose(2, 1, 0), ("band", "x", "y"), coords)


def test_all_give_the_same_map(segmenter: Segmenter, scene_file: Path, image: np.ndarray) -> None:
    expected = segmenter.predict(scene_file, WORDS, nodata=0)
    with rasterio.open(scene_file) as dataset, MemoryFile(scene_file.read_bytes()) as memory, memory.open() as inside:
        found = {
            "dataset": segmenter.predict(dataset, WORDS, nodata=0),
            "memory": segmenter.predict(inside, WORDS, nodata=0),
            "array": segmenter.predict(image, WORDS, nodata=0, **PLACE),
            "named": segmenter.predict(named(image), WORDS, nodata=0),
        }
        assert not dataset.closed and not inside.closed
    for name, result in found.items():
        np.testing.assert_array_equal(result.labels, expected.labels, err_msg=name)
        np.testing.assert_array_equal(result.score, expected.score, err_msg=name)
        assert (result.grid.crs, result.grid.transform) == (expected.grid.crs, expected.grid.transform), name


def test_a_map_of_an_array_is_saved_where_it_lies(segmenter: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    segmenter.predict(image, WORDS, **PLACE).save(tmp_path / "labels.tif")
    with rasterio.open(tmp_path / "labels.tif") as written:
        assert written.crs == rasterio.crs.CRS.from_string(CRS) and written.transform == TRANSFORM


def test_the_size_of_pixels_is_all_that_square_metres_need(
    segmenter: Segmenter, image: np.ndarray, tmp_path: Path
) -> None:
    """And the model works at the finest resolution that it knows, as with files."""
    known = Segmenter(replace(segmenter.preset, gsd=(0.25, 1.0)), segmenter.encoder)
    result = known.predict(image, WORDS, gsd=0.1)
    assert result.labels.shape == image.shape[:2]
    assert result.grid.gsd_m == pytest.approx(0.1)
    assert result.tags["EARTHWORDS_GSD"].startswith("0.25")
    frame = result.to_geodataframe()
    assert frame["area_m2"].sum() == pytest.approx(0.01 * (result.labels != 255).sum())
    result.save(tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "labels.tif") as written:
        assert written.res == (0.1, 0.1)


def test_masks_leave_nodata(segmenter: Segmenter, scene_file: Path, image: np.ndarray) -> None:
    shown = np.ones(image.shape[:2], bool)
    shown[20:60, 30:90] = False
    plain = segmenter.predict(scene_file, WORDS)
    for source, options in ((scene_file, {}), (image, {**PLACE, "nodata": 0})):
        result = segmenter.predict(source, WORDS, mask=shown, **options)
        assert (result.labels[~shown] == 255).all() and not result.valid[~shown].any()
        np.testing.assert_array_equal(result.labels != 255, (plain.labels != 255) & shown)
        assert any("The mask" in note for note in result.notes)
        assert "EARTHWORDS_MASK" in result.tags


def test_vectors_of_datasets_and_arrays(micro: Path, scene_file: Path, image: np.ndarray) -> None:
    embedder = Embedder.from_preset(replace(SEGMENT_PRESETS["tiny"], gsd=None), model=micro, device="cpu")
    expected = embedder.image(scene_file, nodata=0)
    with rasterio.open(scene_file) as dataset:
        np.testing.assert_array_equal(embedder.image(dataset, nodata=0), expected)
    np.testing.assert_array_equal(embedder.image(named(image), nodata=0), expected)
    np.testing.assert_array_equal(embedder.image(image, nodata=0, gsd=0.5), expected)
    hidden = embedder.image(image, nodata=0, mask=np.arange(WIDTH)[None] < np.full((HEIGHT, 1), 90))
    assert not np.array_equal(hidden, expected)


def test_pointing_at_things_in_a_dataset(scene_file: Path) -> None:
    referrer = Referrer.from_preset("refseg-tiny", device="cpu")
    expected = referrer.predict(scene_file, "the large building")
    with rasterio.open(scene_file) as dataset:
        found = referrer.predict(dataset, "the large building", mask=np.ones((HEIGHT, WIDTH), bool))
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_names_of_bands_that_are_no_text(segmenter: Segmenter, image: np.ndarray, tmp_path: Path) -> None:
    """Python takes any name; files and terminals do not."""
    array = named(image)
    array.coords["band"] = Coordinate(np.array(["\x1b[31m\udcff", "a\ud800", "green"], object), {})
    result = segmenter.predict(array, WORDS)
    assert all(note.isprintable() for note in result.notes)
    assert any(r"\x1b[31m\xff" in note for note in result.notes)
    result.save(tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        told = dataset.tags()["EARTHWORDS_BANDS"]
    assert r"\xff" in told and r"\ud800" in told and told.isprintable()
    result.save(tmp_path / "w.gpkg")
    result.save(tmp_path / "w.png")
