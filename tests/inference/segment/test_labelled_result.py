"""A segmentation as an xarray Dataset: rioxarray finds its place, and it comes back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from earthwords.errors import UsageError
from earthwords.inference.segment.labelled_result import to_dataset
from earthwords.types import ClassName, Grid, Segmentation, Vocabulary

WORDS = Vocabulary(classes=tuple(ClassName(names=(n,), colour=(i, 9, 2)) for i, n in enumerate(("bare land", "sea"))))


def result(transform: Affine, crs: int | None) -> Segmentation:
    rng = np.random.default_rng(3)
    labels = rng.choice(np.array([0, 1, 255], np.uint8), (5, 8))
    grid = Grid(height=5, width=8, transform=transform, crs=None if crs is None else CRS.from_epsg(crs))
    return Segmentation(
        labels=labels, score=rng.random((5, 8), np.float32), grid=grid, vocabulary=WORDS,
        probabilities=rng.random((2, 5, 8), np.float32), tags={"EARTHWORDS_PRESET": "tiny"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "transform, crs",
    [
        (Affine(0.5, 0, 326_417.5, 0, -0.5, 2_781_133), 32640),
        (Affine(0.001, 0, 54.25, 0, -0.002, 24.5), 4326),
        (Affine(0.4, 0.3, 326_417.5, 0.3, -0.4, 2_781_133), 32640),
    ],
)
def test_rioxarray_finds_the_place(tmp_path: Path, transform: Affine, crs: int) -> None:
    pytest.importorskip("rioxarray", reason="rioxarray is not installed")
    made = result(transform, crs)
    found = to_dataset(made)
    assert found.rio.crs.to_epsg() == crs
    assert found["labels"].rio.transform().almost_equals(transform, 1e-9)
    assert found["labels"].rio.nodata == 255
    found["labels"].rio.to_raster(tmp_path / "labels.tif")
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), made.labels)
        assert dataset.transform.almost_equals(transform, 1e-9)
        assert (dataset.crs.to_epsg(), dataset.nodata) == (crs, 255)


def test_what_is_in_it() -> None:
    pytest.importorskip("xarray", reason="xarray is not installed")
    made = result(Affine(0.5, 0, 326_417.5, 0, -0.5, 2_781_133), 32640)
    found = to_dataset(made)
    assert made.probabilities is not None
    np.testing.assert_array_equal(found["probabilities"].sel({"class": "sea"}), made.probabilities[1])
    np.testing.assert_array_equal(found["score"], made.score)
    assert found["labels"].attrs["flag_meanings"] == "bare_land sea"
    assert found["x"].values[[0, -1]].tolist() == [326_417.75, 326_421.25]
    assert found["y"].values[[0, -1]].tolist() == [2_781_132.75, 2_781_130.75]
    assert found.attrs == {"EARTHWORDS_PRESET": "tiny"}
    assert "crs_wkt" not in to_dataset(result(Affine.identity(), None))["spatial_ref"].attrs


def test_without_xarray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(UsageError, match=r"needs xarray: pip install \"earthwords\[xarray\]\""):
        to_dataset(result(Affine.identity(), None))
