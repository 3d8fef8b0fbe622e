"""Real rasters through the whole verb: the labels lie exactly on the source."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from earthwords.tasks.segment import segment

FILES: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "naip": ("naip_m_4709963_se_14_1_20180716.tif", {}, 26914),
    "sixteen bits": ("spacenet/sample_geotiff.tif", {"bands": "1,1,1"}, 32616),
    "degrees": ("landsat_2020.tif", {"bands": "3,2,1"}, 4326),
    "ten centimetres": ("trees/OSBS_029.tif", {"gsd": 0.15}, 32617),
    "no crs": ("trees/2019_YELL_2_541000_4977000_image_crop.tiff", {}, None),
}

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.mark.parametrize("kind", FILES)
def test_labels_lie_exactly_on_the_source(kind: str, real: Path, micro: Path, tmp_path: Path) -> None:
    name, options, code = FILES[kind]
    words = ["building,roof", "road", "water", "trees"]
    report = segment(
        str(real / name), tmp_path / "out", text=words, model=str(micro), tile_size=64, overlap=0, quiet=True, **options
    )
    with rasterio.open(real / name) as source, rasterio.open(tmp_path / "out" / "labels.tif") as written:
        assert (written.crs, written.transform, written.shape) == (source.crs, source.transform, source.shape)
        assert (written.crs.to_epsg() if written.crs else None) == code
        labels, valid = written.read(1), source.dataset_mask() != 0
    assert (labels[valid] < 4).mean() > 0.999 and len(np.unique(labels[valid])) >= 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        frame = geopandas.read_file(tmp_path / "out" / "polygons.gpkg")
    assert (frame.crs.to_epsg() if frame.crs else None) == code
    assert frame.geometry.is_valid.all()
    area = "area_px" if code is None else "area_m2"
    if code is None:
        assert all(row.area_m2 is None for row in report.classes)
        assert frame[area].sum() == (labels < 4).sum()
    else:
        assert frame[area].sum() == pytest.approx(sum(row.area_m2 or 0 for row in report.classes), rel=1e-5)
    assert len(frame) == sum(row.polygons or 0 for row in report.classes)
