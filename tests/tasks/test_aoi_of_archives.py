"""`--aoi` of the verbs that look at many rasters, at marks or at maps: what lies outside is left out, and told."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import geometry_mask

import earthwords
from earthwords.archive.storage import Stored
from earthwords.inference.teach.marked_pixels import read_examples
from tests.conftest import CRS, HEIGHT, TRANSFORM, WIDTH, Command, write_raster
from tests.micro import patchwork

FAR = TRANSFORM @ Affine.translation(5000, 0)
WORDS = ["bare land", "trees,roof", "water"]


def in_pixels(*corners: tuple[float, float]) -> shapely.Polygon:
    """A polygon of pixels `(col, row)` in the CRS of the scene."""
    return shapely.Polygon([TRANSFORM @ corner for corner in corners])


PART = in_pixels((12.3, 8.2), (150.4, 10.1), (170.2, 95.3), (30.1, 110.4))


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A polygon in degrees."""
    path = tmp_path / "part.gpkg"
    geopandas.GeoDataFrame(geometry=[PART], crs=CRS).to_crs(4326).to_file(path)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere.gpkg"
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 9, 9)], crs=CRS).to_file(path)
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """One scene under the polygon, one far away."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    data = np.maximum(np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), 1)
    write_raster(folder / "near.tif", data, photometric="RGB")
    write_raster(folder / "far.tif", data, photometric="RGB", transform=FAR)
    return folder


def inside() -> np.ndarray:
    """By rasterio: pixels of the scene whose middle lies in the polygon."""
    return geometry_mask([PART], (HEIGHT, WIDTH), TRANSFORM, invert=True)


def test_index(command: Command, micro: Path, scenes: Path, part: Path, elsewhere: Path, tmp_path: Path) -> None:
    how = ("--model", micro, "--device", "cpu", "--offline", "--tile-size", 32, "--overlap", 8)
    assert command("index", scenes / "near.tif", tmp_path / "all", *how).code == 0
    done = command("index", scenes, tmp_path / "some", *how, "--aoi", part, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["sources"] == 1 and "1 source beside the polygons of part.gpkg left out." in report["notes"]
    every, some = Stored(tmp_path / "all"), Stored(tmp_path / "some")
    rows = [tuple(row) for row in geopandas.read_parquet(tmp_path / "all" / "tiles.parquet")[["row", "col"]].values]
    kept = geopandas.read_parquet(tmp_path / "some" / "tiles.parquet")
    wanted, shares = inside(), []
    for row, col in rows:
        shares.append(wanted[row : row + 32, col : col + 32].mean())
    assert [tuple(row) for row in kept[["row", "col"]].values] == [
        place for place, share in zip(rows, shares, strict=True) if share >= 0.5
    ]
    assert 0.2 * len(rows) < len(kept) < len(rows) and report["skipped"] == len(rows) - len(kept)
    np.testing.assert_allclose(kept["valid"], [share for share in shares if share >= 0.5], rtol=1e-6)
    same = np.load(tmp_path / "all" / "vectors.npy")[np.array(shares) >= 0.5]
    np.testing.assert_array_equal(np.load(tmp_path / "some" / "vectors.npy"), same, "what lies around is seen")
    assert every.settings.get("aoi") is None and some.settings["aoi"].startswith("part.gpkg ")
    command("index", scenes, tmp_path / "some", *how).failed(2, "was made with aoi part.gpkg")
    done = command("index", scenes, tmp_path / "none", *how, "--aoi", elsewhere)
    done.failed(2, "No polygon of elsewhere.gpkg lies in any of 2 sources")
    assert not (tmp_path / "none").exists()


def test_classify(micro: Path, scenes: Path, part: Path, elsewhere: Path, tmp_path: Path) -> None:
    with rasterio.open(scenes / "near.tif") as dataset:
        data = np.where(inside(), dataset.read(), 0)
    rows, cols = (np.flatnonzero(inside().any(axis=axis)) for axis in (1, 0))
    left, top, right, bottom = 12, 8, 171, 111
    assert left <= cols[0] and top <= rows[0] and right > cols[-1] and bottom > rows[-1]
    cut = write_raster(tmp_path / "cut.tif", data[:, top:bottom, left:right], nodata=0, photometric="RGB")
    how = {"text": WORDS, "model": str(micro), "image_size": 32, "quiet": True}
    alone = earthwords.classify(str(cut), **how)
    found = earthwords.classify(str(scenes), aoi=part, out=tmp_path / "table.json", **how)
    assert [row.source for row in found.rows] == [str(scenes / "near.tif")]
    assert found.rows[0].name == alone.rows[0].name
    assert found.rows[0].score == pytest.approx(alone.rows[0].score, abs=1e-5)
    whole = earthwords.classify(str(scenes / "near.tif"), **how)
    assert abs(whole.rows[0].score - found.rows[0].score) > 1e-4
    assert len(found.failures) == 1 and "No polygon of part.gpkg lies in the part of" in found.failures[0]
    with pytest.raises(earthwords.UsageError, match=r"No polygon of elsewhere.gpkg"):
        earthwords.classify(str(scenes), aoi=elsewhere, **how)


def test_teach(command: Command, micro: Path, scenes: Path, part: Path, elsewhere: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    places = np.column_stack([rng.uniform(0, WIDTH, 60), rng.uniform(0, HEIGHT, 60)])
    points = geopandas.GeoDataFrame(
        {"class": np.where(places[:, 0] < 90, "moss", "sand")},
        geometry=[shapely.Point(TRANSFORM @ place) for place in places], crs=CRS,
    )  # fmt: skip
    points.to_file(tmp_path / "marks.gpkg")
    (tmp_path / "small.toml").write_text(f'base = "tiny"\nweights = "{micro}"\ntile_size = 64\noverlap = 32\n')
    how = ("--scenes", scenes, "--preset", tmp_path / "small.toml", "--quiet")
    done = command("teach", tmp_path / "marks.gpkg", tmp_path / "out", *how, "--aoi", part, "--json")
    assert done.code == 0, done.err
    there = int(inside()[np.floor(places[:, 1]).astype(int), np.floor(places[:, 0]).astype(int)].sum())
    notes = json.loads(done.out)["notes"]
    assert f"{60 - there} marked pixels outside of part.gpkg left out." in notes
    assert "1 scene beside the area of interest left out." in notes
    examples = read_examples(tmp_path / "out")
    assert len(examples) == there and 15 < there < 55
    assert inside()[tuple(examples.pixels.T)].all()
    assert inside()[tuple(examples.around_pixels.T)].all() and len(examples.around_pixels) > 100
    done = command("teach", tmp_path / "marks.gpkg", tmp_path / "no", *how, "--aoi", elsewhere)
    done.failed(2, "No polygon of elsewhere.gpkg lies in")
    points[~points.buffer(1).intersects(PART)].to_file(tmp_path / "beside.gpkg")
    command("teach", tmp_path / "beside.gpkg", tmp_path / "no", *how, "--aoi", part).failed(2, "No mark lies within")
    assert not (tmp_path / "no").exists()


def test_assess(command: Command, part: Path, elsewhere: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    mapped = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, 3, truth.shape), truth).astype(np.uint8)
    write_raster(tmp_path / "map.tif", mapped[None], nodata=255)
    write_raster(tmp_path / "cut.tif", np.where(inside(), mapped, 255)[None].astype(np.uint8), nodata=255)
    write_raster(tmp_path / "truth.tif", truth[None])
    how = ("--truth", tmp_path / "truth.tif", "--json")
    found, cut = (
        json.loads(command("assess", tmp_path / name, *how, *more).out)
        for name, more in (("map.tif", ("--aoi", part)), ("cut.tif", ()))
    )
    for name in ("confusion", "overall", "areas", "total_area"):
        assert found.get(name) == cut.get(name)
    assert any("Only what lies within part.gpkg counts" in note for note in found["notes"])
    drawn = command("assess", tmp_path / "map.tif", "--draw", 60, "-o", tmp_path / "points.gpkg", "--aoi", part)
    assert drawn.code == 0, drawn.err
    points = geopandas.read_file(tmp_path / "points.gpkg")
    assert len(points) == 60 and points.within(PART.buffer(0.1)).all()
    command("assess", tmp_path / "map.tif", *how, "--aoi", elsewhere).failed(2, "No polygon of elsewhere.gpkg lies in")
    command("assess", tmp_path / "map.tif", *how, "--aoi", tmp_path / "nothing.gpkg").failed(1, "does not exist")


def test_a_part_of_a_raster_of_classes_is_what_the_file_has(part: Path, tmp_path: Path) -> None:
    from earthwords.geo.class_raster import open_classes
    from earthwords.geo.vectors.aoi import aoi_of

    codes = np.random.default_rng(2).integers(0, 9, (1, HEIGHT, WIDTH)).astype(np.float32)
    write_raster(tmp_path / "codes.tif", codes)
    with open_classes(tmp_path / "codes.tif", aoi=aoi_of(part)) as raster:
        values, valid = raster.read(20, 60)
        rows, cols = np.mgrid[5:HEIGHT:9, 5:WIDTH:7].reshape(2, -1)
        at, seen = raster.at(rows, cols)
        nothing = raster.read(HEIGHT - 10, 10)[1]
    np.testing.assert_array_equal(valid, inside()[20:80])
    np.testing.assert_array_equal(values[valid], codes[0, 20:80][valid])
    np.testing.assert_array_equal(seen, inside()[rows, cols])
    np.testing.assert_array_equal(at[seen], codes[0, rows, cols][seen])
    assert not nothing.any()
