"""Polygons from strips equal those of the whole array in one shot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.features import rasterize, shapes
from scipy import ndimage
from shapely.geometry import shape

from earthwords.errors import UsageError
from earthwords.geo.vectors.vectorize import PolygonCollector, polygon_schema
from earthwords.types import ClassName, Grid, VectorLayer, Vocabulary

TURNED = Affine(2, 0.3, 5e5, 0.2, -2, 4e6)
UTM = CRS.from_epsg(32617)
CLASSES = Vocabulary(classes=tuple(ClassName(names=(name, name * 2), colour=(1, 2, 3)) for name in "abcd"))


def smooth_labels(seed: int, height: int, width: int, *, blur: float, holes: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(4, height, width)), (0, blur, blur))
    labels = noise.argmax(0).astype(np.uint8)
    labels[rng.random(labels.shape) < holes] = CLASSES.nodata
    return labels


def scores(labels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(9).random(labels.shape, np.float32)


def collect(grid: Grid, labels: np.ndarray, *, rows: int = 5, **options: Any) -> VectorLayer:
    """All batches as one layer."""
    collector = PolygonCollector(grid=grid, vocabulary=CLASSES, **options)
    score = scores(labels)
    layers: list[VectorLayer] = []
    for row in range(0, grid.height, rows):
        collector.add(row, labels[row : row + rows], score[row : row + rows])
        layers += collector.drain()
    layers += collector.finish()
    names = polygon_schema(grid)
    columns = {name: np.concatenate([layer.columns[name] for layer in layers] or [[]]) for name in names}
    geometries = np.concatenate([layer.geometries for layer in layers] or [np.zeros(0, object)])
    return VectorLayer(geometries=geometries, columns=columns, crs=grid.crs)


def grid_of(labels: np.ndarray, transform: Affine = TURNED, crs: CRS | None = UTM) -> Grid:
    return Grid(height=labels.shape[0], width=labels.shape[1], transform=transform, crs=crs)


def one_shot(labels: np.ndarray, transform: Affine) -> list[tuple[int, str]]:
    found = shapes(labels, mask=labels != CLASSES.nodata, connectivity=4, transform=transform)
    return sorted((int(label), shapely.normalize(shape(polygon)).wkt) for polygon, label in found)


def as_texts(layer: VectorLayer) -> list[tuple[int, str]]:
    texts = [polygon.wkt for polygon in shapely.normalize(layer.geometries)]
    return sorted(zip(layer.columns["label"].tolist(), texts, strict=True))


@st.composite
def few_labels(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 9)))
    values = [*range(draw(st.integers(1, 3))), CLASSES.nodata]
    cells = draw(st.lists(st.sampled_from(values), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(cells, np.uint8).reshape(shape)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(1, 40),
    width=st.integers(1, 50),
    blur=st.sampled_from([0, 0.7, 1.5, 4]),
    strip=st.integers(1, 45),
    rows=st.integers(1, 45),
)
def test_any_strips_give_the_polygons_of_the_whole(
    seed: int, height: int, width: int, blur: float, strip: int, rows: int
) -> None:
    labels = smooth_labels(seed, height, width, blur=blur)
    grid = grid_of(labels)
    layer = collect(grid, labels, rows=rows, strip_rows=strip)
    assert as_texts(layer) == one_shot(labels, grid.transform)
    assert shapely.is_valid(layer.geometries).all()


@settings(max_examples=150, deadline=None)
@given(labels=few_labels(), strip=st.integers(1, 12), rows=st.integers(1, 12))
def test_pieces_that_touch_in_corners_become_one_in_any_order(labels: np.ndarray, strip: int, rows: int) -> None:
    """Few labels on few pixels: corners where a component meets itself, known only strips later, are everywhere."""
    grid = grid_of(labels)
    layer = collect(grid, labels, rows=rows, strip_rows=strip)
    assert as_texts(layer) == one_shot(labels, grid.transform)
    assert shapely.is_valid(layer.geometries).all()


def test_a_ring_splits_where_it_turns_out_to_touch_itself() -> None:
    """A spiral of steps: until its last row nobody knows that its arms are one."""
    labels = np.zeros((9, 9), np.uint8)
    labels[[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]] = 1
    labels[1:, 0] = labels[8] = labels[2:, 1] = labels[7] = 1
    labels[3:, 2] = labels[4:, 3] = labels[5:, 4] = labels[6:, 5] = 1
    labels[3, 1] = labels[5, 2] = labels[6, 4] = 0
    layer = collect(grid_of(labels), labels, strip_rows=1)
    assert as_texts(layer) == one_shot(labels, TURNED)
    assert shapely.is_valid(layer.geometries).all()


def test_shells_turn_one_way_and_holes_the_other() -> None:
    """As in GDAL: on a map whose rows go south the inside is on the left of the way."""
    labels = smooth_labels(11, 40, 51, blur=1.5)
    layer = collect(grid_of(labels), labels, strip_rows=7)
    shells = shapely.get_exterior_ring(layer.geometries)
    holes = shapely.get_rings(layer.geometries)
    assert shapely.is_ccw(shells).all()
    assert shapely.is_ccw(holes).sum() == len(shells) < len(holes)


def test_open_outlines_take_four_bytes_a_corner() -> None:
    """A comb with holes, one component: whatever is known of it so far lies in plain arrays."""
    labels = np.zeros((300, 1000), np.uint8)
    labels[1::2, ::2] = CLASSES.nodata
    labels[:-2, 1::40] = CLASSES.nodata
    collector = PolygonCollector(grid=grid_of(labels), vocabulary=CLASSES, strip_rows=50)
    collector.add(0, labels[:250], np.ones((250, 1000), np.float32))
    outlines = collector._outlines
    stores = [part for store in outlines._stores.values() for part in [*store.values.parts, *store.sizes.parts]]
    chains = [part for chain in outlines._chains for part in chain.parts]
    collector.add(250, labels[250:], np.ones((50, 1000), np.float32))
    vertices = max(shapely.get_num_coordinates(layer.geometries).max() for layer in collector.finish())
    assert vertices > 3e5
    assert sum(part.nbytes for part in [*stores, *chains]) < 5 * vertices
    assert len(stores) < vertices / 2000  # few arrays, so what Python adds to each does not count
    assert len(chains) < 1000  # one for each column at most
    assert not outlines._stores and not outlines._chains


@pytest.mark.parametrize("strip", [1, 4, 17, 64])
def test_scores_and_areas_are_those_of_the_pixels(strip: int) -> None:
    labels = smooth_labels(4, 41, 63, blur=1.5)
    place = Affine(1, 0, 5e5, 0, -1, 4e6)
    layer = collect(grid_of(labels, place), labels, strip_rows=strip)
    burnt = zip(layer.geometries, layer.columns["id"], strict=True)
    ids = rasterize(burnt, labels.shape, transform=place, dtype="int32")
    index = layer.columns["id"]
    np.testing.assert_allclose(layer.columns["score"], ndimage.mean(scores(labels), ids, index), atol=1e-6)
    np.testing.assert_array_equal(layer.columns["label"], ndimage.maximum(labels, ids, index))
    np.testing.assert_array_equal(ids > 0, labels != CLASSES.nodata)
    np.testing.assert_allclose(layer.columns["area_m2"], shapely.area(layer.geometries), rtol=2e-3)


def test_the_caller_chooses_the_rows_and_nothing_changes() -> None:
    labels = smooth_labels(5, 60, 31, blur=1.5)
    first, second = (collect(grid_of(labels), labels, rows=rows, strip_rows=16) for rows in (1, 60))
    assert shapely.equals_exact(first.geometries, second.geometries).all()
    for name in first.columns:
        np.testing.assert_array_equal(first.columns[name], second.columns[name])


def test_columns_have_the_types_of_the_schema() -> None:
    labels = smooth_labels(5, 20, 31, blur=1.5)
    grid = grid_of(labels)
    layer = collect(grid, labels, strip_rows=7)
    schema = polygon_schema(grid)
    assert list(schema) == ["id", "class", "label", "score", "area_m2"]
    assert [layer.columns[name].dtype.name for name in schema] == ["int64", "object", "int32", "float32", "float64"]
    assert layer.columns["id"].tolist() == list(range(1, len(layer) + 1))
    assert layer.columns["class"].tolist() == [CLASSES.titles[label] for label in layer.columns["label"]]
    assert layer.crs == UTM


def test_holes_in_holes_across_seams() -> None:
    """Rings around rings, each cut by every seam, touching corners included."""
    labels = np.zeros((15, 19), np.uint8)
    for i in range(1, 7):
        labels[i:-i, i:-i] = i % 2
    labels[1, 1] = 0
    layer = collect(grid_of(labels, Affine.identity()), labels, strip_rows=2)
    assert as_texts(layer) == one_shot(labels, Affine.identity())
    assert shapely.area(layer.geometries).sum() == labels.size


def test_corners_do_not_connect() -> None:
    labels = np.indices((6, 7)).sum(axis=0).astype(np.uint8) % 2
    assert len(collect(grid_of(labels), labels, strip_rows=1)) == labels.size


def test_a_u_is_one_polygon_and_only_its_arms_are_two() -> None:
    labels = np.full((6, 5), CLASSES.nodata, np.uint8)
    labels[:, [0, 4]] = 1
    arms = collect(grid_of(labels), labels, strip_rows=2)
    labels[-1] = 1
    whole = collect(grid_of(labels), labels, strip_rows=2)
    assert (len(arms), len(whole)) == (2, 1)


def test_finished_polygons_come_before_the_end() -> None:
    """So that memory holds no more than what is still open."""
    labels = np.full((40, 9), CLASSES.nodata, np.uint8)
    labels[2:4, 2:4] = 1
    labels[12:28, 5] = 2
    collector = PolygonCollector(grid=grid_of(labels), vocabulary=CLASSES, strip_rows=10)
    seen = []
    for row in range(0, 40, 10):
        collector.add(row, labels[row : row + 10], scores(labels)[row : row + 10])
        seen.append([layer.columns["label"].tolist() for layer in collector.drain()])
    assert seen == [[[1]], [], [[2]], []]


def test_nodata_makes_no_polygons() -> None:
    labels = smooth_labels(6, 30, 21, blur=1.5)
    labels[labels == 2] = CLASSES.nodata
    layer = collect(grid_of(labels), labels, strip_rows=7)
    assert as_texts(layer) == one_shot(labels, TURNED)
    assert set(layer.columns["label"]) == {0, 1, 3}


@pytest.mark.parametrize("strip", [3, 64])
def test_small_polygons_are_left_out_by_their_whole_area(strip: int) -> None:
    labels = smooth_labels(7, 50, 41, blur=1.5)
    grid = grid_of(labels, Affine(2, 0, 5e5, 0, -2, 4e6))
    everything = collect(grid, labels, strip_rows=strip)
    layer = collect(grid, labels, min_area=40, strip_rows=strip)
    large = everything.columns["area_m2"] >= 40
    assert 0 < large.sum() < len(everything)
    assert sorted(shapely.to_wkb(layer.geometries)) == sorted(shapely.to_wkb(everything.geometries[large]))


def test_without_a_crs_areas_are_pixels() -> None:
    labels = np.zeros((7, 9), np.uint8)
    labels[2:4, 3:8] = 1
    layer = collect(grid_of(labels, crs=None), labels, min_area=10.5, strip_rows=3)
    assert layer.columns["area_px"].tolist() == [53]
    assert layer.crs is None
    assert len(collect(grid_of(labels, crs=None), labels, min_area=10, strip_rows=3)) == 2


def test_areas_are_ground_areas() -> None:
    """In Web Mercator at 60 degrees north the plane's areas are four times too large."""
    mercator = CRS.from_epsg(3857)
    labels = smooth_labels(8, 60, 81, blur=3)
    grid = grid_of(labels, Affine(10, 1, 1.2e6, 2, -10, 8.4e6), mercator)
    layer = collect(grid, labels, strip_rows=13)
    geod = mercator.get_geod()
    import geopandas

    series = geopandas.GeoSeries(layer.geometries, crs=mercator).segmentize(20).to_crs(4326)
    expected = [abs(geod.geometry_area_perimeter(polygon)[0]) for polygon in series]
    np.testing.assert_allclose(layer.columns["area_m2"], expected, rtol=1e-6)
    assert layer.columns["area_m2"].sum() < 0.3 * shapely.area(layer.geometries).sum()


@pytest.mark.parametrize("tolerance", [3.0, 12.0])
def test_simplified_outlines_are_valid_and_within_the_tolerance(tolerance: float) -> None:
    labels = smooth_labels(9, 70, 61, blur=3)
    grid = grid_of(labels, Affine(2, 0, 5e5, 0, -2, 4e6))
    exact, simple = (collect(grid, labels, simplify=metres, strip_rows=16) for metres in (0, tolerance))
    assert len(simple) == len(exact)
    assert shapely.is_valid(simple.geometries).all()
    assert shapely.get_num_coordinates(simple.geometries).sum() < shapely.get_num_coordinates(exact.geometries).sum()
    distance = shapely.hausdorff_distance(shapely.boundary(simple.geometries), shapely.boundary(exact.geometries))
    assert distance.max() <= tolerance * 2  # the point a ring starts at may go as well, once its neighbours have
    np.testing.assert_array_equal(simple.columns["area_m2"], exact.columns["area_m2"])


def test_the_tolerance_is_in_metres_in_degrees_too() -> None:
    labels = smooth_labels(9, 70, 61, blur=3)
    degrees = collect(grid_of(labels, Affine(1e-3, 0, 10, 0, -1e-3, 5), CRS.from_epsg(4326)), labels, simplify=250)
    metres = collect(grid_of(labels, Affine(110.8, 0, 5e5, 0, -110.8, 4e6)), labels, simplify=250)
    count = shapely.get_num_coordinates
    assert count(degrees.geometries).sum() == count(metres.geometries).sum()


def test_an_empty_scene_gives_no_polygons() -> None:
    labels = np.full((9, 7), CLASSES.nodata, np.uint8)
    assert len(collect(grid_of(labels), labels, strip_rows=2)) == 0


def test_many_classes_have_wide_labels() -> None:
    many = Vocabulary(classes=tuple(ClassName(names=(str(i),), colour=(0, 0, 0)) for i in range(400)))
    labels = np.array([[399, 399, 65535], [255, 255, 255]], np.uint16)
    collector = PolygonCollector(grid=grid_of(labels), vocabulary=many)
    collector.add(0, labels, np.ones((2, 3), np.float32))
    (layer,) = collector.finish()
    assert layer.columns["class"].tolist() == ["399", "255"]


@pytest.mark.parametrize(
    ("row", "labels", "score", "words"),
    [
        (1, np.zeros((2, 7)), np.zeros((2, 7)), r"expected row 0 of 9, got rows 1\.\.3"),
        (0, np.zeros((10, 7)), np.zeros((10, 7)), r"got rows 0\.\.10"),
        (0, np.zeros((2, 6)), np.zeros((2, 6)), r"must be \(rows, 7\), got \(2, 6\) and \(2, 6\)"),
        (0, np.zeros((2, 7)), np.zeros((3, 7)), r"must be \(rows, 7\), got \(2, 7\) and \(3, 7\)"),
        (0, np.full((2, 7), 4), np.zeros((2, 7)), "Label 4 belongs to none of the 4 classes"),
    ],
)
def test_wrong_rows_are_refused(row: int, labels: np.ndarray, score: np.ndarray, words: str) -> None:
    grid = Grid(height=9, width=7, transform=TURNED, crs=UTM)
    collector = PolygonCollector(grid=grid, vocabulary=CLASSES)
    with pytest.raises(UsageError, match=words):
        collector.add(row, labels.astype(np.uint8), score.astype(np.float32))


def test_missing_rows_are_an_error() -> None:
    grid = Grid(height=9, width=7, transform=TURNED, crs=UTM)
    collector = PolygonCollector(grid=grid, vocabulary=CLASSES)
    collector.add(0, np.zeros((4, 7), np.uint8), np.zeros((4, 7), np.float32))
    with pytest.raises(UsageError, match="Only 4 of 9 rows were added"):
        collector.finish()


@pytest.mark.parametrize("options", [{"min_area": -1.0}, {"simplify": -1.0}])
def test_negative_sizes_are_refused(options: dict[str, float]) -> None:
    grid = Grid(height=9, width=7, transform=TURNED, crs=UTM)
    with pytest.raises(UsageError, match="cannot be negative"):
        PolygonCollector(grid=grid, vocabulary=CLASSES, **options)
