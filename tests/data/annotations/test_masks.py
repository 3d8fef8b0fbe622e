"""Formats with masks and published sets of expressions, on tiny files in the published layouts."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthwords.data.annotations.boxes._common import How
from earthwords.data.annotations.instances import Instances
from earthwords.data.annotations.masks._pickles import read_plain
from earthwords.data.annotations.masks._rle import Box, Mask, area_of, mask_of
from earthwords.data.expressions.generate import express
from earthwords.data.expressions.lines import OUTLINES
from earthwords.errors import EarthwordsError, SourceError
from earthwords.kernels.masks.run_lengths import mask_of_runs, runs_of_mask, runs_of_text, text_of_runs
from earthwords.plugins import load
from earthwords.types import Window
from tests.conftest import TRANSFORM, write_raster
from tests.data.annotations.drawn_masks import (
    COURT,
    HEIGHT,
    PLANE,
    WIDTH,
    box,
    compressed,
    image,
    read,
    rle,
    rrsisd,
    runs,
)
from tests.micro import patchwork

WHOLE = Window(row=0, col=0, height=HEIGHT, width=WIDTH)


def pixels(segmentation: Any, window: Window = WHOLE) -> NDArray[np.bool_]:
    return mask_of(segmentation, HEIGHT, WIDTH).inside(window)


def drawn(rings: list[list[float]]) -> NDArray[np.bool_]:
    """All of the image at once, by Pillow."""
    image = Image.new("1", (WIDTH, HEIGHT))
    for ring in rings:
        ImageDraw.Draw(image).polygon((np.array(ring) - 0.5).tolist(), fill=1)
    return np.asarray(image, dtype=bool)


@pytest.mark.parametrize("seed", range(40))
def test_a_mask_is_the_same_in_every_window(seed: int) -> None:
    """Of polygons that leave the image or lie outside, of runs that turn at the foot of a column, of several."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 9, 2)
    rings = [(rng.uniform(-0.4, 1.4, (n, 2)) * (WIDTH, HEIGHT)).ravel().tolist() for n in sizes]
    rings[0] = [round(value) + rng.choice([0.0, 0.5]) for value in rings[0]]
    runs_mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    row, col = rng.integers(0, HEIGHT - 6), rng.integers(0, WIDTH - 8)
    runs_mask[row : row + rng.integers(1, 40), col : col + rng.integers(1, 40)] = rng.random() < 0.8
    runs_mask[rng.integers(0, HEIGHT, 5), rng.integers(0, WIDTH, 5)] = seed % 3 == 0
    boxes = np.array([-3.4, 5.5, 20.2, 80.0]) + rng.uniform(-9, 9, 4)
    left, top, right, bottom = (round(v) for v in (*boxes[:2], boxes[0] + boxes[2], boxes[1] + boxes[3]))
    box_mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    box_mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    cases: list[tuple[Mask, NDArray[np.bool_]]] = [
        (mask_of(rings, HEIGHT, WIDTH), drawn(rings)),
        (mask_of(rings[:1], HEIGHT, WIDTH), drawn(rings[:1])),
        (mask_of(rle(runs_mask), HEIGHT, WIDTH), runs_mask),
        (mask_of([rle(runs_mask), rle(box_mask)], HEIGHT, WIDTH), runs_mask | box_mask),
        (Box.of(boxes.tolist(), HEIGHT, WIDTH), box_mask),
    ]
    for mask, wanted in cases:
        assert area_of(mask) == wanted.sum()
        for _ in range(6):
            (top, bottom), (left, right) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in wanted.shape)
            window = Window(row=int(top), col=int(left), height=int(bottom - top), width=int(right - left))
            np.testing.assert_array_equal(mask.inside(window), wanted[window.slices])
        outside = wanted.copy()
        if mask.window is not None:
            outside[mask.window.slices] = False
        assert not outside.any()


@pytest.mark.parametrize("tile", [None, 512])
def test_coco_holds_one_mask_at_a_time(tmp_path: Path, tile: int | None) -> None:
    """200 masks of 3 million pixels each would be 600 MB; numbers of the whole image are 12 MB."""
    height, width = 1500, 2000
    rng = np.random.default_rng(0)
    annotations = []
    for i in range(200):
        x, y = rng.integers(0, width - 400), rng.integers(0, height - 300)
        ring = [x, y, x + 390, y + 20, x + 300, y + 280, x + 10, y + 200]
        annotations.append({"id": i, "image_id": 1, "category_id": 1, "segmentation": [list(map(int, ring))]})
    Image.new("L", (width, height)).save(tmp_path / "a.png")
    told = {
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "roof"}],
        "annotations": annotations,
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(told))
    reader = load(OUTLINES, "coco", kind="format")
    (item,) = reader.items(tmp_path / "a.json", How())
    tracemalloc.start()
    try:
        things = sum(len(found.classes) for found in reader.load(item, How(tile=tile)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert things >= 60 and peak < 40e6, f"{peak:,}"


def test_run_lengths() -> None:
    rng = np.random.default_rng(0)
    for density in (0.02, 0.5, 0.98):
        mask = rng.random((HEIGHT, WIDTH)) < density
        counts = runs(mask)
        assert runs_of_text(compressed(counts)) == runs_of_text(compressed(counts).encode()) == counts
        assert runs_of_mask(mask).tolist() == counts and text_of_runs(counts) == compressed(counts)
        assert np.array_equal(mask_of_runs(counts, HEIGHT, WIDTH), mask)
        assert np.array_equal(pixels(rle(mask)), mask)
        assert np.array_equal(pixels([rle(mask)]), mask)
        assert np.array_equal(pixels({"size": [HEIGHT, WIDTH], "counts": counts}), mask)
    whole = np.ones((HEIGHT, WIDTH), dtype=bool)
    assert pixels(rle(whole)).all() and not pixels(rle(~whole)).any()
    # by hand: 6 runs over 3 rows and 4 columns, 1 2 1 3 2 3; the fourth is 3 - 2, the fifth 2 - 1, the sixth 3 - 3
    assert runs_of_text("121110") == [1, 2, 1, 3, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH + 1]},
        {"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]},
        {"size": [HEIGHT, WIDTH], "counts": "P"},
        {"size": [HEIGHT, WIDTH], "counts": "PPPPPPPPPPPPPPPP0"},
        {"size": [HEIGHT, WIDTH], "counts": "é1"},
        {"size": [HEIGHT, WIDTH]},
        "text",
    ],
)
def test_damaged_run_lengths(wrong: Any) -> None:
    with pytest.raises(ValueError, match="mask"):
        mask_of(wrong, HEIGHT, WIDTH)


def test_polygons() -> None:
    found = pixels([[10, 5, 30, 5, 30, 15, 10, 15], [40, 30, 50, 30, 50, 39]])
    assert found[10, 20] and found[31, 49] and not found[10, 35] and not found[38, 41]
    assert abs(np.count_nonzero(found[:20]) - 200) <= 40


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("import pathlib; pathlib.Path('pwned').touch()",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_of_plain_values(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.p"
    plain = [{"a": 1, "b": [2.5, None, True], "c": "é", "d": (1, 2)}, OrderedDict(x={3})]
    numbers = [np.int64(7), np.float32(0.5), np.arange(6, dtype=">i2").reshape(2, 3), np.array([True, False])]
    path.write_bytes(pickle.dumps([plain, numbers], protocol))
    found = read_plain(path)
    assert found[0] == [{"a": 1, "b": [2.5, None, True], "c": "é", "d": [1, 2]}, {"x": [3]}]
    assert found[1] == [7, 0.5, [[0, 1, 2], [3, 4, 5]], [True, False]]
    assert json.loads(json.dumps(found)) == found
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    path.write_bytes(pickle.dumps(fortran, protocol))
    assert read_plain(path) == fortran.tolist()


@pytest.mark.parametrize(
    "evil",
    [
        pickle.dumps(Evil()),
        pickle.dumps([{"sent": Evil()}]),
        pickle.dumps(np.array([Evil()], dtype=object)),
        pickle.dumps(np.array([{"a": 1}], dtype=object)),
        pickle.dumps(Path("x")),
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        b"cbuiltins\ngetattr\n(cbuiltins\nset\nS'__class__'\ntR.",
        b"cnumpy\ndtype\n.",
        b"P1\n.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"not a pickle",
        b"",
    ],
    ids=str,
)
def test_no_pickle_runs_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refs.p").write_bytes(evil)
    with pytest.raises(SourceError, match=r"refs\.p"):
        read_plain(tmp_path / "refs.p")
    assert not (tmp_path / "pwned").exists()


def coco(folder: Path) -> Path:
    """A triangle, run lengths, a box, a crowd."""
    image(folder / "images" / "a.png")
    entries = [
        {"image_id": 1, "category_id": 1, "segmentation": [[2, 2, 30, 2, 2, 30]], "bbox": [2, 2, 28, 28]},
        {"image_id": 1, "category_id": 2, "segmentation": rle(COURT), "bbox": [30, 20, 25, 18]},
        {"image_id": 1, "category_id": 2, "bbox": [40, 2, 8, 6]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
    ]
    told = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": entries,
            "categories": [{"id": 1, "name": "roof"}, {"id": 2, "name": "ship"}, {"id": 3, "name": "car"}]}  # fmt: skip
    path = folder / "all.json"
    path.write_text(json.dumps(told))
    return path


def test_coco_masks(tmp_path: Path) -> None:
    source = coco(tmp_path)
    (found,) = read(source, How(classes={"roof": "building", "*": "boat"}))
    assert isinstance(found, Instances)
    assert found.classes == ("building", "boat", "boat") and found.known == ("building", "boat")
    assert found.ids[5, 5] == 1 and found.ids[28, 28] == 0 and np.array_equal(found.ids == 2, COURT)
    assert (found.ids == 3).sum() == 48 and not found.solid
    assert [(part.example.name, part.classes) for part in read(source, How(tile=40))] == [
        ("a@0,0", ("roof", "ship")),
        ("a@0,20", ("roof", "ship", "ship")),
    ]


def test_class_masks_with_instances(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    for name in ("masks", "instances"):
        (tmp_path / name).mkdir()
    mask = np.where(PLANE, 1, np.where(COURT, 2, 0)).astype(np.uint8)
    mask[:, -1] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    (tmp_path / "classes.json").write_text('{"1": "ship", "2": "lake"}')
    (whole,) = read(tmp_path)
    assert isinstance(whole, Instances) and whole.classes == ("ship", "lake") and whole.known == ()
    numbers = np.where(PLANE, 400, 0).astype(np.uint16)
    numbers[:, 10:] *= 2
    Image.fromarray(numbers).save(tmp_path / "instances" / "a.png")
    (apart,) = read(tmp_path)
    assert isinstance(apart, Instances) and apart.classes == ("ship", "ship", "lake")
    Image.fromarray(numbers[:-1]).save(tmp_path / "instances" / "a.png")
    with pytest.raises(SourceError, match=r"a\.png is 39 x 60 pixels, its image .* 40 x 60"):
        read(tmp_path)


def test_a_class_of_the_table_that_a_mask_has_nowhere_is_known_to_be_absent(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.where(PLANE, 7, 0).astype(np.uint8)).save(tmp_path / "masks" / "a.png")
    table = {"0": "", "3": "boat,ship", "7": "plane", "9": "plane", "201": "airport"}
    (tmp_path / "classes.json").write_text(json.dumps(table))
    (found,) = read(tmp_path)
    assert isinstance(found, Instances) and found.classes == ("plane",)
    assert found.known == ("plane", "boat,ship", "airport")
    said = express(found, np.zeros((*PLANE.shape, 3), np.uint8), count=40, negatives=0.5)
    absent = {each.category for each in said.expressions if not each.ids}
    assert {"boat,ship", "airport"} <= absent


def test_polygons_over_a_raster(tmp_path: Path) -> None:
    write_raster(tmp_path / "town.tif", np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), crs=None, photometric="RGB")
    to_map = TRANSFORM
    ring = [to_map @ (col, row) for col, row in ((4, 6), (44, 6), (44, 30), (4, 30), (4, 6))]
    hole = [to_map @ (col, row) for col, row in ((10, 10), (20, 10), (20, 20), (10, 20), (10, 10))]
    shape = {"type": "Polygon", "coordinates": [ring, hole]}
    told = {"type": "FeatureCollection",
            "features": [{"type": "Feature", "properties": {"class": "roof"}, "geometry": shape}]}  # fmt: skip
    (tmp_path / "town.geojson").write_text(json.dumps(told))
    (found,) = read(tmp_path / "town.geojson")
    assert isinstance(found, Instances) and found.classes == ("roof",) and found.solid
    assert found.ids[25, 30] == 1 and found.ids[15, 15] == 0 and found.ids[35, 30] == 0
    assert abs(int((found.ids == 1).sum()) - (40 * 24 - 100)) <= 70
    parts = read(tmp_path / "town.geojson", How(tile=32))
    assert [part.example.name for part in parts][:2] == ["town@0,0", "town@0,28"]


def test_boxes_of_other_formats(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("ship\n")
    (found,) = read(tmp_path)
    assert isinstance(found, Instances) and not found.solid
    assert found.classes == ("ship",) and np.array_equal(found.ids == 1, box(16, 24, 24, 36))


def swap(path: Path) -> None:
    path.write_text(path.read_text().replace(f"[{HEIGHT}, {WIDTH}]", f"[{WIDTH}, {HEIGHT}]"))


@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (lambda root: (root / "rrsisd" / "instances.json").write_text("{}"), "do not fit"),
        (lambda root: swap(root / "rrsisd" / "instances.json"), "60 x 40 pixels belongs to an image of 40 x 60"),
        (lambda root: (root / "rrsisd" / "refs(unc).p").write_bytes(b"cos\nsystem\n."), "os.system"),
        (lambda root: (root / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps([{"split": "val"}])), "do not fit"),
        (lambda root: (root / "images/rrsisd/JPEGImages/00011.jpg").unlink(), "00011.jpg does not exist"),
        (lambda root: (root / "images/rrsisd/JPEGImages").rename(root / "elsewhere"), "--images"),
    ],
)
def test_damaged_sets(tmp_path: Path, damage: Callable[[Path], Any], fragment: str) -> None:
    source = rrsisd(tmp_path / "data")
    damage(source)
    with pytest.raises(EarthwordsError, match=fragment.replace(".", r"\.")):
        read(source)
