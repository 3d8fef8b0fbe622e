"""Random crops: where they lie, what is continued, what is filled, and that the same seed draws the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.manifests.crops import OPEN, Crops
from earthwords.errors import SourceError


def ramps(height: int, width: int) -> NDArray[np.uint8]:
    """`(row, col, 3)`: row, column, and a constant, so that a crop tells where it was taken."""
    rows, cols = np.mgrid[:height, :width]
    return np.stack([rows, cols, np.full_like(rows, 200)], axis=-1).astype(np.uint8)


def picture(path: Path, height: int, width: int) -> str:
    Image.fromarray(ramps(height, width)).save(path)
    return str(path)


def test_crops_are_pieces_of_the_image(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", 70, 90)
    drawn = np.rint(Crops([image])(np.random.default_rng(0), 20, 24) * 255).astype(int)
    assert drawn.shape == (20, 3, 24, 24)
    places = set()
    for crop in drawn:
        row, col = crop[0, 0, 0], crop[1, 0, 0]
        assert 0 <= row <= 46 and 0 <= col <= 66
        assert np.array_equal(crop, ramps(70, 90)[row : row + 24, col : col + 24].transpose(2, 0, 1))
        places.add((row, col))
    assert len(places) > 15


def test_small_images_are_reflected(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", 12, 30)
    crop = np.rint(Crops([image])(np.random.default_rng(0), 1, 20)[0] * 255).astype(int)
    left = crop[1, 0, 0]
    expected = np.pad(ramps(12, 30)[:, left : left + 20], ((4, 4), (0, 0), (0, 0)), mode="reflect")
    assert np.array_equal(crop, expected.transpose(2, 0, 1))


def test_seeds_and_sources_decide(tmp_path: Path) -> None:
    images = [picture(tmp_path / f"{i}.png", 40, 30 + i) for i in range(3)]
    crops = Crops(images)
    first = crops(np.random.default_rng(5), 6, 16)
    assert np.array_equal(first, Crops(images)(np.random.default_rng(5), 6, 16))
    assert not np.array_equal(first, crops(np.random.default_rng(6), 6, 16))
    assert crops.digest != Crops(images[:2]).digest != Crops(images[:2], gsd=2.0).digest


def test_unobserved_pixels_take_the_mean_and_are_avoided(tmp_path: Path) -> None:
    path = tmp_path / "hole.tif"
    data = np.full((3, 40, 64), 100, np.uint8)
    data[:, :, :32] = 0
    profile = {"driver": "GTiff", "crs": "EPSG:32617", "transform": Affine(2, 0, 404211.9, 0, -2, 3285142.9)}
    with rasterio.open(path, "w", height=40, width=64, count=3, dtype="uint8", nodata=0, **profile) as dataset:
        dataset.write(data)
    drawn = Crops([str(path)])(np.random.default_rng(0), 8, 16) * 255
    np.testing.assert_allclose(drawn, 100, atol=1e-3)


def test_few_scenes_stay_open(tmp_path: Path) -> None:
    images = [picture(tmp_path / f"{i}.png", 8, 9) for i in range(OPEN + 5)]
    crops = Crops(images)
    crops(np.random.default_rng(0), 500, 8)
    assert len(crops._open) == OPEN


def test_no_images_and_broken_ones_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no images"):
        Crops([])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(SourceError, match=r"a\.png"):
        Crops([str(tmp_path / "a.png")])(np.random.default_rng(0), 1, 8)
