"""Images in memory behave as files do."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import SourceError, UsageError
from earthwords.geo.scene import open_scene
from earthwords.types import Window

SHAPE = (37, 53)


def image(rng: np.random.Generator, dtype: str, bands: int = 3) -> np.ndarray:
    return (rng.random((*SHAPE, bands)) * np.array([250, 120, 60, 255])[:bands] + 1).astype(dtype)


def test_an_image_is_a_scene_in_pixels(rng: np.random.Generator) -> None:
    array = image(rng, "uint8")
    with open_scene(array) as scene:
        raster = scene.read(Window(row=5, col=11, height=20, width=13))
    np.testing.assert_array_equal(raster.data, (np.moveaxis(array, -1, 0) / 255).astype(np.float32)[:, 5:25, 11:24])
    assert raster.valid.all()
    assert (scene.native.shape, scene.native.crs, scene.native.transform.is_identity) == (SHAPE, None, True)
    assert scene.region == Window(row=0, col=0, height=37, width=53)
    assert scene.tags()["EARTHWORDS_SOURCE"] == "array"


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_other_types_are_stretched(rng: np.random.Generator, dtype: str) -> None:
    array = image(rng, dtype)
    scene = open_scene(array)
    np.testing.assert_allclose(scene.stretch.high, np.percentile(array.reshape(-1, 3), 98, axis=0))
    assert open_scene(array, stretch="0,100").stretch.high == (100, 100, 100)


def test_grey_is_repeated(rng: np.random.Generator) -> None:
    grey = image(rng, "uint8")[..., 0]
    data = open_scene(grey).read_native(Window(row=0, col=0, height=37, width=53)).data
    np.testing.assert_array_equal(data, np.stack([grey] * 3))


def test_transparent_and_nan_pixels_are_invalid(rng: np.random.Generator) -> None:
    array = image(rng, "float32", 4)
    array[3, 4, 3] = 0
    array[5, 6, 1] = np.nan
    valid = open_scene(array).read(Window(row=0, col=0, height=37, width=53)).valid
    assert not valid[3, 4] and not valid[5, 6]
    assert valid.sum() == valid.size - 2


def test_few_valid_pixels_between_the_samples_are_found() -> None:
    array = np.full((1501, 2003, 3), np.nan, np.float32)
    array[701, 1001] = (1, 2, 3)
    assert open_scene(array).stretch.low == (1, 2, 3)


def test_an_image_without_a_valid_pixel_is_refused() -> None:
    with pytest.raises(SourceError, match="no valid pixel"):
        open_scene(np.full((5, 7, 3), np.nan))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((5, 7, 2)), r"must be \(row, col, 3\), .* got \(5, 7, 2\)\."),
        (np.zeros((3, 5, 7)), r"got \(3, 5, 7\); move the bands last"),
        (np.zeros((0, 7, 3)), r"got \(0, 7, 3\)"),
        (np.zeros(7), r"got \(7,\)"),
        (np.zeros((5, 7, 3), bool), "must hold numbers, got bool"),
        (np.zeros((5, 7, 3), complex), "must hold numbers, got complex128"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_scene(array)


def test_metres_need_a_crs(rng: np.random.Generator) -> None:
    scene = open_scene(image(rng, "uint8"))
    with pytest.raises(UsageError, match="without a CRS"):
        scene.at(2.0)
    assert scene.at(None).grid == scene.native


def test_a_closed_image_says_so(rng: np.random.Generator) -> None:
    scene = open_scene(image(rng, "uint8"))
    scene.close()
    with pytest.raises(SourceError, match="was closed"):
        scene.read(Window(row=0, col=0, height=1, width=1))
