"""Accuracy and area against the numbers of the papers, plain formulas, and simulated samples."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from earthwords.errors import UsageError
from earthwords.evaluation.accuracy.allocation import SampleSpec, allocate, cochran
from earthwords.evaluation.accuracy.estimators import Estimates, PointSample, Strata, Z, estimate

# Olofsson et al. (2014), section 5: deforestation, forest gain, stable forest, stable non-forest; pixels of 30 m
MAPPED = np.array([200_000, 150_000, 3_200_000, 6_450_000], float)
MATRIX = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
HECTARES = 0.09


def sample_of(matrix: NDArray[np.int64]) -> PointSample:
    """Points `(map, truth)` with the classes of the map as strata."""
    pairs = np.repeat(np.indices(matrix.shape).reshape(2, -1), matrix.ravel(), axis=1)
    return PointSample(stratum=pairs[0], mapped=pairs[0], truth=pairs[1], weight=np.ones(pairs.shape[1]))


def strata_of(sizes: NDArray[np.float64]) -> Strata:
    return Strata(names=tuple(map(str, range(len(sizes)))), sizes=sizes, pixels=sizes)


@pytest.fixture(scope="module")
def paper() -> Estimates:
    return estimate(sample_of(MATRIX), strata_of(MAPPED), classes=4, holds=np.eye(4, dtype=bool))


def test_areas_are_those_of_the_paper(paper: Estimates) -> None:
    """Area and half the interval of 95 %, hectares, as printed."""
    hectares = paper.area.value * MAPPED.sum() * HECTARES
    assert hectares.round().tolist() == [21_158, 11_686, 285_770, 581_386]
    assert (Z * paper.area.se * MAPPED.sum() * HECTARES).round().tolist() == [6_158, 3_756, 15_510, 16_282]


def test_accuracies_are_those_of_the_paper(paper: Estimates) -> None:
    """With half the intervals, two digits as printed."""
    assert (round(float(paper.overall.value), 2), round(float(Z * paper.overall.se), 2)) == (0.95, 0.02)
    assert paper.users.value.round(2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert (Z * paper.users.se).round(2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert paper.producers.value.round(2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert (Z * paper.producers.se).round(2).tolist() == [0.21, 0.25, 0.03, 0.02]
    np.testing.assert_array_equal(paper.counts[:4], MATRIX)
    np.testing.assert_allclose(
        paper.proportions[:4], MATRIX / MATRIX.sum(axis=1, keepdims=True) * MAPPED[:, None] / 1e7
    )


def test_formulas_of_olofsson(paper: Estimates) -> None:
    """Equations 5 to 7 and 10, written down once more."""
    share, n = MAPPED / MAPPED.sum(), MATRIX.sum(axis=1)
    users = np.diag(MATRIX) / n
    np.testing.assert_allclose(paper.overall.se, np.sqrt((share**2 * users * (1 - users) / (n - 1)).sum()))
    np.testing.assert_allclose(paper.users.se, np.sqrt(users * (1 - users) / (n - 1)))
    cells = MATRIX / n[:, None]
    np.testing.assert_allclose(
        paper.area.se, np.sqrt((share[:, None] ** 2 * cells * (1 - cells) / (n - 1)[:, None]).sum(0))
    )
    total = (MAPPED[:, None] * cells).sum(axis=0)
    producers = MAPPED * users / total
    for j in range(4):
        others = [i for i in range(4) if i != j]
        missed = sum(MAPPED[i] ** 2 * cells[i, j] * (1 - cells[i, j]) / (n[i] - 1) for i in others)
        own = MAPPED[j] ** 2 * (1 - producers[j]) ** 2 * users[j] * (1 - users[j]) / (n[j] - 1)
        np.testing.assert_allclose(paper.producers.se[j], np.sqrt(own + producers[j] ** 2 * missed) / total[j])


def test_strata_that_are_not_the_classes() -> None:
    """The example of Stehman (2014): 40 points of four strata; figures as the paper has them."""
    sizes = np.array([40_000.0, 30_000, 20_000, 10_000])
    mapped, truth = (
        np.array(["ABCD".index(letter) for letter in letters])
        for letters in (
            "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD",
            "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB",
        )
    )
    stratum = np.repeat(np.arange(4), 10)
    found = estimate(
        PointSample(stratum=stratum, mapped=mapped, truth=truth, weight=np.ones(40)), strata_of(sizes), classes=4
    )
    np.testing.assert_allclose(found.area.value[[0, 2]], [0.35, 0.20])
    np.testing.assert_allclose(found.overall.value, 0.63)
    assert round(float(found.users.value[1]), 3) == 0.574 and round(float(found.producers.value[1]), 3) == 0.794
    for name, upper, lower in (
        ("users", (mapped == 1) & (truth == 1), mapped == 1),
        ("producers", (mapped == 1) & (truth == 1), truth == 1),
        ("overall", mapped == truth, mapped >= 0),
        ("area", truth == 1, mapped >= 0),
    ):
        ratio = getattr(found, name)
        value, se = (np.atleast_1d(part)[-3] if part.ndim else part for part in (ratio.value, ratio.se))
        variance = 0.0
        for h, size in enumerate(sizes):
            y, x = upper[stratum == h].astype(float), lower[stratum == h].astype(float)
            spread = y.var(ddof=1) + value**2 * x.var(ddof=1) - 2 * value * np.cov(y, x)[0, 1]
            variance += size**2 * spread / 10
        total = sum(size * lower[stratum == h].mean() for h, size in enumerate(sizes))
        np.testing.assert_allclose(se, np.sqrt(variance) / total)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """95 % of 2,000 samples, whose strata differ from the classes; and standard errors are the spread of estimates."""
    rng = np.random.default_rng(8)
    sizes, points = np.array([60.0, 25.0, 15.0]), np.array([500, 400, 400])
    chances = np.array(
        [
            [[0.75, 0.10, 0.02], [0.05, 0.05, 0.00], [0.00, 0.00, 0.03]],
            [[0.05, 0.05, 0.00], [0.10, 0.65, 0.05], [0.00, 0.05, 0.05]],
            [[0.02, 0.03, 0.05], [0.00, 0.10, 0.05], [0.05, 0.10, 0.60]],
        ]
    )
    """`(stratum, map, truth)`."""
    joint = np.einsum("h,hij->ij", sizes / sizes.sum(), chances)
    wanted = np.concatenate(
        [[np.trace(joint)], np.diag(joint) / joint.sum(1), np.diag(joint) / joint.sum(0), joint.sum(0)]
    )
    stratum = np.repeat(np.arange(3), points)
    strata = Strata(names=("a", "b", "c"), sizes=sizes, pixels=np.full(3, np.nan))
    flat = chances.reshape(3, 9)
    values, errors = [], []
    for _ in range(2000):
        cells = np.concatenate(
            [np.repeat(np.arange(9), rng.multinomial(n, p)) for n, p in zip(points, flat, strict=True)]
        )
        drawn = PointSample(stratum=stratum, mapped=cells // 3, truth=cells % 3, weight=np.ones(len(cells)))
        found = estimate(drawn, strata, classes=3)
        parts = (found.overall, found.users, found.producers, found.area)
        values.append(np.concatenate([np.atleast_1d(part.value) for part in parts]))
        errors.append(np.concatenate([np.atleast_1d(part.se) for part in parts]))
    value, se = np.array(values), np.array(errors)
    covered = (np.abs(value - wanted) <= Z * se).mean(axis=0)
    assert (np.abs(covered - 0.95) < 0.015).all(), covered
    np.testing.assert_allclose(value.mean(axis=0), wanted, atol=0.003)
    np.testing.assert_allclose(se.mean(axis=0), value.std(axis=0), rtol=0.05)


def test_counts_are_those_of_a_library() -> None:
    rng = np.random.default_rng(3)
    mapped, truth = rng.integers(0, 5, (2, 400))
    points = PointSample(stratum=mapped, mapped=mapped, truth=truth, weight=np.ones(400))
    found = estimate(points, strata_of(np.bincount(mapped).astype(float)), classes=5)
    np.testing.assert_array_equal(found.counts[:5], confusion_matrix(mapped, truth))
    np.testing.assert_allclose(found.overall.value, (mapped == truth).mean()), "strata as large as their samples"
    np.testing.assert_allclose(found.area.value, np.bincount(truth) / 400)


def test_a_census_has_no_error() -> None:
    points = sample_of(MATRIX)
    found = estimate(points, strata_of(MATRIX.sum(axis=1).astype(float)), classes=4)
    assert found.overall.se == 0 and (found.area.se == 0).all()
    half = estimate(points, strata_of(2.0 * MATRIX.sum(axis=1)), classes=4)
    many = Strata(names=("0", "1", "2", "3"), sizes=2.0 * MATRIX.sum(axis=1), pixels=np.full(4, np.nan))
    whole = estimate(points, many, classes=4)
    np.testing.assert_allclose(half.area.se, whole.area.se * np.sqrt(0.5)), "half of all pixels were drawn"


def test_weights_within_a_stratum() -> None:
    """A point of weight 2 counts as two, in means; pixels of a map in degrees differ in area."""
    stratum = np.zeros(4, int)
    strata = Strata(names=("a",), sizes=np.array([9.0]), pixels=np.array([1e6]))
    weighted = PointSample(
        stratum=stratum, mapped=stratum, truth=np.array([0, 1, 1, 1]), weight=np.array([3.0, 1, 1, 1])
    )
    found = estimate(weighted, strata, classes=2)
    np.testing.assert_allclose(found.area.value, [0.5, 0.5])
    spread = np.array([2, 2 / 3, 2 / 3, 2 / 3]) * np.array([0.5, -0.5, -0.5, -0.5])
    np.testing.assert_allclose(found.area.se, np.sqrt((spread**2).sum() / 12))


def test_what_never_differs_has_no_error_left_by_rounding() -> None:
    """All right, and every point of another weight: means in floating point are 1 and a trifle."""
    stratum = np.repeat([0, 1], [31, 47])
    sizes = np.array([3.1e5, 7.7e6])
    points = PointSample(stratum=stratum, mapped=stratum, truth=stratum, weight=1 / (3 + np.cos(np.arange(78) / 7)))
    found = estimate(points, strata_of(sizes), classes=2)
    for each in (found.overall, found.users, found.producers, found.area):
        assert (np.asarray(each.se) == 0).all()


def test_a_single_point_has_no_variance() -> None:
    matrix = np.array([[1, 0, 0], [2, 18, 0], [0, 3, 37]])
    strata = strata_of(np.array([1e4, 1e5, 1e5]))
    found = estimate(sample_of(matrix), strata, classes=3, holds=np.eye(3, dtype=bool))
    assert np.isnan(found.overall.se) and np.isnan(found.area.se).all() and np.isfinite(found.area.value).all()
    assert np.isnan(found.users.se[0]) and np.isfinite(found.users.se[1:]).all(), "of other classes it says nothing"
    assert np.isnan(found.producers.se).all()


def test_what_does_not_count_and_where_there_is_no_class() -> None:
    """Truth -1 is no class that counts; map -1 is no class: they change areas and accuracy each in its way."""
    mapped = np.array([0] * 10 + [1] * 10)
    truth = np.array([0] * 6 + [-1] * 2 + [1] * 2 + [1] * 10)
    strata = strata_of(np.array([5e5, 5e5]))
    points = PointSample(stratum=mapped, mapped=mapped, truth=truth, weight=np.ones(20))
    found = estimate(points, strata, classes=2)
    np.testing.assert_allclose(found.overall.value, (0.6 + 1.0) / (0.8 + 1.0))
    np.testing.assert_allclose(found.users.value, [0.75, 1.0])
    np.testing.assert_allclose(found.area.value, [0.3, 0.6]), "the rest is what does not count"
    bare = PointSample(stratum=mapped, mapped=np.where(np.arange(20) < 5, -1, mapped), truth=truth, weight=np.ones(20))
    found = estimate(bare, strata, classes=2)
    np.testing.assert_allclose(found.overall.value, (0.1 + 1.0) / (0.3 + 1.0))
    np.testing.assert_allclose(found.area.value, [0.3, 0.6])
    assert found.counts[2].tolist() == [5, 0]


def test_points_that_a_standard_error_needs() -> None:
    """The example of Olofsson et al. (2014), 5.1.1: 641 points."""
    assert cochran(list(MAPPED / MAPPED.sum()), [0.70, 0.60, 0.90, 0.95], standard_error=0.01) == 641
    spec = SampleSpec(points=None, standard_error=0.01, expected=("0.9", "d=0.95", "a=0.7", "b=0.6"))
    assert spec.total(["a", "b", "c", "d"], list(MAPPED / MAPPED.sum())) == 641
    assert SampleSpec(points=None, standard_error=0.02).total(["a", "b"], [0.5, 0.5]) == 400, "0.8 if nobody says more"
    with pytest.raises(UsageError, match="Unknown class 'e'"):
        SampleSpec(points=None, standard_error=0.01, expected=("e=0.5",)).total(["a"], [1.0])


@pytest.mark.parametrize("rule", ["olofsson", "proportional", "equal"])
def test_allocations(rule: str) -> None:
    pixels = [200_000, 150_000, 3_200_000, 6_450_000]
    found = allocate(641, MAPPED.tolist(), pixels, rule=rule)  # type: ignore[arg-type]
    assert sum(found) == 641
    wanted = {"olofsson": [50, 50, 179, 362], "proportional": [13, 9, 205, 414], "equal": [160, 160, 160, 160]}[rule]
    np.testing.assert_allclose(found, wanted, atol=1)


def test_no_class_gets_more_points_than_pixels() -> None:
    assert allocate(100, [3.0, 1000.0, 500.0], [3, 1000, 500], rule="equal") == [3, 49, 48]
    assert allocate(100, [3.0, 10.0], [3, 10]) == [3, 10], "a census"
    assert allocate(6, [1.0, 1000.0, 5.0], [9, 1000, 9]) == [2, 2, 2]
    with pytest.raises(UsageError, match="5 points are too few for 3 classes"):
        allocate(5, [1.0, 1000.0, 5.0], [9, 1000, 9])
    for seed in range(200):
        rng = np.random.default_rng(seed)
        pixels = rng.integers(1, 10 ** rng.integers(1, 5), rng.integers(1, 12))
        least = int(np.minimum(2, pixels).sum())
        total = int(rng.integers(least, 3000))
        rule = ("olofsson", "proportional", "equal")[seed % 3]
        found = np.array(allocate(total, pixels * 1.5, pixels.tolist(), rule=rule))  # type: ignore[arg-type]
        assert (
            found.sum() == min(total, pixels.sum())
            and (found <= pixels).all()
            and (found >= np.minimum(2, pixels)).all()
        )


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"points": None}, "--draw N"),
        ({"points": 5, "standard_error": 0.1}, "--draw N"),
        ({"points": 0}, "--draw takes 1 to"),
        ({"points": None, "standard_error": 0.5}, "0.001 to 0.25"),
        ({"points": 9, "expected": ("0.8",)}, "--expected says"),
        ({"points": None, "standard_error": 0.1, "expected": ("road",)}, "not 'road'"),
        ({"points": None, "standard_error": 0.1, "expected": ("road=1.5",)}, "not 'road=1.5'"),
        ({"points": 9, "rare": 1}, "--rare"),
        ({"points": 9, "seed": -1}, "--seed"),
        ({"points": 9, "allocation": "neyman"}, "Unknown allocation"),
    ],
)
def test_samples_that_there_are_not(options: dict[str, object], fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        SampleSpec(**options)  # type: ignore[arg-type]
