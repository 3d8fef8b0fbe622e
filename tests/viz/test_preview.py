"""The preview shows the image, the classes and their shares."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from pyproj import CRS

from earthwords.errors import UsageError
from earthwords.types import ClassName, Grid, Vocabulary
from earthwords.viz import preview
from earthwords.viz.panels import EMPTY, GAP, MARGIN, round_length
from earthwords.viz.preview import LegendEntry, PreviewBuilder, overlay


def scene(grid: Grid, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rgb = rng.random((3, *grid.shape)) * [[[1]], [[0.6]], [[0.3]]]
    valid = rng.random(grid.shape) < 0.9
    labels = np.where(valid, rng.integers(0, 3, grid.shape), 255).astype(np.uint8)
    return rgb, labels, valid


def build(grid: Grid, vocabulary: Vocabulary, rows: int, **options: int) -> PreviewBuilder:
    builder = PreviewBuilder(grid, vocabulary, **options)
    rgb, labels, valid = scene(grid)
    for row in range(0, grid.height, rows):
        part = slice(row, row + rows)
        builder.add(row, rgb[:, part], labels[part], valid[part])
    return builder


def panel(image: Image.Image, index: int, height: int, width: int) -> np.ndarray:
    """Of two panels side by side."""
    left = MARGIN + index * (width + GAP)
    return np.asarray(image)[MARGIN : MARGIN + height, left : left + width]


def test_overlay_blends_and_lets_nodata_through(vocabulary: Vocabulary) -> None:
    rgb = np.broadcast_to(np.array([0.2, 0.4, 0.6])[:, None, None], (3, 1, 2))
    out = overlay(rgb, np.array([[2, 255]], np.uint8), vocabulary, opacity=0.55)
    np.testing.assert_array_equal(out[0, 0], np.rint(0.45 * np.array([51, 102, 153]) + 0.55 * np.array([31, 119, 220])))
    np.testing.assert_array_equal(out[0, 1], [51, 102, 153])
    assert out.shape == (1, 2, 3)
    assert out.dtype == np.uint8


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_the_rows_do_not_matter(vocabulary: Vocabulary, rows: int) -> None:
    grid = Grid(height=90, width=130, transform=Affine(2, 0, 5e5, 0, -2, 4e6), crs=CRS.from_epsg(32617))
    expected = build(grid, vocabulary, 90, max_side=70).image()
    assert build(grid, vocabulary, rows, max_side=70).image().tobytes() == expected.tobytes()


def test_the_left_panel_is_the_mean_of_the_valid_pixels(vocabulary: Vocabulary) -> None:
    grid = Grid(height=1000, width=1200, transform=Affine.identity(), crs=None)
    image = build(grid, vocabulary, 128, max_side=600).image()
    rgb, _, valid = scene(grid)
    blocks = np.where(valid, rgb, 0).reshape(3, 500, 2, 600, 2).sum(axis=(2, 4))
    seen = valid.reshape(500, 2, 600, 2).sum(axis=(1, 3))
    expected = np.moveaxis(blocks / np.maximum(seen, 1) * 255, 0, -1)
    expected[seen == 0] = EMPTY
    assert np.abs(panel(image, 0, 500, 600) - expected).max() <= 0.5 + 1e-9


def test_the_right_panel_shows_colours(vocabulary: Vocabulary) -> None:
    grid = Grid(height=500, width=600, transform=Affine.identity(), crs=None)
    builder = PreviewBuilder(grid, vocabulary)
    labels = np.zeros(grid.shape, np.uint8)
    labels[:, 300:] = 2
    builder.add(0, np.full((3, *grid.shape), 0.5), labels, np.ones(grid.shape, bool))
    right = panel(builder.image(), 1, 500, 600).astype(int)
    assert right[250, 100].argmax() == 0  # building is red
    assert right[250, 500].argmax() == 2  # water is blue


def test_shares_count_every_labelled_pixel(vocabulary: Vocabulary) -> None:
    grid = Grid(height=90, width=130, transform=Affine.identity(), crs=None)
    builder = build(grid, vocabulary, 13, max_side=16)
    _, labels, valid = scene(grid)
    counts = np.bincount(labels[valid], minlength=3)
    np.testing.assert_allclose(builder.shares, counts / counts.sum())


def test_small_scenes_are_enlarged_and_large_ones_reduced(vocabulary: Vocabulary) -> None:
    def width(height: int, width: int) -> int:
        grid = Grid(height=height, width=width, transform=Affine.identity(), crs=None)
        return build(grid, vocabulary, 500, max_side=512).image().width

    assert width(40, 40) == 2 * 480 + GAP + 2 * MARGIN
    assert width(900, 1000) == 2 * 512 + GAP + 2 * MARGIN


def test_wide_scenes_are_stacked(vocabulary: Vocabulary) -> None:
    grid = Grid(height=100, width=600, transform=Affine.identity(), crs=None)
    image = build(grid, vocabulary, 100).image()
    assert image.width == 600 + 2 * MARGIN
    assert image.height > 2 * 100 + GAP + 2 * MARGIN


def test_a_scale_bar_needs_metres(vocabulary: Vocabulary) -> None:
    """0.3 of the panel's 500 px x 2 m is 300 m, of which 200 m are drawn: 100 px of white."""
    black = np.zeros((3, 500, 500))
    labels, valid = np.zeros((500, 500), np.uint8), np.ones((500, 500), bool)
    rows = {}
    for name, crs in (("utm", CRS.from_epsg(32617)), ("none", None)):
        grid = Grid(height=500, width=500, transform=Affine(2, 0, 5e5, 0, -2, 4e6), crs=crs)
        builder = PreviewBuilder(grid, vocabulary)
        builder.add(0, black, labels, valid)
        left = panel(builder.image(), 0, 500, 500)
        rows[name] = int((left[500 - 16] == 255).all(axis=1).sum())
    assert rows["none"] == 0
    assert rows["utm"] == pytest.approx(100, abs=4)


@pytest.mark.parametrize(
    ("most", "expected"), [(300, 200), (500, 500), (499, 200), (1999, 1000), (0.3, 0.2), (2.0, 2), (0.1, 0.1)]
)
def test_round_lengths(most: float, expected: float) -> None:
    assert round_length(most) == expected


def test_many_long_and_foreign_titles_are_drawn() -> None:
    names = [
        "建筑物",
        "дорога",
        "a class with a name so long that no legend could ever hold all of it",
        *map(str, range(60)),
    ]
    many = Vocabulary(classes=tuple(ClassName(names=(name,), colour=(i, 9, 9)) for i, name in enumerate(names)))
    grid = Grid(height=40, width=50, transform=Affine.identity(), crs=None)
    image = build(grid, many, 40).image()
    assert image.width < 2000
    assert image.height < 2000


def test_a_scene_without_valid_pixels_is_blank(vocabulary: Vocabulary) -> None:
    grid = Grid(height=500, width=500, transform=Affine.identity(), crs=None)
    builder = PreviewBuilder(grid, vocabulary)
    builder.add(0, np.ones((3, 500, 500)), np.full((500, 500), 255, np.uint8), np.zeros((500, 500), bool))
    assert (panel(builder.image(), 1, 500, 500) == EMPTY).all()
    assert builder.shares.sum() == 0


def test_wrong_rows_are_refused(vocabulary: Vocabulary) -> None:
    grid = Grid(height=9, width=7, transform=Affine.identity(), crs=None)
    builder = PreviewBuilder(grid, vocabulary)
    with pytest.raises(UsageError, match=r"must be \(3, rows, 7\)"):
        builder.add(0, np.zeros((3, 2, 6)), np.zeros((2, 6), np.uint8), np.ones((2, 6), bool))


def test_a_picture_needs_some_pixels(vocabulary: Vocabulary) -> None:
    grid = Grid(height=9, width=7, transform=Affine.identity(), crs=None)
    with pytest.raises(UsageError, match="at least 16 pixels, got 3"):
        PreviewBuilder(grid, vocabulary, max_side=3)


def test_the_legend_tells_of_pixels_without_a_class(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observed ones alone: nodata is none of them."""
    shown: list[tuple[str, str]] = []

    def drawn(panels: object, entries: list[LegendEntry]) -> Image.Image:
        shown.extend((entry.title, entry.share) for entry in entries)
        return compose(panels, entries)

    compose = preview.compose
    monkeypatch.setattr(preview, "compose", drawn)
    grid = Grid(height=20, width=50, transform=Affine.identity(), crs=None)
    for without in (300, 0):
        labels, valid = np.zeros(1000, np.uint8), np.ones(1000, bool)
        labels[:without], valid[800:] = vocabulary.nodata, False
        builder = PreviewBuilder(grid, vocabulary)
        builder.add(0, np.full((3, 20, 50), 0.5), labels.reshape(20, 50), valid.reshape(20, 50))
        shown.clear()
        builder.image()
        assert [title for title, _ in shown[: len(vocabulary)]] == list(vocabulary.titles)
        assert shown[len(vocabulary) :] == ([("no class", "37.5 %")] if without else [])
