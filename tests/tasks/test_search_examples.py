"""`earthwords search` by several examples: alike and unlike, parts of scenes, polygons; many searches at once."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image

import earthwords
from earthwords.archive.examples import windows_over
from earthwords.archive.nearest import exact_scores
from earthwords.errors import UsageError
from earthwords.types import Window
from tests.conftest import CRS, Command, write_raster
from tests.micro import patchwork

SIDE = 64
SHAPE = (5 * SIDE, 7 * SIDE)
TRANSFORM = Affine(0.5, 0.0, 326_417.5, 0.0, -0.5, 2_781_133.0)
STRIPES = ((1, 1), (3, 5), (4, 2))
"""Rows and columns of tiles of one kind."""
DOTS = ((2, 3), (0, 6))


def stripes(phase: int) -> np.ndarray:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    return np.stack([255 * ((rows + phase) // 8 % 2), 3 * cols, 255 - 3 * rows], axis=-1).astype(np.uint8)


def dots(phase: int) -> np.ndarray:
    rows, cols = np.mgrid[:SIDE, :SIDE]
    spot = ((rows + phase) // 16 + cols // 16) % 2
    return np.stack([40 + 10 * spot, 200 * spot, 90 + 150 * (1 - spot)], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7 x 5 tiles: three of stripes, two of dots, patchwork elsewhere."""
    image = patchwork(*SHAPE, seed=9)
    for kind, places in ((stripes, STRIPES), (dots, DOTS)):
        for phase, (row, col) in enumerate(places):
            image[row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE] = kind(phase)
    return write_raster(
        tmp_path_factory.mktemp("examples") / "scene.tif", np.moveaxis(image, -1, 0), transform=TRANSFORM
    )


@pytest.fixture(scope="module")
def folder(scene: Path, micro: Path) -> Path:
    earthwords.index(scene, scene.parent / "index", model=str(micro), tile_size=SIDE, quiet=True, device="cpu")
    return scene.parent / "index"


@pytest.fixture(scope="module")
def opened(folder: Path) -> earthwords.Index:
    return earthwords.Index.open(folder, device="cpu")


def tile(scene: Path, place: tuple[int, int]) -> np.ndarray:
    with rasterio.open(scene) as dataset:
        rows, cols = ((start * SIDE, (start + 1) * SIDE) for start in place)
        return np.moveaxis(dataset.read(window=(rows, cols)), 0, -1)


def places(found: earthwords.SearchResult) -> list[tuple[int, int]]:
    columns = found.layer.columns
    return [(int(row) // SIDE, int(col) // SIDE) for row, col in zip(columns["row"], columns["col"], strict=True)]


def ground(row: float, col: float, height: float, width: float) -> shapely.Polygon:
    """A rectangle of pixels, in the scene's CRS."""
    west, north = TRANSFORM @ (col, row)
    return shapely.box(west, north - 0.5 * height, west + 0.5 * width, north)


def write(path: Path, shapes: list[shapely.Geometry], crs: str) -> Path:
    geopandas.GeoDataFrame(geometry=shapes, crs=CRS).to_crs(crs).to_file(path)
    return path


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(("name", "crs"), [("a.gpkg", "EPSG:4326"), ("a.geojson", "EPSG:4326"), ("a.shp", "EPSG:3857")])
def test_what_lies_under_a_polygon_finds_its_own_tile(
    opened: earthwords.Index, scene: Path, tmp_path: Path, name: str, crs: str
) -> None:
    """A small polygon in the middle of a tile is seen with what surrounds it, at the scale of the index."""
    row, col = STRIPES[1]
    middle = ground(row * SIDE + 22, col * SIDE + 25, 20, 14)
    away = ground(-500, 0, 30, 30)
    found = opened.search(like=scene, like_geometry=write(tmp_path / name, [away, middle], crs), top=3)
    assert places(found)[0] == (row, col) and found.scores[0] > 0.999
    assert any("1 polygon of" in note and "over nothing of" in note for note in found.notes)
    assert places(opened.search(like=scene, like_bounds=middle.bounds, top=1)) == [(row, col)]


def test_a_crop_equals_the_pixels_there(opened: earthwords.Index, scene: Path, folder: Path) -> None:
    """Off the raster of tiles, not square: the middle of the box is the middle of the crop."""
    box = ground(71, 130, 31, 12)
    with rasterio.open(scene) as dataset:
        pixels = np.moveaxis(dataset.read(window=((55, 119), (104, 168))), 0, -1)
    expected = exact_scores(np.load(folder / "vectors.npy"), opened.embedder.image(pixels))
    found = opened.search(like=scene, like_bounds=box.bounds, top=len(opened))
    np.testing.assert_allclose(found.scores, expected[found.rows], atol=1e-5)
    assert found.scores.tolist() == sorted(found.scores, reverse=True)


def test_the_resolution_of_the_index_counts(scene: Path, micro: Path, tmp_path: Path) -> None:
    """Tiles of 16 pixels of 1 m are 32 pixels of the scene."""
    earthwords.index(scene, tmp_path / "i", model=str(micro), tile_size=16, gsd=1.0, quiet=True, device="cpu")
    with earthwords.Index.open(tmp_path / "i", device="cpu") as opened:
        assert len(opened) == 10 * 14
        found = opened.search(like=scene, like_bounds=ground(3 * 32 + 11, 5 * 32 + 13, 10, 6).bounds, top=1)
        columns = found.layer.columns
        assert (columns["row"][0], columns["col"][0], columns["height"][0]) == (3 * 32, 5 * 32, 32)
        assert found.scores[0] > 0.9999


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine(0.4, 0.3, 326_417.5, 0.3, -0.4, 2_781_133.0), CRS),
        (Affine(5e-6, 0.0, 55.2, 0.0, -4e-6, 25.1), "EPSG:4326"),
    ],
    ids=["turned", "degrees"],
)
def test_polygons_over_a_raster_that_is_turned_or_in_degrees(
    transform: Affine, crs: str, micro: Path, tmp_path: Path
) -> None:
    path = write_raster(
        tmp_path / "a.tif", np.moveaxis(patchwork(200, 300, seed=6), -1, 0), transform=transform, crs=crs
    )
    earthwords.index(path, tmp_path / "index", model=str(micro), tile_size=SIDE, quiet=True, device="cpu")
    corners = [transform @ corner for corner in ((140, 76), (180, 76), (180, 116), (140, 116))]
    geopandas.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=crs).to_crs(3857).to_file(tmp_path / "p.gpkg")
    with earthwords.Index.open(tmp_path / "index", device="cpu") as opened:
        found = opened.search(like=path, like_geometry=tmp_path / "p.gpkg", top=2)
    assert places(found)[0] == (1, 2) and found.scores[0] > 0.9999 > found.scores[1]


def test_several_examples_are_their_mean(opened: earthwords.Index, scene: Path, folder: Path, tmp_path: Path) -> None:
    Image.fromarray(tile(scene, STRIPES[0])).save(tmp_path / "a.png")
    found = opened.search("water", like=[tmp_path / "a.png", tile(scene, DOTS[0])], weight=0.3, top=len(opened))
    a, b = (opened.embedder.image(tile(scene, place)).astype(float) for place in (STRIPES[0], DOTS[0]))
    query = unit(0.3 * opened.embedder.words("water") + 0.7 * unit(a + b))
    expected = exact_scores(np.load(folder / "vectors.npy"), query)
    np.testing.assert_allclose(found.scores, expected[found.rows], atol=1e-6)
    assert found.query["like"] == [str(tmp_path / "a.png"), "array"] and found.query["combine"] == "mean"


def test_each_example_for_itself(opened: earthwords.Index, scene: Path, folder: Path) -> None:
    examples = [tile(scene, STRIPES[0]), tile(scene, DOTS[0])]
    found = opened.search(like=examples, combine="nearest", top=len(opened))
    each = np.stack([opened.search(like=one, top=len(opened)).scores for one in examples])
    assert set(places(found)[:2]) == {STRIPES[0], DOTS[0]} and found.scores[1] > 0.999
    assert len(set(found.rows.tolist())) == len(opened)
    rows = np.stack([opened.search(like=one, top=len(opened)).rows for one in examples])
    best = np.zeros(len(opened))
    for row, score in zip(rows, each, strict=True):
        best[row] = np.maximum(best[row], score)
    np.testing.assert_array_equal(found.scores, best[found.rows])
    order = np.lexsort((np.arange(len(best)), -best))
    assert opened.search(like=examples, combine="nearest", top=3).rows.tolist() == order[:3].tolist()


def test_what_is_unlike_goes_down(opened: earthwords.Index, scene: Path, folder: Path) -> None:
    both = [tile(scene, STRIPES[0]), tile(scene, DOTS[0])]
    before = opened.search(like=both, top=len(opened))
    after = opened.search(like=both, unlike=tile(scene, DOTS[1]), unlike_weight=0.6, top=len(opened))
    for place in DOTS:
        assert places(after).index(place) > places(before).index(place)
    for place in STRIPES:
        assert places(after).index(place) <= places(before).index(place)
    a, b, c = (opened.embedder.image(one).astype(float) for one in (*both, tile(scene, DOTS[1])))
    expected = exact_scores(np.load(folder / "vectors.npy"), unit(unit(a + b) - 0.6 * c))
    np.testing.assert_allclose(after.scores, expected[after.rows], atol=1e-6)


def test_polygons_alone_take_tiles_of_the_index(
    opened: earthwords.Index, scene: Path, folder: Path, tmp_path: Path
) -> None:
    """Even where the scene is gone: the tile that holds most of the polygon, by its stored vector."""
    row, col = STRIPES[2]
    most = ground(row * SIDE - 10, col * SIDE + 5, 40, 50)  # a quarter of it in the tile above
    far = shapely.box(0, 0, 10, 10)
    wanted = write(tmp_path / "wanted.gpkg", [far, most], "EPSG:3857")
    others = write(tmp_path / "others.gpkg", [ground(DOTS[0][0] * SIDE, DOTS[0][1] * SIDE, 60, 60)], "EPSG:4326")
    found = opened.search(like_geometry=wanted, unlike_geometry=others, unlike_weight=0.4, top=len(opened))
    stored = np.load(folder / "vectors.npy").astype(float)
    a, b = (stored[row * 7 + col] for row, col in (STRIPES[2], DOTS[0]))
    expected = exact_scores(stored, unit(unit(a) - 0.4 * unit(b)))
    np.testing.assert_allclose(found.scores, expected[found.rows], atol=1e-6)
    assert any("1 polygon of" in note and "no tile of the index" in note for note in found.notes)


def test_many_searches_at_once(opened: earthwords.Index) -> None:
    words = ["water", "road", "trees", "bare  land"]
    for limits in ({}, {"top": 4, "distinct": True}, {"top": 2, "bounds": (0, 0, 180, 25.13)}):
        each = opened.search_each(words, **limits)
        for text, found in zip(words, each, strict=True):
            alone = opened.search(text, **limits)
            assert found.rows.tolist() == alone.rows.tolist() and found.scores.tolist() == alone.scores.tolist()
            assert found.query == alone.query and found.notes == alone.notes
    assert opened.search_each([]) == []
    with pytest.raises(UsageError, match="list of words"):
        opened.search_each("water")


def test_the_command(command: Command, folder: Path, scene: Path, tmp_path: Path) -> None:
    for name, place in (("a.png", STRIPES[0]), ("b.png", STRIPES[1]), ("c.png", DOTS[0])):
        Image.fromarray(tile(scene, place)).save(tmp_path / name)
    images = ["--like", tmp_path / "a.png", "--like", tmp_path / "b.png", "--unlike", tmp_path / "c.png"]
    common = ["--top", 3, "--quiet", "--device", "cpu", "--offline"]
    done = command("search", folder, "-o", tmp_path / "found", *images, *common)
    assert done.code == 0
    report = json.loads((tmp_path / "found" / "report.json").read_text())
    assert [(r["row"] // SIDE, r["col"] // SIDE) for r in report["results"]][:2] != DOTS
    assert report["query"]["like"] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert report["query"]["unlike"] == str(tmp_path / "c.png") and report["query"]["unlike_weight"] == 0.2
    shown = command("search", folder, *images, *common)
    assert "a.png" in shown.out and "unlike" in shown.out
    area = write(tmp_path / "area.geojson", [ground(3 * SIDE, 5 * SIDE, 30, 40)], "EPSG:4326")
    command("search", folder, "-o", area, "--like-geometry", area, "--overwrite", *common).failed(2, "would be lost")
    command("search", folder, "-o", tmp_path / "a.png", *images, "--overwrite", *common).failed(2, "would be lost")
    command("search", folder, "-o", tmp_path / "c.png", *images, "--overwrite", *common).failed(2, "would be lost")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--unlike", "{0}"], 2, "Say what to search for"),
        (["--like", "{0}", "--unlike", "{1}/a.png"], 1, "a.png does not exist"),
        (["road", "--like-geometry", "{1}/a.gpkg"], 2, "There is no area at"),
        (["--like", "{0}", "--like", "{0}", "--like-bounds", 0, 0, 1, 1], 2, "give a single --like"),
        (["--like", "{0}", "--like-geometry", "{2}"], 2, "No polygon of"),
        (["--like-geometry", "{2}"], 2, "lies over a tile of the index"),
        (["--like", "{3}", "--like-geometry", "{2}"], 2, "no CRS"),
        (["--like", "{0}", "--unlike", "{0}", "--unlike-weight", 1], 2, "are the same"),
        (["--like", "{0}", "--unlike", "{0}", "--unlike-weight", 2], 2, "weight of what is unlike is 0 to 1"),
        (["--like", "{0}", "--combine", "median"], 2, "median"),
    ],
)
def test_refusals(
    command: Command, folder: Path, scene: Path, tmp_path: Path, words: list[object], code: int, sentence: str
) -> None:
    away = write(tmp_path / "away.geojson", [shapely.box(0, 0, 50, 50)], CRS)
    Image.fromarray(patchwork(70, 90)).save(tmp_path / "plain.png")
    given = (scene, tmp_path, away, tmp_path / "plain.png")
    command("search", folder, *(str(word).format(*given) for word in words), "--quiet").failed(code, sentence)


def test_tiles_over_a_shape() -> None:
    grid = (100, 300)
    assert windows_over(shapely.box(141, 40, 151, 44), grid, size=20) == [Window(row=32, col=136, height=20, width=20)]
    assert windows_over(shapely.box(-9, 97, 4, 130), grid, size=20) == [Window(row=80, col=0, height=20, width=20)]
    assert windows_over(shapely.box(400, 0, 500, 50), grid, size=20) == []
    assert windows_over(shapely.box(5, 5, 10, 10), (12, 30), size=20) == [Window(row=0, col=0, height=12, width=20)]
    wide = windows_over(shapely.box(50, 30, 95, 50), grid, size=20)
    assert [(w.row, w.col) for w in wide] == [(30, 50), (30, 63), (30, 75)]
    slanted = windows_over(shapely.Polygon([(0, 0), (300, 95), (300, 100), (0, 5)]), grid, size=20)
    covered = shapely.union_all([shapely.box(w.col, w.row, w.col_stop, w.row_stop) for w in slanted])
    assert covered.area < 0.5 * 100 * 300
    assert shapely.Polygon([(0, 0), (300, 95), (300, 100), (0, 5)]).difference(covered).area < 1e-6
