"""`earthwords search` and `Index`: the right tiles at the right places, every form of DST, every refusal."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pyproj import Transformer

import earthwords
from earthwords.archive.nearest import exact_scores
from earthwords.errors import UsageError
from earthwords.models.clip.words import encode_words
from earthwords.models.weights.table import load_clip
from earthwords.text.templates import TEMPLATES
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import names

ROW, COL = 144, 96
"""Of the planted patch: a tile of 64 pixels with an overlap of 16."""
SOUTH = Affine(0.5, 0.0, 326_417.5 + 5000, 0.0, -0.5, 2_781_133.0 - 9000)

Search = Callable[..., Outcome]


@pytest.fixture(scope="module")
def patch() -> np.ndarray:
    rows, cols = np.mgrid[:64, :64]
    return np.stack([255 * (rows // 8 % 2), 3 * cols, 255 - 3 * rows], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, patch: np.ndarray) -> Path:
    """Two scenes far from each other, of two days, and a picture without CRS."""
    folder = tmp_path_factory.mktemp("searched") / "archive"
    folder.mkdir()
    north = patchwork(260, 330, seed=1)
    north[ROW : ROW + 64, COL : COL + 64] = patch
    for name, image, day, transform in (
        ("north.tif", north, "2018:07:16 12:00:00", None),
        ("south.tif", patchwork(200, 140, seed=2), "2021:03:01 10:00:00", SOUTH),
    ):
        where = {} if transform is None else {"transform": transform}
        path = write_raster(folder / name, np.moveaxis(image, -1, 0), **where)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(TIFFTAG_DATETIME=day)
    Image.fromarray(patchwork(80, 100, seed=3)).save(folder / "plain.png")
    return folder


@pytest.fixture(scope="module")
def folder(archive: Path, micro: Path) -> Path:
    earthwords.index(archive, archive.parent / "index", model=str(micro), overlap=16, quiet=True, device="cpu")
    return archive.parent / "index"


@pytest.fixture
def search(command: Command, folder: Path) -> Search:
    return lambda *words: command("search", folder, *words, "--quiet", "--device", "cpu", "--offline")


@pytest.fixture(scope="module")
def opened(folder: Path) -> earthwords.Index:
    return earthwords.Index.open(folder, device="cpu")


def test_a_planted_patch_is_found_where_it_lies(
    opened: earthwords.Index, archive: Path, patch: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(patch).save(tmp_path / "patch.png")
    with rasterio.open(archive / "north.tif") as dataset:
        middle = dataset.transform @ (COL + 32, ROW + 32)
        bounds = (*(dataset.transform @ (COL, ROW + 64)), *(dataset.transform @ (COL + 64, ROW)))
    for like, options in ((tmp_path / "patch.png", {}), (archive / "north.tif", {"like_bounds": bounds}), (patch, {})):
        found = opened.search(like=like, top=3, **options)
        best = found.to_geodataframe().iloc[0]
        assert best.source.endswith("north.tif")
        lonlat = Transformer.from_crs(32640, 4326, always_xy=True).transform(*middle)
        assert best.geometry.contains(shapely.Point(lonlat))
        assert (best["rank"], best.height, best.width) == (1, 64, 64)
        assert (best.row, best.col) == (ROW, COL) and best.score > 0.999


def test_words_are_the_mean_of_the_templates(opened: earthwords.Index, micro: Path, folder: Path) -> None:
    words = encode_words(load_clip(str(micro)), ["bare land"], TEMPLATES["aerial"])[0].numpy()
    scores = exact_scores(np.load(folder / "vectors.npy"), words)
    found = opened.search("bare  land", top=7)
    order = np.lexsort((np.arange(len(scores)), -scores))[:7]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_array_equal(found.scores, scores[order])


def test_a_source_is_read_as_it_was_indexed(tmp_path: Path, archive: Path, micro: Path, patch: np.ndarray) -> None:
    earthwords.index(archive, tmp_path / "index", model=str(micro), bands="3,2,1", overlap=16, quiet=True, device="cpu")
    with rasterio.open(archive / "north.tif") as dataset:
        bounds = (*(dataset.transform @ (COL, ROW + 64)), *(dataset.transform @ (COL + 64, ROW)))
    copy = shutil.copy(archive / "north.tif", tmp_path / "copy.tif")
    with earthwords.Index.open(tmp_path / "index", device="cpu") as opened:
        itself = opened.search(like=archive / "north.tif", like_bounds=bounds, top=1)
        assert (itself.layer.columns["row"][0], itself.layer.columns["col"][0]) == (ROW, COL)
        assert itself.scores[0] > 0.999
        assert opened.search(like=copy, like_bounds=bounds, top=1).scores[0] < 0.999, "as its file says"
        turned = opened.search(like=copy, like_bounds=bounds, like_bands=[3, 2, 1], top=1)
    assert turned.scores[0] == itself.scores[0]


def test_both(opened: earthwords.Index, patch: np.ndarray, folder: Path) -> None:
    words, image = opened.embedder.words("road"), opened.embedder.image(patch)
    mean = 0.25 * words.astype(float) + 0.75 * image
    found = opened.search("road", like=patch, weight=0.25, top=4)
    expected = exact_scores(np.load(folder / "vectors.npy"), mean / np.linalg.norm(mean))
    np.testing.assert_allclose(found.scores, np.sort(expected)[::-1][:4], atol=1e-6)
    assert opened.search("road", like=patch, weight=1).rows.tolist() == opened.search("road").rows.tolist()


def test_limits_equal_a_filter_of_the_table(opened: earthwords.Index, folder: Path, tmp_path: Path) -> None:
    table = geopandas.read_parquet(folder / "tiles.parquet")
    everything = opened.search("water", top=500)
    assert len(everything) == len(opened) == len(table)
    north = table[table.source.str.endswith("north.tif")]
    west, south, east, north_ = north.geometry.iloc[3].centroid.buffer(3e-4).bounds
    box = shapely.box(west, south, east, north_)
    triangle = shapely.Polygon([(west, south), (east, south), (west, south + (north_ - south) / 9)])
    geopandas.GeoDataFrame(geometry=[triangle], crs=4326).to_crs(32640).to_file(tmp_path / "area.geojson")
    touching = set(np.flatnonzero(table.intersects(box)))
    inside = set(np.flatnonzero(table.intersects(triangle)))
    assert 0 < len(inside) < len(touching) < len(north)
    late = set(np.flatnonzero(table["date"] >= "2020-01-01"))
    cases = [
        ({"bounds": (west, south, east, north_)}, touching),
        ({"within": tmp_path / "area.geojson"}, inside),
        ({"after": "2020-01-01"}, late),
        ({"before": "2018-07-16"}, set(north.index)),
        ({"after": "2018-07-16", "before": "2018-07-16", "bounds": (west, south, east, north_)}, touching),
        ({"after": "2020-01-01", "bounds": (west, south, east, north_)}, set()),
    ]
    for limits, rows in cases:
        found = opened.search("water", top=500, **limits)
        assert found.rows.tolist() == [row for row in everything.rows.tolist() if row in rows], limits
        assert found.query["allowed"] == len(rows)


def test_distinct_results_share_no_ground(opened: earthwords.Index) -> None:
    everything, found = opened.search("trees", top=500), opened.search("trees", top=8, distinct=True)
    frame = everything.to_geodataframe()
    kept: list[int] = []
    for i in range(len(frame)):  # greedy, by rectangles of pixels
        one = frame.iloc[i]
        box = shapely.box(one.col, one.row, one.col + one.width, one.row + one.height)
        others = (frame.iloc[j] for j in kept if frame.iloc[j].source == one.source)
        if not any(box.intersection(shapely.box(o.col, o.row, o.col + o.width, o.row + o.height)).area for o in others):
            kept.append(i)
    assert found.rows.tolist() == everything.rows[kept[:8]].tolist()
    assert len(opened.search("trees", top=500, distinct=True)) == len(kept) < len(opened)


def test_every_form_of_dst(search: Search, opened: earthwords.Index, tmp_path: Path) -> None:
    expected = opened.search("building", top=9).to_geodataframe()
    for suffix in (".gpkg", ".geojson", ".fgb", ".parquet"):
        assert search("building", tmp_path / f"a{suffix}", "--top", 9).code == 0
        read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
        frame = read(tmp_path / f"a{suffix}").sort_values("rank")
        wanted = expected[~expected.geometry.isna()] if suffix == ".fgb" else expected
        assert frame["rank"].tolist() == wanted["rank"].tolist() and frame.source.tolist() == wanted.source.tolist()
        np.testing.assert_allclose(frame.score, wanted.score)
        assert frame.crs.to_epsg() == 4326
        for found, shape in zip(frame.geometry, wanted.geometry, strict=True):
            assert (found is None) == (shape is None)
            assert shape is None or found.symmetric_difference(shape).area < 1e-5 * shape.area
    assert search("building", tmp_path / "a.csv", "--top", 9).code == 0
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == expected.score.tolist()
    assert [row["source"] for row in rows] == expected.source.tolist()
    assert search("building", tmp_path / "all", "--top", 9).code == 0
    assert names(tmp_path / "all") == {"results.gpkg", "results.csv", "sheet.png", "report.json"}
    report = json.loads((tmp_path / "all" / "report.json").read_text())
    assert [r["rank"] for r in report["results"]] == list(range(1, 10)) and report["query"]["words"] == "building"


def test_a_sheet_shows_the_sources(opened: earthwords.Index, patch: np.ndarray) -> None:
    found = opened.search(like=patch, top=1)
    sheet = np.asarray(found.plot())
    window = found.layer.columns
    row, col = int(window["row"][0]), int(window["col"][0])
    with rasterio.open(found.sources[0]) as dataset:
        tile = np.moveaxis(dataset.read(window=((row, row + 64), (col, col + 64))), 0, -1)
    large = np.kron(tile, np.ones((3, 3, 1), np.uint8))
    tops, lefts = np.nonzero((sheet[:-191, :-191] == large[0, 0]).all(axis=-1))
    assert any((sheet[y : y + 192, x : x + 192] == large).all() for y, x in zip(tops, lefts, strict=True))


def test_missing_sources_are_told(command: Command, archive: Path, micro: Path, tmp_path: Path) -> None:
    shutil.copytree(archive, tmp_path / "copy")
    earthwords.index(tmp_path / "copy", tmp_path / "index", model=str(micro), quiet=True)
    shutil.rmtree(tmp_path / "copy")
    done = command("search", tmp_path / "index", "road", tmp_path / "a.png", "--quiet")
    assert done.code == 0 and (tmp_path / "a.png").exists()
    with earthwords.Index.open(tmp_path / "index") as index:
        assert {problem for _, problem in index.search("road")._pictures(50)} == {"missing"}


def test_without_dst_a_table_is_shown(search: Search) -> None:
    done = search("road", "--top", 3)
    assert done.code == 0 and "rank" in done.out and '"road", 3 of' in done.out
    done = search("road", "--top", 2, "--json")
    assert [r["rank"] for r in json.loads(done.out)["results"]] == [1, 2]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 2, "Say what to search for"),
        ([" "], 2, "There are no words"),
        (["road", "--top", 0], 2, "At least one result"),
        (["road", "--weight", 2, "--like", __file__], 2, "weight of the words is 0 to 1"),
        (["--like", "a.png"], 1, "a.png does not exist"),
        (["road", "--like-bounds", 0, 0, 1, 1], 2, "need the image"),
        (["road", "--like-bands", "3,2,1"], 2, "need the image"),
        (["road", "--bounds", 500_000, 0, 500_001, 1], 2, "in degrees"),
        (["road", "--within", "a.geojson"], 2, "There is no area at a.geojson"),
        (["road", "--after", "yesterday"], 2, "--after is a day such as"),
        (["road", "{}/a.xyz"], 2, "the suffix must be one of"),
    ],
)
def test_refusals(search: Search, tmp_path: Path, words: list[object], code: int, sentence: str) -> None:
    search(*(str(word).format(tmp_path) for word in words)).failed(code, sentence)
    assert names(tmp_path) == set()


def test_what_is_there_stays(search: Search, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    search("road", tmp_path / "a.csv").failed(2, "exists; pass --overwrite")
    assert (tmp_path / "a.csv").read_text() == "mine" and names(tmp_path) == {"a.csv"}
    assert search("road", tmp_path / "a.csv", "--overwrite").code == 0


def test_other_weights_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="was made with weights"):
        earthwords.Index.open(folder, model="tiny").search("road")
