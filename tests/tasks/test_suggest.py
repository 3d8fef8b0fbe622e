"""`earthwords suggest`: places on the right pixels, of maps and of scenes, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS

import earthwords
from earthwords.geo.geotiff import RasterWriter
from earthwords.inference.suggest.lattice import pixel_uncertainty
from earthwords.inference.suggest.select import RULES
from earthwords.types import Grid
from tests.conftest import CRS as UTM
from tests.conftest import TRANSFORM, Command, write_raster

HEIGHT, WIDTH, SIDE = 200, 330, 16
COLUMNS = ["class", "guess", "runner_up", "uncertainty", "rank", "source", "geometry"]
WORDS = ("-t", "building,roof", "-t", "road", "-t", "water")


def write_map(
    path: Path, values: np.ndarray, *, titles: tuple[str, ...] = ("roof", "road"), crs: str | None = UTM,
    transform: Affine = TRANSFORM, **tags: str,
) -> Path:  # fmt: skip
    """`(class, row, col)` as `segment --probabilities float32` writes it."""
    grid = Grid(
        height=values.shape[1], width=values.shape[2], transform=transform, crs=None if crs is None else CRS(crs)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    every = {"EARTHWORDS_OUTPUT": "probabilities", "EARTHWORDS_THRESHOLD": "0", **tags}
    with RasterWriter(
        path, grid=grid, count=len(values), dtype="float32", nodata=float("nan"), band_names=titles, tags=every,
        resampling="average",
    ) as writer:  # fmt: skip
        writer.write(0, values.astype(np.float32))
    return path


def two_halves(border: int = 210) -> np.ndarray:
    """Sure of one class on the left and of the other on the right, unsure in a band 12 pixels wide."""
    share = np.clip((np.arange(WIDTH) - border + 6) / 12, 0.02, 0.98)
    left = np.broadcast_to(1 - share, (HEIGHT, WIDTH)) + np.linspace(0, 0.004, HEIGHT)[:, None]
    return np.stack([left, 1 - left])


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    return write_map(tmp_path / "map" / "probabilities.tif", two_halves())


def pixels(frame: geopandas.GeoDataFrame, transform: Affine = TRANSFORM) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of points."""
    cols, rows = ~transform @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    return np.floor(rows).astype(int), np.floor(cols).astype(int)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
def test_points_of_a_sure_map_lie_at_its_border(map_file: Path, tmp_path: Path, command: Command, suffix: str) -> None:
    dst = tmp_path / f"todo{suffix}"
    done = command("suggest", map_file.parent, dst, "-n", 8, "--rule", "margin")
    assert done.code == 0, done.err
    assert "100.0% of the pixels were considered" in done.err and "rule margin" in done.err
    frame = geopandas.read_parquet(dst) if suffix == ".parquet" else geopandas.read_file(dst)
    assert list(frame.columns) == COLUMNS and len(frame) == 8
    assert frame["class"].isna().all() and set(frame["guess"]) | set(frame["runner_up"]) == {"roof", "road"}
    assert frame["rank"].tolist() == list(range(1, 9))
    frame = frame.to_crs(UTM)
    rows, cols = pixels(frame)
    assert (abs(cols - 210) <= SIDE).all() and len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 8


def test_the_uncertainty_is_that_of_the_cell_around_the_point(map_file: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    coarse = random.dirichlet(np.ones(3), (HEIGHT // 20, WIDTH // 30)).transpose(2, 0, 1)
    values = coarse.repeat(20, axis=1).repeat(30, axis=2)
    path = write_map(tmp_path / "other" / "probabilities.tif", values, titles=("a", "b", "c"))
    found = earthwords.suggest(str(path), tmp_path / "todo.gpkg", n=40, rule="random", seed=3, quiet=True)
    frame = geopandas.read_file(tmp_path / "todo.gpkg")
    rows, cols = pixels(frame)
    shares, margin, _ = pixel_uncertainty(values, 0)
    for i, (row, col) in enumerate(zip(rows, cols, strict=True)):
        cell = (
            slice(row // SIDE * SIDE, row // SIDE * SIDE + SIDE),
            slice(col // SIDE * SIDE, (col // SIDE + 1) * SIDE),
        )
        assert frame["uncertainty"][i] == pytest.approx(margin[cell].mean(), abs=2e-6)
        means = shares[(slice(None), *cell)].mean(axis=(1, 2))
        assert frame["guess"][i] == "abc"[means.argmax()] and frame["runner_up"][i] == "abc"[means.argsort()[1]]
    assert [(place.row, place.col) for place in found.places] == list(zip(rows, cols, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_a_scene(rule: str, scene_file: Path, micro: Path, tmp_path: Path, image: np.ndarray) -> None:
    """Points on observed pixels, the same again with the same seed."""
    how = {"text": ["building,roof", "road", "water"], "model": str(micro), "rule": rule, "device": "cpu", "n": 5}
    how |= {"tiles": 32, "quiet": True} if RULES[rule].of_tiles else {"quiet": True}
    found = earthwords.suggest(str(scene_file), tmp_path / "a.gpkg", **how)
    again = earthwords.suggest(str(scene_file), tmp_path / "b.gpkg", **how)
    assert [(p.row, p.col) for p in found.places] == [(p.row, p.col) for p in again.places]
    assert all(image[place.row, place.col].any() for place in found.places)
    assert found.candidates >= len({(place.row, place.col) for place in found.places}) == 5
    assert 0.5 < found.considered < 1 and found.as_json()["nodata_share"] == pytest.approx(
        1 - image.any(axis=-1).mean(), abs=1e-9
    )


def test_tiles_are_squares_on_the_grid(
    scene_file: Path, micro: Path, tmp_path: Path, command: Command, image: np.ndarray
) -> None:
    dst = tmp_path / "tiles.gpkg"
    done = command(
        "suggest", scene_file, dst, "-n", 4, "--tiles", 32, "--model", micro, "--device", "cpu", *WORDS, "--json"
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    frame = geopandas.read_file(dst)
    assert (frame.geometry.geom_type == "Polygon").all() and frame.crs == CRS(UTM)
    for shape, place in zip(frame.geometry, told["places"], strict=True):
        tile = place["tile"]
        west, north = TRANSFORM @ (tile["col"], tile["row"])
        assert shape.bounds == pytest.approx((west, north - 16, west + 16, north))
        assert tile["row"] % 32 == tile["col"] % 32 == 0
    assert "tiles at borders or with too little observed were left out" in done.err
    assert told["candidates"] * 32 * 32 * 0.8 <= told["considered_share"] * image.shape[0] * image.shape[1]
    assert told["considered_share"] <= (128 * 160) / (image.shape[0] * image.shape[1])


def test_a_part_of_a_scene_is_placed_in_the_whole(
    scene_file: Path, micro: Path, tmp_path: Path, image: np.ndarray
) -> None:
    west, north = TRANSFORM @ (61, 37)
    bounds = (west, north - 30.0, west + 45.0, north)  # 60 rows, 90 columns
    earthwords.suggest(
        str(scene_file), tmp_path / "a.gpkg", text=["building", "road"], model=str(micro), bounds=bounds, n=6,
        device="cpu", quiet=True,
    )  # fmt: skip
    rows, cols = pixels(geopandas.read_file(tmp_path / "a.gpkg"))
    assert (rows >= 37).all() and (rows < 97).all() and (cols >= 61).all() and (cols < 151).all()
    assert ((rows - 37) % SIDE == 8).sum() >= 4  # middles of cells of the part


def test_maps_of_several_scenes_share_the_places(tmp_path: Path, command: Command) -> None:
    """One is in degrees; their file is too."""
    write_map(tmp_path / "maps/a/probabilities.tif", two_halves(210))
    write_map(tmp_path / "maps/b/probabilities.tif", two_halves(90), transform=TRANSFORM @ Affine.translation(900, 0))
    degrees = Affine(1e-5, 0, 55.3, 0, -1e-5, 25.2)
    write_map(tmp_path / "maps/c/probabilities.tif", two_halves(150), crs="EPSG:4326", transform=degrees)
    done = command("suggest", tmp_path / "maps", tmp_path / "todo.geojson", "-n", 9)
    assert done.code == 0, done.err
    assert "of 3 scenes" in done.err
    frame = geopandas.read_file(tmp_path / "todo.geojson")
    assert frame.crs == CRS("EPSG:4326") and frame["source"].value_counts().tolist() == [3, 3, 3]
    for name, transform, crs in (("a", TRANSFORM, UTM), ("c", degrees, "EPSG:4326")):
        own = frame[frame["source"].str.contains(f"/{name}/")].to_crs(crs)
        rows, cols = pixels(own, transform)
        assert ((rows >= 0) & (rows < HEIGHT) & (cols >= 0) & (cols < WIDTH)).all()


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """In degrees: marked along the upper half of the border, one not filled in yet in the lower half."""
    points = [TRANSFORM @ (col + 0.5, row + 0.5) for col in (200, 216) for row in range(8, 100, 16)]
    shapes = [shapely.Point(*xy) for xy in (*points, TRANSFORM @ (216.5, 168.5))]
    frame = geopandas.GeoDataFrame({"class": [*["road"] * len(points), None]}, geometry=shapes, crs=UTM)
    frame.to_crs(4326).to_file(tmp_path / "marks.gpkg")
    return tmp_path / "marks.gpkg"


def test_marked_places_are_avoided(map_file: Path, marks: Path, tmp_path: Path, command: Command) -> None:
    done = command("suggest", map_file, tmp_path / "a.gpkg", "-n", 4, "--rule", "margin", "--marks", marks)
    assert done.code == 0, done.err
    assert "12 marks were avoided" in done.err and "another CRS than the scenes" in done.err
    assert "1 features of" in done.err and "count as not marked" in done.err
    rows, _ = pixels(geopandas.read_file(tmp_path / "a.gpkg"))
    assert (rows > 100).all()
    found = earthwords.suggest(str(map_file), tmp_path / "b.gpkg", n=4, marks=marks, quiet=True)
    taken = {(row, col) for row in range(8, 100, 16) for col in (200, 216)}
    assert not taken & {(place.row, place.col) for place in found.places}


def test_marks_of_a_map_without_crs_come_back(tmp_path: Path, command: Command) -> None:
    """GeoJSON says degrees whatever it holds: coordinates for such a map are its pixels. Lines mark, too."""
    flat = write_map(tmp_path / "flat" / "probabilities.tif", two_halves(), crs=None, transform=Affine.identity())
    done = command("suggest", flat, tmp_path / "a.geojson", "-n", 6, "--rule", "margin", "--quiet")
    assert done.code == 0, done.err
    first = geopandas.read_file(tmp_path / "a.geojson")
    first["class"] = [*["road"] * 5, None]
    first.rename(columns={"class": "label"}).to_file(tmp_path / "filled.geojson")
    marks = ("--marks", tmp_path / "filled.geojson")
    done = command("suggest", flat, tmp_path / "b.geojson", "-n", 6, "--rule", "margin", *marks)
    assert done.code == 0, done.err
    assert "5 marks were avoided" in done.err and "1 features of" in done.err
    second = geopandas.read_file(tmp_path / "b.geojson")
    assert not set(first.geometry[:5]) & set(second.geometry)
    line = shapely.LineString([(200.5, 0), (200.5, HEIGHT)])
    geopandas.GeoDataFrame({"class": ["road"]}, geometry=[line]).to_file(tmp_path / "line.gpkg")
    found = earthwords.suggest(str(flat), tmp_path / "c.gpkg", n=4, marks=tmp_path / "line.gpkg", quiet=True)
    assert found.marks == 1 and all(abs(place.col - 200.5) > 16 for place in found.places)


def test_a_scene_with_marks(scene_file: Path, micro: Path, tmp_path: Path) -> None:
    """Their features come from the model; whole areas are avoided."""
    box = shapely.box(*(TRANSFORM @ (60, 100)), *(TRANSFORM @ (120, 0)))
    geopandas.GeoDataFrame({"class": ["road"]}, geometry=[box], crs=UTM).to_file(tmp_path / "area.geojson")
    for rule in ("margin-diversity", "hslabeling", "fast"):
        found = earthwords.suggest(
            str(scene_file), tmp_path / f"{rule}.gpkg", text=["building", "road"], model=str(micro), n=5, rule=rule,
            marks=tmp_path / "area.geojson", tiles=32 if rule == "fast" else None, device="cpu", quiet=True,
        )  # fmt: skip
        assert found.marks == 1
        assert not any(60 <= place.col < 120 and place.row < 100 for place in found.places)


def test_the_picture_of_a_map_is_found(scene_file: Path, micro: Path, tmp_path: Path, command: Command) -> None:
    """What `segment` writes is what `suggest` reads; strategic sampling needs the picture."""
    dst, made = tmp_path / "out.tif", tmp_path / "out_probabilities.tif"
    toy = ("--model", micro, "--device", "cpu", "--quiet")
    assert command("segment", scene_file, dst, *WORDS, "--probabilities", "uint8", *toy).code == 0
    for src in (dst, made):
        done = command(
            "suggest", src, tmp_path / "t.gpkg", "-n", 3, "--rule", "strategic", "--tiles", 32, "--overwrite"
        )
        assert done.code == 0, done.err
        assert "not at hand" not in done.err
    with rasterio.open(made, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(EARTHWORDS_SOURCE="nowhere.tif")
    done = command("suggest", dst, tmp_path / "u.gpkg", "-n", 3)
    assert done.code == 0 and "The picture of" in done.err and "nowhere.tif is not there" in done.err
    command("suggest", dst, tmp_path / "v.gpkg", "-n", 3, "--rule", "strategic").failed(2)
    done = command("suggest", dst, tmp_path / "v.gpkg", "-n", 3, "--rule", "strategic", "--tiles", 32)
    done_last = done.err.splitlines()[-1]
    assert done.code == 2 and "which is not at hand" in done_last


def test_black_tiles_are_passed_over_and_said(make_scene: Callable[..., Path], micro: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(3).integers(1, 255, (3, 96, 128), dtype=np.uint8)
    data[:, :, 64:] = 0
    scene = make_scene(data)
    found = earthwords.suggest(
        str(scene), tmp_path / "a.gpkg", text=["building", "road"], model=str(micro), n=6, device="cpu", quiet=True
    )
    assert all(place.col < 64 for place in found.places)
    assert found.as_json()["black_share"] == pytest.approx(0.5) and "50.0% are black" in found.summary()


def test_a_part_of_a_map_is_placed_in_the_whole(map_file: Path, tmp_path: Path, command: Command) -> None:
    west, north = TRANSFORM @ (181, 37)
    bounds = (west, north - 40.0, west + 50.0, north)  # 80 rows, 100 columns
    dst = tmp_path / "a.gpkg"
    done = command("suggest", map_file, dst, "-n", 4, "--rule", "margin", "--bounds", *bounds)
    assert done.code == 0, done.err
    frame = geopandas.read_file(dst)
    rows, cols = pixels(frame)
    assert ((rows >= 37) & (rows < 117) & (cols >= 181) & (cols < 281)).all()
    assert (abs(cols - 210) <= SIDE).all() and (frame["uncertainty"] > 0.2).all(), "the border of the whole map"
    command("suggest", map_file, dst, "--bounds", 0, 0, 1, 1, "--overwrite").failed(2, "do not touch")


def test_what_only_a_model_needs_is_refused_for_maps(map_file: Path, tmp_path: Path, command: Command) -> None:
    given: dict[str, tuple[object, ...]] = {
        "--gsd": (3,), "--mask": ("m.tif",), "--threshold": (0.5,), "--against": ("auto",), "--bands": ("1,2,3",),
        "--nodata": (0,), "--stretch": ("none",), "--background": ("road",), "--preset": ("segearth-ov",),
    }  # fmt: skip
    for name, value in given.items():
        done = command("suggest", map_file, tmp_path / "a.gpkg", name, *value)
        done.failed(2, f"{name}: of no use where", "leave it out")
    command("suggest", map_file, tmp_path / "a.gpkg", "--gsd", 3, "--nodata", 0).failed(2, "--gsd, --nodata: of no use")


def test_one_class_is_uncertain_at_its_threshold(tmp_path: Path, command: Command) -> None:
    values = np.linspace(0, 1, WIDTH)[None, None].repeat(HEIGHT, axis=1)
    path = write_map(tmp_path / "probabilities.tif", values, titles=("roof",), EARTHWORDS_THRESHOLD="0.3")
    done = command("suggest", path, tmp_path / "a.gpkg", "-n", 5, "--rule", "margin")
    assert done.code == 0 and "'roof' is the only class" in done.err and "threshold 0.3" in done.err
    frame = geopandas.read_file(tmp_path / "a.gpkg")
    assert (abs(pixels(frame)[1] - 0.3 * WIDTH) <= SIDE).all() and frame["runner_up"].isna().all()


def test_without_a_crs_places_are_pixels(tmp_path: Path) -> None:
    path = write_map(tmp_path / "probabilities.tif", two_halves(), crs=None, transform=Affine.identity())
    found = earthwords.suggest(str(path), tmp_path / "a.gpkg", n=3, quiet=True)
    frame = geopandas.read_file(tmp_path / "a.gpkg")
    assert frame.crs is None
    assert [(y, x) for x, y in zip(frame.geometry.x, frame.geometry.y, strict=True)] == [
        (place.row + 0.5, place.col + 0.5) for place in found.places
    ]


def test_many_candidates_are_thinned_and_said(
    map_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthwords.inference.suggest.run.MOST", 40)
    done = command("suggest", map_file, tmp_path / "a.gpkg", "-n", 6, "--rule", "margin")
    assert done.code == 0 and "one of every 3 x 3 cells of 16 pixels, the most uncertain one" in done.err
    assert (abs(pixels(geopandas.read_file(tmp_path / "a.gpkg"))[1] - 210) <= SIDE).any()


def test_refusals(map_file: Path, scene_file: Path, tmp_path: Path, command: Command) -> None:
    dst = tmp_path / "todo.gpkg"
    command("suggest", map_file, dst, "-n", 5000, "--quiet").failed(2, "-n 5000 is more than the 273 places")
    command("suggest", map_file, dst, "-n", 50, "--tiles", 64, "--quiet").failed(2, "tiles of 64 x 64 pixels")
    command("suggest", scene_file, dst).failed(2, "holds no map of probabilities", "by -t")
    empty = tmp_path / "empty"
    empty.mkdir()
    command("suggest", empty, dst, "-t", "roof").failed(2, "No raster was found", "the folder is empty")
    command("suggest", empty, dst).failed(2, "holds no map of probabilities")
    command("suggest", map_file, dst, "-t", "roof").failed(2, "is a map of probabilities already")
    command("suggest", map_file, map_file.parent).failed(2, "Suggestions are one file of features")
    (tmp_path / "words.gpkg").write_text("no vectors")
    command("suggest", map_file, dst, "--marks", tmp_path / "words.gpkg").failed(1, "is not a vector file")
    geopandas.GeoDataFrame({"class": ["a"]}, geometry=[shapely.Point(1, 1)]).to_file(tmp_path / "bare.gpkg")
    command("suggest", map_file, dst, "--marks", tmp_path / "bare.gpkg", "--quiet").failed(2, "has no CRS")
    whole = shapely.box(*(TRANSFORM @ (-5, HEIGHT + 5)), *(TRANSFORM @ (WIDTH + 5, -5)))
    geopandas.GeoDataFrame({"class": ["a"]}, geometry=[whole], crs=UTM).to_file(tmp_path / "all.gpkg")
    command("suggest", map_file, dst, "--marks", tmp_path / "all.gpkg", "--quiet").failed(2, "beside 273 near marks")
    labels = write_raster(tmp_path / "labels.tif", np.zeros((1, 20, 20), np.uint8))
    with rasterio.open(labels, "r+") as dataset:
        dataset.update_tags(EARTHWORDS_OUTPUT="labels")
    command("suggest", labels, dst).failed(2, "is a map without probabilities")
    flat = write_map(tmp_path / "flat" / "probabilities.tif", two_halves(), crs=None, transform=Affine.identity())
    (tmp_path / "both.txt").write_text(f"{map_file}\n{flat}\n")
    command("suggest", f"@{tmp_path / 'both.txt'}", dst, "--quiet").failed(2, "one file cannot hold places of both")
    nothing = write_map(tmp_path / "n" / "probabilities.tif", np.full((2, 40, 40), np.nan))
    command("suggest", nothing, dst, "--quiet").failed(1, "no valid pixel")
    other = write_map(
        tmp_path / "n2" / "probabilities.tif", two_halves(), titles=("x", "y"), EARTHWORDS_SOURCE="town.tif"
    )
    (tmp_path / "list.txt").write_text(f"{map_file}\n{other}\n")
    command("suggest", f"@{tmp_path / 'list.txt'}", dst, "--quiet").failed(
        2, f"{map_file} is a map of roof, road, {other} one of x, y"
    )
    none = geopandas.GeoDataFrame({"class": []}, geometry=[], crs=UTM)
    none.to_file(tmp_path / "none.gpkg", geometry_type="Point")
    said = "holds no points, lines or polygons, so there are no marks in it"
    command("suggest", map_file, dst, "--marks", tmp_path / "none.gpkg").failed(1, said)
    assert not dst.exists()


def test_what_is_there_is_not_replaced(map_file: Path, marks: Path, tmp_path: Path, command: Command) -> None:
    before = marks.read_bytes()
    command("suggest", map_file, marks, "--marks", marks).failed(2, "exists")
    command("suggest", map_file, marks, "--marks", marks, "--overwrite").failed(2, "would be lost")
    assert marks.read_bytes() == before


def test_a_scene_that_cannot_be_read_is_listed(tmp_path: Path, command: Command) -> None:
    write_map(tmp_path / "maps/a/probabilities.tif", two_halves())
    bad = write_map(tmp_path / "maps/b/probabilities.tif", two_halves())
    bad.write_bytes(bad.read_bytes()[:-9000])
    dst = tmp_path / "todo.gpkg"
    command("suggest", tmp_path / "maps", dst, "-n", 3, "--quiet").failed(1, "maps/b/probabilities.tif")
    done = command("suggest", tmp_path / "maps", dst, "-n", 3, "--on-error", "skip")
    assert done.code == 0 and "Left out:" in done.err and len(geopandas.read_file(dst)) == 3
