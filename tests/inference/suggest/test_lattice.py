"""CellFigures of a map in rows, whatever the height of the strips; and edges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy

from earthwords.inference.suggest.canny import canny, grey
from earthwords.inference.suggest.lattice import CellFigures, Lattice, pixel_uncertainty
from earthwords.inference.suggest.sources import MapRows
from earthwords.inference.suggest.strategic import quota, to_bytes

HEIGHT, WIDTH, SIDE = 37, 53, 8


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """`(class, row, col)` that do not sum to one, as synonyms make them; a hole."""
    random = np.random.default_rng(4)
    found = random.dirichlet(np.ones(3), (HEIGHT, WIDTH)).transpose(2, 0, 1) * 0.9
    found[:, 20:30, 11:40] = np.nan
    return found.astype(np.float32)


def strips(values: np.ndarray, heights: list[int], rgb: np.ndarray | None = None) -> Iterator[MapRows]:
    row = 0
    while row < values.shape[1]:
        height = heights[row % len(heights)]
        part = slice(row, row + height)
        yield MapRows(row=row, probabilities=values[:, part], rgb=None if rgb is None else rgb[:, part])
        row += values[:, part].shape[1]


def whole(lattice: Lattice, rows: Iterator[MapRows], at_once: int = 2) -> CellFigures:
    bands = list(lattice.bands(rows, at_once))
    return CellFigures(**{name: np.concatenate([vars(b)[name] for b in bands], axis=-2) for name in vars(bands[0])})


@pytest.mark.parametrize(("heights", "at_once"), [([5], 1), ([16, 3, 9], 2**21), ([64], 2000)])
def test_cells_are_means_of_pixels(
    values: np.ndarray, heights: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthwords.inference.suggest.lattice.AT_ONCE", at_once)
    lattice = Lattice((HEIGHT, WIDTH), SIDE, classes=3, threshold=0.0)
    found = whole(lattice, strips(values, heights))
    assert found.rows.shape == lattice.size == (5, 7)
    for i in range(5):
        for j in range(7):
            cell = values[:, i * SIDE : (i + 1) * SIDE, j * SIDE : (j + 1) * SIDE].reshape(3, -1)
            middle = (i * SIDE + min(SIDE, HEIGHT - i * SIDE) // 2, j * SIDE + min(SIDE, WIDTH - j * SIDE) // 2)
            assert (found.rows[i, j], found.cols[i, j]) == middle
            seen = np.isfinite(cell[0])
            assert found.usable[i, j] == (seen.mean() >= 0.5 and np.isfinite(values[0][middle]))
            if not seen.any():
                continue
            shares = cell[:, seen] / cell[:, seen].sum(axis=0)
            ordered = np.sort(shares, axis=0)
            assert found.margin[i, j] == pytest.approx(1 - (ordered[2] - ordered[1]).mean(), abs=1e-6)
            assert found.entropy[i, j] == pytest.approx(scipy_entropy(shares, base=2).mean(), abs=1e-5)
            np.testing.assert_allclose(found.probabilities[:, i, j], shares.mean(axis=1), atol=1e-6)
            counts = np.bincount(shares.argmax(axis=0), minlength=3) / seen.sum()
            np.testing.assert_allclose(found.labels[:, i, j], counts, atol=1e-9)
    assert lattice.coverage.observed == np.isfinite(values[0]).sum() < lattice.coverage.pixels == HEIGHT * WIDTH


def test_black_pixels_count_as_not_observed(values: np.ndarray) -> None:
    rgb = np.full((3, HEIGHT, WIDTH), 0.5, np.float32)
    rgb[:, :, 40:] = 0
    rgb[0, :8, 40:48] = 0.01
    lattice = Lattice((HEIGHT, WIDTH), SIDE, classes=3, threshold=0.0)
    found = whole(lattice, strips(values, [7], rgb))
    assert found.usable[0].tolist() == [True] * 6 + [False]
    assert not found.usable[1:, 5:].any()
    assert lattice.coverage.black == HEIGHT * 13 - 64
    np.testing.assert_allclose(found.colour[:, 0, 5], [0.01, 0, 0], atol=1e-7)


def test_a_single_class_is_uncertain_at_the_threshold() -> None:
    at = np.array([[0.0, 0.1, 0.3, 0.65, 1.0]])
    _, margin, entropy = pixel_uncertainty(at, 0.3)
    np.testing.assert_allclose(margin, [0, 1 / 3, 1, 0.5, 0], atol=1e-9)
    assert entropy.argmax() == 2 and entropy[2] == pytest.approx(1)
    assert pixel_uncertainty(np.array([[0.5]]), 0.0)[1][0] == 1


def test_edges_of_a_step() -> None:
    image = np.zeros((3, 40, 30), np.uint8)
    image[:, :, 17:] = 200
    found = canny(grey(image))
    assert found[10:30].any(axis=1).all() and set(np.nonzero(found)[1]) <= {16, 17}
    assert not canny(np.full((40, 30), 0.4)).any() and not canny(np.zeros((2, 9))).any()
    assert np.array_equal(canny(grey(image[:, :, ::-1])), canny(grey(image))[:, ::-1])


def test_stretch_leaves_zero_out() -> None:
    image = np.zeros((2, 10, 10))
    image[0, 2:] = np.linspace(100, 300, 80).reshape(8, 10)
    found = to_bytes(image)
    low, high = np.quantile(image[0, 2:], (0.02, 0.98))
    expected = np.clip((image[0, 2:] - low) / (high - low), 0, 1) * 255
    assert not found[1].any() and abs(found[0, 2:].astype(float) - expected).max() < 1


def test_quota_gives_rare_cells_all() -> None:
    available = np.array([[0, 1, 2], [50, 60, 70], [3, 80, 90]])
    assert quota(available, 27).tolist() == [[0, 1, 2], [5, 5, 5], [3, 5, 5]]
