"""Marks of every kind as pixels of scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from earthwords.errors import UsageError
from earthwords.geo.scene import open_scene
from earthwords.inference.teach.marked_pixels import MarkedPixels
from earthwords.inference.teach.marks import MOST_OF_ONE, RasterLabels, VectorLabels

Make = Callable[..., Path]


@pytest.fixture
def scene_path(make_scene: Make) -> Path:
    return make_scene(np.random.default_rng(1).integers(1, 255, (3, 60, 90)).astype(np.uint8))


def _write(path: Path, shapes: list[object], titles: list[object], *, crs: object, column: str = "class") -> Path:
    geopandas.GeoDataFrame({column: titles}, geometry=shapes, crs=crs).to_file(path)
    return path


def test_points_in_degrees_fall_on_their_pixels(scene_path: Path, tmp_path: Path) -> None:
    with open_scene(scene_path) as scene:
        grid = scene.native
        places = [(7, 3), (59, 89), (0, 41)]
        points = [shapely.Point(grid.transform @ (col + 0.5, row + 0.5)) for row, col in places]
        outside = shapely.Point(grid.transform @ (200, 10))
        frame = geopandas.GeoDataFrame({"label": ["a", "b", "a", "c"]}, geometry=[*points, outside], crs=grid.crs)
        frame.to_crs(4326).to_file(tmp_path / "marks.geojson")
        labels = VectorLabels(tmp_path / "marks.geojson", column=None, seed=0)
        found = labels.on(scene)
    assert found.pixels.tolist() == [list(place) for place in places]
    assert found.titles.tolist() == ["a", "b", "a"]
    assert len(set(found.mark.tolist())) == 3
    moved = f"Marks were reprojected to the CRS of their scenes, {grid.crs.name}."
    assert labels.finish(1) == [moved, "1 mark beside the scenes left out."]


def test_pixels_of_polygons_have_their_middle_inside(scene_path: Path, tmp_path: Path) -> None:
    with open_scene(scene_path) as scene:
        to_map = scene.native.transform
        triangle = shapely.Polygon([to_map @ corner for corner in ((2, 1), (70, 5), (10, 50))])
        sliver = shapely.Polygon([to_map @ corner for corner in ((80.1, 20.1), (80.3, 20.1), (80.2, 20.3))])
        path = _write(tmp_path / "m.gpkg", [triangle, sliver], ["water", "road"], crs=scene.native.crs)
        found = VectorLabels(path, column="class", seed=3).on(scene)
    large, small = (found.pixels[found.titles == title] for title in ("water", "road"))
    assert len(large) == MOST_OF_ONE and small.tolist() == [[20, 80]]
    corners = shapely.Polygon([(2, 1), (70, 5), (10, 50)])
    assert all(corners.contains(shapely.Point(col + 0.5, row + 0.5)) for row, col in large)
    assert np.ptp(large, axis=0).min() > 15, "drawn from all over the polygon"


def test_one_more_mark_changes_no_pixels_of_the_others(scene_path: Path, make_scene: Make, tmp_path: Path) -> None:
    """So that their features need not be computed anew: polygons, and a mended label raster."""
    with open_scene(scene_path) as scene:
        to_map = scene.native.transform
        boxes = [shapely.Polygon([to_map @ (x + a, 5 + b) for a, b in ((0, 0), (25, 0), (25, 50), (0, 50))])
                 for x in (2, 32, 62)]  # fmt: skip
        drawn = []
        for which in ((0, 2), (0, 1, 2)):
            path = _write(
                tmp_path / "m.gpkg", [boxes[i] for i in which], [f"c{i}" for i in which], crs=scene.native.crs
            )
            marks = VectorLabels(path, column=None, seed=7).on(scene)
            drawn.append({str(t): marks.pixels[marks.titles == t].tolist() for t in set(marks.titles)})
        assert drawn[0] == {name: drawn[1][name] for name in ("c0", "c2")}
        names = tmp_path / "names.txt"
        names.write_text("none\nwater\nroad\n")
        classes = np.repeat([[1], [2]], 30, axis=0).repeat(90, axis=1).astype(np.uint8)
        samples = []
        for mended in (False, True):
            classes[3:6, 40:44] = 2 if mended else 1
            raster = make_scene(classes[None], name=f"l{mended}.tif", crs=scene.native.crs.to_wkt(), transform=to_map)
            marks = RasterLabels(raster, names=names, titles=(), seed=7).on(scene)
            samples.append({tuple(place) for place in marks.pixels[marks.titles == "water"].tolist()})
            rows = marks.pixels[marks.titles == "water", 0]
            assert len(rows) > 30 and abs(rows.mean() - 14.5) < 4, "from all over the class"
    patch = {(row, col) for row in range(3, 6) for col in range(40, 44)}
    assert samples[0] - patch <= samples[1] and not samples[1] & patch


def test_contradictions_are_named_and_left_out(scene_path: Path, tmp_path: Path) -> None:
    """Of large polygons too, of which few pixels are drawn; a point counts as its pixel."""
    with open_scene(scene_path) as scene:
        to_map = scene.native.transform
        squares = [shapely.Polygon([to_map @ (x + a, 10 + b) for a, b in ((0, 0), (30, 0), (30, 40), (0, 40))])
                   for x in (10, 30)]  # fmt: skip
        point = shapely.Point(to_map @ (5.5, 5.5))
        shapes = [*squares, point, point]
        path = _write(tmp_path / "m.gpkg", shapes, ["water", "road", "water", "trees"], crs=scene.native.crs)
        labels = VectorLabels(path, column=None, seed=0)
        found = labels.on(scene)
    cols = {title: found.pixels[found.titles == title, 1] for title in ("water", "road")}
    assert 0 < len(cols["water"]) < MOST_OF_ONE and cols["water"].max() < 30
    assert 0 < len(cols["road"]) < MOST_OF_ONE and cols["road"].min() >= 40
    assert "trees" not in found.titles
    notes = labels.finish(1)
    assert len(notes) == 1 and "'road' and 'water'; 'trees' and 'water' overlap" in notes[0]


def test_a_label_raster_on_another_grid(scene_path: Path, make_scene: Make, tmp_path: Path) -> None:
    """Pixels three times as large, shifted by six pixels of the scene: each drawn one lies inside its own."""
    with open_scene(scene_path) as scene:
        classes = np.array([[1, 2, 0], [2, 1, 3]], np.uint8)
        data = np.kron(classes, np.ones((8, 9), np.uint8))
        transform = scene.native.transform @ scene.native.transform.translation(6, 3) @ scene.native.transform.scale(3)
        path = make_scene(data[None], name="labels.tif", transform=transform, nodata=0, crs=scene.native.crs.to_wkt())
        names = tmp_path / "names.json"
        names.write_text('{"1": "water,river", "2": "road"}')
        labels = RasterLabels(path, names=names, titles=(), seed=0)
        found = labels.on(scene)
    assert set(found.titles) == {"water", "road"}
    rows, cols = (found.pixels[:, 0] - 3) // 3, (found.pixels[:, 1] - 6) // 3
    value = {"water": 1, "road": 2}
    assert all(data[r, c] == value[t] for r, c, t in zip(rows, cols, found.titles, strict=True))
    assert any("without a name" in note and "3" in note for note in labels.finish(1))


def test_refusals(scene_path: Path, tmp_path: Path) -> None:
    far = _write(tmp_path / "far.gpkg", [shapely.Point(0, 0)], ["a"], crs=4326)
    with open_scene(scene_path) as scene:
        labels = VectorLabels(far, column=None, seed=0)
        labels.on(scene)
    with pytest.raises(UsageError, match=r"None of the 1 mark of .*far.gpkg lies in 1 scene"):
        labels.finish(1)
    with pytest.raises(UsageError, match="is empty"):
        VectorLabels(_write(tmp_path / "e.gpkg", [shapely.Point(0, 0)], [""], crs=4326), column=None, seed=0)


def _examples(scene: str, *, marks: int, title: str = "a", value: float = 0.0) -> MarkedPixels:
    count = 2 * marks
    return MarkedPixels(
        scenes=(scene,), identity=(scene[:1],), titles=(title,), features=np.full((count, 3), value, np.float32),
        title=np.zeros(count, np.int64), scene=np.zeros(count, np.int64),
        pixels=np.stack([np.arange(count) * 10, np.arange(count)], axis=1), mark=np.arange(count) // 2,
        around=np.zeros((4, 3), np.float32), around_scene=np.zeros(4, np.int64),
        around_pixels=np.zeros((4, 2), np.int64),
    )  # fmt: skip


def test_later_marks_count_where_both_mark_a_pixel() -> None:
    first, later = _examples("x.tif", marks=5, value=1), _examples("x.tif", marks=2, title="b", value=2)
    both = first.joined(later)
    assert (len(both), both.titles, both.scenes) == (10, ("a", "b"), ("x.tif",))
    new = both.pixels[:, 0] < 40
    assert (both.features[new] == 2).all() and (both.features[~new] == 1).all()
    assert len(np.unique(both.marks)) == 5
    assert len(both.around) == 4, "what surrounds the marks of a scene is kept once"
    np.testing.assert_allclose(both.weights(), 0.5)
    assert both.identity == ("x",)
    assert first.joined(replace(later, identity=("changed",))).identity == ("",), "nobody knows any more"
    assert first.joined(_examples("y.tif", marks=1)).identity == ("x", "y")


def test_places_are_scenes_or_parts_of_one() -> None:
    one = _examples("x.tif", marks=40)
    assert len(np.unique(one.places())) == 16
    for place in np.unique(one.places()):
        rows = np.sort(one.pixels[one.places() == place, 0])
        assert np.ptp(rows) == 10 * (len(rows) - 1), "neighbours are left out together"
    three = one.joined(_examples("y.tif", marks=2)).joined(_examples("z.tif", marks=1))
    assert three.by_scene() and len(np.unique(three.places())) == 3


def test_scenes_of_the_same_ground_are_left_out_together() -> None:
    """What is held out has not been learned from on another day; tiles that share a border are apart."""
    days = [_examples(f"{name}.tif", marks=20) for name in "abc"]
    copies = days[0].joined(days[1], same_marks=True).joined(days[2], same_marks=True)
    assert not copies.by_scene() and copies.several() == 20 == len(np.unique(copies.marks))
    for place in np.unique(copies.places()):
        inside = copies.places() == place
        assert not np.intersect1d(copies.marks[inside], copies.marks[~inside]).size
    np.testing.assert_allclose(copies.weights(), 1 / 6, rtol=1e-6)
    moved = [replace(day, mark=day.mark + 15 * i) for i, day in enumerate(days)]
    tiles = moved[0].joined(moved[1], same_marks=True).joined(moved[2], same_marks=True)
    assert tiles.by_scene() and len(np.unique(tiles.places())) == 3 and tiles.several() == 0


def test_a_scene_without_a_crs_takes_coordinates_as_its_own(make_scene: Make, tmp_path: Path) -> None:
    """Marks that say a CRS, or a label raster that does: pixels are found, and it is said."""
    image = np.random.default_rng(1).integers(1, 255, (3, 60, 90)).astype(np.uint8)
    path = make_scene(image, name="bare.tif", crs=None)
    labels = make_scene(np.where(image[:1] > 128, 1, 2).astype(np.uint8), name="labels.tif", crs="EPSG:32633")
    with open_scene(path) as scene:
        points = [shapely.Point(scene.native.transform @ (col + 0.5, row + 0.5)) for row, col in ((7, 3), (50, 80))]
        marks = _write(tmp_path / "m.gpkg", points, ["a", "b"], crs="EPSG:32633")
        drawn = VectorLabels(marks, column=None, seed=0)
        assert drawn.on(scene).pixels.tolist() == [[7, 3], [50, 80]]
        raster = RasterLabels(labels, names=None, titles=["-", "a", "b"], seed=0)
        found = raster.on(scene)
    for row, col in found.pixels[:50]:
        assert (image[0, row, col] > 128) == (found.titles[(found.pixels == (row, col)).all(axis=1)][0] == "a")
    for told, name in ((drawn.finish(1), "m.gpkg"), (raster.finish(1), "labels.tif")):
        words = f"bare.tif has no CRS: coordinates of the marks of {name} (CRS WGS 84 / UTM zone 33N)"
        assert any(note.startswith(words) for note in told)
