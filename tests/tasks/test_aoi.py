"""`--aoi`: what lies outside of the polygons is not computed, and what lies inside is what it is without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import geometry_mask
from scipy.ndimage import uniform_filter

import earthwords
from earthwords.inference.change import methods
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from earthwords.inference.segment.block_store import BlockStore
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows import blocks
from earthwords.inference.windows.sliding import Encoder
from tests.conftest import CRS, HEIGHT, TRANSFORM, WIDTH, Command
from tests.micro import patchwork
from tests.tasks.conftest import WORDS, Segment, labels_of

NODATA = 255


def in_pixels(*corners: tuple[float, float], holes: list[list[tuple[float, float]]] | None = None) -> shapely.Polygon:
    """A polygon of pixels `(col, row)` in the CRS of the scene."""
    return shapely.Polygon(
        [TRANSFORM @ corner for corner in corners], [[TRANSFORM @ c for c in hole] for hole in holes or []]
    )


HOLE = [(45.3, 30.2), (55.1, 30.2), (50.4, 41.3)]
SHAPES = [
    in_pixels(
        (30.2, 12.1), (88.4, 20.3), (60.7, 70.9), (25.3, 44.4), holes=[[(45.3, 30.2), (55.1, 30.2), (50.4, 41.3)]]
    ),
    in_pixels((90.1, 60.2), (104.9, 60.2), (104.9, 79.8)),
]


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two polygons, one with a hole, in degrees."""
    path = tmp_path_factory.mktemp("aoi") / "fields.geojson"
    geopandas.GeoDataFrame(geometry=SHAPES, crs=CRS).to_crs(4326).to_file(path)
    return path


@pytest.fixture(scope="module")
def bounds() -> tuple[float, ...]:
    return tuple(map(float, shapely.total_bounds(SHAPES)))


def inside(raster: Path) -> np.ndarray:
    """By rasterio: which pixels of an output have their middle in the polygons."""
    with rasterio.open(raster) as dataset:
        return geometry_mask(SHAPES, dataset.shape, dataset.transform, invert=True)


def test_labels_inside_are_those_of_the_bounds(
    segment: Segment, scene_file: Path, fields: Path, bounds: tuple[float, ...], tmp_path: Path
) -> None:
    assert segment(scene_file, tmp_path / "all", "--bounds", *bounds, "--probabilities", "float32").code == 0
    done = segment(scene_file, tmp_path / "out", "--aoi", fields, "--probabilities", "float32", "--json")
    assert done.code == 0, done.err
    whole, found = (labels_of(tmp_path / name / "labels.tif") for name in ("all", "out"))
    wanted = inside(tmp_path / "out" / "labels.tif")
    assert whole.shape == found.shape == wanted.shape
    assert 0.3 < wanted.mean() < 0.6
    np.testing.assert_array_equal(found, np.where(wanted, whole, NODATA))
    for band in range(1, 5):
        with (
            rasterio.open(tmp_path / "all" / "probabilities.tif") as one,
            rasterio.open(tmp_path / "out" / "probabilities.tif") as other,
        ):
            np.testing.assert_array_equal(other.read(band)[wanted], one.read(band)[wanted])
            assert np.isnan(other.read(band)[~wanted]).all()
    report = json.loads(done.out)
    assert sum(entry["pixels"] for entry in report["classes"]) == wanted.sum()
    area = sum(shape.area for shape in SHAPES)
    told = float(report["settings"]["aoi"].split(", ")[1].split()[0])
    assert told == pytest.approx(area, rel=2e-3)
    assert f"Only what lies within fields.geojson is computed: {told / 1e4:.4g} ha" in " ".join(report["notes"])
    polygons = geopandas.read_file(tmp_path / "out" / "polygons.gpkg")
    reached = shapely.union_all(SHAPES).buffer(0.75)
    assert len(polygons) and polygons.within(reached).all()


def test_windows_far_away_are_not_computed(
    segment: Segment, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    logits = Encoder.logits

    def counted(self: Encoder, pixels: Any, *args: Any, **how: Any) -> Any:
        places.append(pixels.shape)
        return logits(self, pixels, *args, **how)

    monkeypatch.setattr(Encoder, "logits", counted)
    thin = in_pixels((2, 2), (6, 2), (186, 122), (182, 122))  # from corner to corner
    geopandas.GeoDataFrame(geometry=[thin], crs=CRS).to_file(tmp_path / "thin.gpkg")
    how = ("--gsd", 0.5, "--overlap", 0)
    assert segment(scene_file, tmp_path / "all.tif", "--bounds", *thin.bounds, *how).code == 0
    whole = len(places)
    places.clear()
    assert segment(scene_file, tmp_path / "thin.tif", "--aoi", tmp_path / "thin.gpkg", *how).code == 0
    assert whole == 9
    assert 3 <= len(places) <= 6


def test_blocks_and_resuming(
    segment: Segment, scene_file: Path, fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segment(scene_file, tmp_path / "one.tif", "--aoi", fields).code == 0
    monkeypatch.setattr(blocks, "PIXELS", 32 * 32)
    save = BlockStore.save

    def dies(self: BlockStore, index: int, result: Any) -> None:
        save(self, index, result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BlockStore, "save", dies)
        assert segment(scene_file, tmp_path / "many.tif", "--aoi", fields).code == 130
    other = tmp_path / "other.gpkg"
    geopandas.GeoDataFrame(geometry=[SHAPES[0]], crs=CRS).to_file(other)
    segment(scene_file, tmp_path / "many.tif", "--aoi", other).failed(2, "aoi", "--no-resume")
    assert segment(scene_file, tmp_path / "many.tif", "--aoi", fields).code == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "many.tif"), labels_of(tmp_path / "one.tif"))


def test_with_bounds_it_is_what_lies_in_both(segment: Segment, scene_file: Path, fields: Path, tmp_path: Path) -> None:
    left, top = TRANSFORM @ (40, 0)
    right, bottom = TRANSFORM @ (200, 35)
    done = segment(scene_file, tmp_path / "part.tif", "--aoi", fields, "--bounds", left, bottom, right, top)
    assert done.code == 0
    with rasterio.open(tmp_path / "part.tif") as dataset:
        frame = shapely.box(left, bottom, right, top)
        cut = shapely.union_all(SHAPES).intersection(frame).bounds
        assert all(a <= b + 1e-6 for a, b in zip(dataset.bounds[:2], cut[:2], strict=True))
        np.testing.assert_allclose(dataset.bounds, cut, atol=0.5)
        wanted = geometry_mask(SHAPES, dataset.shape, dataset.transform, invert=True)
        np.testing.assert_array_equal(dataset.read(1) != NODATA, wanted)


def test_in_memory(segmenter: Segmenter, scene_file: Path, fields: Path) -> None:
    by_file = segmenter.predict(scene_file, WORDS, aoi=fields)
    by_table = segmenter.predict(scene_file, WORDS, aoi=geopandas.GeoDataFrame(geometry=SHAPES, crs=CRS))
    by_shape = segmenter.predict(scene_file, WORDS, aoi=shapely.MultiPolygon(SHAPES))
    np.testing.assert_array_equal(by_file.labels, by_table.labels)
    np.testing.assert_array_equal(by_file.labels, by_shape.labels)
    assert by_file.valid.sum() == (by_file.labels != NODATA).sum() > 1000
    with pytest.raises(earthwords.errors.UsageError, match="a polygon that is not empty, not Point"):
        segmenter.predict(scene_file, WORDS, aoi=shapely.Point(1, 2))


def test_count(command: Command, micro: Path, scene_file: Path, fields: Path, tmp_path: Path) -> None:
    how = (
        "--model",
        micro,
        "--tile-size",
        64,
        "--quiet",
        "-t",
        "building,roof",
        "-t",
        "water",
        "--against",
        "none",
        "--min-area",
        1,
    )
    done = command("count", scene_file, tmp_path / "found.gpkg", *how, "--aoi", fields)
    assert done.code == 0, done.err
    found = geopandas.read_file(tmp_path / "found.gpkg")
    assert len(found) > 2
    assert found.within(shapely.union_all(SHAPES).buffer(0.75)).all()


class BySurroundings(ChangeMethod):
    """What the words say around a pixel differs more than it does on average of the block: many pixels change."""

    sides: ClassVar[tuple[int, ...]] = (32,)

    def margin(self, zoom: float) -> int:
        return 16

    def __call__(self, pair: PairWindow) -> Comparison:
        first, second = (uniform_filter(np.nan_to_num(values[0]), 9) for values in pair.probabilities)
        turned = (1e4 * np.abs(first - second)).astype(np.int64) % 2
        return Comparison(before=np.zeros_like(turned), after=turned, score=turned.astype(np.float32), seen=pair.valid)


def test_change(
    command: Command, micro: Path, make_scene: Callable[..., Path], fields: Path, bounds: tuple[float, ...],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(methods.METHODS, "dense", lambda options: BySurroundings())
    before = make_scene(np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), name="before.tif")
    image = patchwork(HEIGHT, WIDTH)
    image[15:60, 35:85] = patchwork(45, 50, seed=8)
    after = make_scene(np.moveaxis(image, -1, 0), name="after.tif")
    how = ("-t", "building,roof", "-t", "water", "-t", "trees", "--model", micro, "--tile-size", 64)
    how = (*how, "--scales", 1)
    done = command("change", before, after, tmp_path / "all.tif", *how, "--bounds", *bounds)
    assert done.code == 0, done.err
    done = command("change", before, after, tmp_path / "out.tif", *how, "--aoi", fields)
    assert done.code == 0, done.err
    whole, found, wanted = (
        labels_of(tmp_path / "all.tif"),
        labels_of(tmp_path / "out.tif"),
        inside(tmp_path / "out.tif"),
    )
    assert 0.2 < (whole[wanted] > 0).mean() < 0.8
    np.testing.assert_array_equal(found[wanted], whole[wanted])
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert (found[~wanted] == dataset.nodata).all()


def test_upsample(
    command: Command, micro: Path, scene_file: Path, fields: Path, bounds: tuple[float, ...], tmp_path: Path
) -> None:
    how = ("--model", micro, "--tile-size", 64, "--method", "bilinear", "--quiet")
    assert command("upsample", scene_file, tmp_path / "all.tif", *how, "--bounds", *bounds).code == 0
    shared = ("--pca", tmp_path / "all.pca.safetensors")
    done = command("upsample", scene_file, tmp_path / "out.tif", *how, "--aoi", fields, *shared)
    assert done.code == 0, done.err
    wanted = inside(tmp_path / "out.tif")
    with rasterio.open(tmp_path / "all.tif") as one, rasterio.open(tmp_path / "out.tif") as other:
        np.testing.assert_array_equal(other.read(2)[wanted], one.read(2)[wanted])
        assert np.isnan(other.read(2)[~wanted]).all()


def test_suggest(command: Command, micro: Path, scene_file: Path, fields: Path, tmp_path: Path) -> None:
    how = ("--model", micro, "--quiet", "-t", "road", "-t", "trees", "-n", 6, "--gsd", 0.5)
    done = command("suggest", scene_file, tmp_path / "todo.gpkg", *how, "--aoi", fields)
    assert done.code == 0, done.err
    places = geopandas.read_file(tmp_path / "todo.gpkg")
    assert len(places) == 6
    assert places.within(shapely.union_all(SHAPES).buffer(0.1)).all()


@pytest.mark.parametrize(
    "shapes, crs, sentence",
    [
        ([shapely.Point(326_420, 2_781_100)], CRS, "holds Point; areas are polygons"),
        ([], CRS, "holds no polygons, so there are no areas in it"),
        ([shapely.box(10, 10, 20, 20)], CRS, "No polygon of odd.gpkg lies in the part of"),
        ([shapely.box(326_420, 2_781_100, 326_440, 2_781_120)], None, "has no CRS, but the scene has one"),
    ],
)
def test_refusals(
    segment: Segment, scene_file: Path, tmp_path: Path, shapes: list[Any], crs: Any, sentence: str
) -> None:
    geopandas.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=crs).to_file(tmp_path / "odd.gpkg")
    done = segment(scene_file, tmp_path / "out.tif", "--aoi", tmp_path / "odd.gpkg")
    assert done.code in (1, 2) and done.err.count("\n") == 1, done.err
    assert sentence in done.err
    assert not (tmp_path / "out.tif").exists()


def test_a_file_that_is_read_is_not_replaced(segment: Segment, scene_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(geometry=SHAPES, crs=CRS).to_file(path)
    segment(scene_file, path, "--aoi", path, "--overwrite").failed(2, "is read as --aoi and would be lost")
