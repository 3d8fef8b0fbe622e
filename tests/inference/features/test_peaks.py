"""Peaks against scipy's maximum filter, ties, borders, missing pixels, places on the map."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from scipy import ndimage

from earthwords.errors import UsageError
from earthwords.inference.features.peaks import find_peaks
from earthwords.types import Grid


def noise(seed: int = 0, shape: tuple[int, int] = (53, 81)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=shape), (1.5, 3.0)).astype(np.float32)


@pytest.mark.parametrize("distance", [1, 1.5, 4, 7.3])
def test_the_maxima_of_a_disc_filter(distance: float) -> None:
    scores = noise()
    reach = np.arange(-int(distance), int(distance) + 1)
    disc = np.hypot(*np.meshgrid(reach, reach)) <= distance
    highest = ndimage.maximum_filter(scores, footprint=disc, mode="constant", cval=-np.inf)
    expected = np.argwhere((scores == highest) & (scores >= 0.01))
    found = find_peaks(scores, distance=distance, least=0.01)
    assert len(found) == len(expected) > 3
    assert {tuple(p) for p in found.points} == {tuple(p) for p in expected}
    assert np.array_equal(found.scores, scores[tuple(found.points.T)])
    assert (np.diff(found.scores) <= 0).all()


def test_none_nearer_than_the_distance_also_on_plateaus() -> None:
    scores = np.round(noise(1), 1)  # many equal neighbours
    found = find_peaks(scores, distance=5, least=0.1)
    gaps = np.hypot(*(found.points[:, None] - found.points[None]).transpose(2, 0, 1))
    assert len(found) > 2
    assert gaps[~np.eye(len(found), dtype=bool)].min() > 5


def test_of_equal_pixels_the_upper_left_one() -> None:
    scores = np.zeros((9, 14))
    scores[4:6, 7:10] = 1
    assert find_peaks(scores, distance=3, least=0.5).points.tolist() == [[4, 7]]


def test_borders_and_missing_pixels() -> None:
    scores = np.zeros((7, 11))
    scores[0, 10], scores[6, 0], scores[3, 5], scores[3, 6] = 3, 2, 1, np.nan
    found = find_peaks(scores, distance=2, least=0.5)
    assert found.points.tolist() == [[0, 10], [6, 0], [3, 5]]
    assert found.scores.tolist() == [3, 2, 1]


def test_nothing_high_enough() -> None:
    found = find_peaks(noise(), distance=3, least=9.0)
    assert len(found) == 0 and found.points.shape == (0, 2)


def test_on_the_map() -> None:
    grid = Grid(crs=CRS("EPSG:32640"), transform=Affine(2, 0, 100, 0, -3, 900), height=5, width=8)
    scores = np.zeros((5, 8))
    scores[1, 6] = 1
    assert find_peaks(scores, distance=1, least=0.5).coordinates(grid).tolist() == [[113, 895.5]]


@pytest.mark.parametrize(("shape", "distance"), [((2, 3, 4), 2), ((3, 4), 0.5), ((3, 4), float("nan"))])
def test_refusals(shape: tuple[int, ...], distance: float) -> None:
    with pytest.raises(UsageError, match="eaks"):
        find_peaks(np.zeros(shape), distance=distance, least=0)
