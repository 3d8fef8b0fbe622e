"""Choosing among candidates: against brute force, against the order of the numbers, and evenly over scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earthwords.inference.suggest.fast import image_uncertainty, match
from earthwords.inference.suggest.select import RULES, CandidatePool, each_scene, k_centre


def pool(n: int = 60, *, scenes: int = 3, dim: int = 6, seed: int = 1, **changes: Any) -> CandidatePool:
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, dim))
    labels = random.dirichlet(np.ones(4), n)
    return CandidatePool(
        **{
            "scenes": np.sort(random.integers(0, scenes, n)),
            "margin": random.random(n),
            "entropy": random.random(n),
            "labels": labels,
            "features": features / np.linalg.norm(features, axis=1, keepdims=True),
            "known": np.zeros((0, dim)),
            "known_scenes": np.zeros(0, np.int64),
            "edges": random.random(n),
            "rank_by": random.random(n),
            "diversity": lambda index: np.sin(index.astype(float)),
            **changes,
        }
    )


def choose(rule: str, of: CandidatePool, n: int, seed: int = 5) -> list[int]:
    found = RULES[rule].choose(of, n, np.random.default_rng(seed)).tolist()
    assert len(set(found)) == len(found) == n
    return list(found)


@pytest.mark.parametrize("rule", RULES)
def test_equal_seeds_choose_alike(rule: str) -> None:
    assert choose(rule, pool(), 9) == choose(rule, pool(), 9)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"strategic", "fast"}))
@pytest.mark.parametrize("n", [2, 7, 12])
def test_points_are_spread_evenly_over_scenes(rule: str, n: int) -> None:
    of = pool(scenes=3)
    of.margin[of.scenes == 0] += 5  # by itself it would take all
    of.entropy[of.scenes == 0] += 5
    counts = np.bincount(of.scenes[choose(rule, of, n)], minlength=3)
    assert counts.max() <= -(-n // 3) and (n < 3 or counts.min() >= n // 3 - 1)


def test_a_small_scene_leaves_its_share_to_others() -> None:
    of = pool(scenes=3)
    few = CandidatePool(**{**vars(of), "scenes": np.array([0] * 2 + [1] * 28 + [2] * 30)})
    assert each_scene(few, 12).tolist() == [2, 5, 5]
    assert np.bincount(few.scenes[choose("random", few, 12)]).tolist() == [2, 5, 5]
    assert len(choose("margin-diversity", few, 60)) == 60


def test_margin_and_entropy_take_the_largest() -> None:
    of = pool(scenes=1)
    for rule, values in (("margin", of.margin), ("entropy", of.entropy)):
        assert choose(rule, of, 5) == np.argsort(-values)[:5].tolist()


def test_k_centre_is_the_greedy_one() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        points, weight, known = random.normal(size=(12, 3)), random.random(12), random.normal(size=(2, 3))
        distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
        least = np.linalg.norm(points[:, None] - known[None], axis=-1).min(axis=1)
        chosen: list[int] = []
        for _ in range(5):  # word for word
            others = [np.vstack([known, points[chosen]])]
            values = [
                -1 if i in chosen else weight[i] * min(np.linalg.norm(points[i] - other) for other in others[0])
                for i in range(12)
            ]
            chosen.append(int(np.argmax(values)))
        assert k_centre(distance, weight, 5, least).tolist() == chosen


def test_k_centre_is_within_twice_the_best() -> None:
    """What greedy k-centre is known for, where all weigh the same (Gonzalez 1985)."""
    from itertools import combinations

    points = np.random.default_rng(8).normal(size=(11, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    best = min(distance[list(some)].min(axis=0).max() for some in combinations(range(11), 3))
    found = distance[k_centre(distance, np.ones(11), 3)].min(axis=0).max()
    assert best <= found <= 2 * best + 1e-12


def test_what_is_marked_is_not_wanted_again() -> None:
    of = pool(scenes=1, dim=2)
    side = np.where(np.arange(60) < 30, 0.0, np.pi) + np.random.default_rng(2).normal(0, 0.05, 60)
    features = np.stack([np.cos(side), np.sin(side)], axis=1)
    near_first = CandidatePool(
        **{**vars(of), "features": features, "known": features[:4], "known_scenes": np.zeros(4, int)}
    )
    for rule in ("margin-diversity", "hslabeling"):
        assert choose(rule, near_first, 1)[0] >= 30


def test_the_right_giou_differs_from_the_authors() -> None:
    """A prediction inside a mask: their corners taken for centres move the two against each other."""
    boxes, scores, masks = np.array([[6.0, 6, 10, 10]]), np.array([0.9]), np.array([[2.0, 2, 8, 8]])
    right, theirs = match(boxes, scores, masks), match(boxes, scores, masks, corners_as_centres=True)
    assert right.giou[0] == pytest.approx(16 / 64)  # inside: IoU, and nothing is empty in the hull
    assert theirs.giou[0] != pytest.approx(16 / 64)
    cost = (4 + 4 + 4 + 4) / 16 + 1 - 0.25
    c, m = 0.9, np.exp(-cost)
    assert image_uncertainty(right) == pytest.approx(abs(c - m) + 0.5 * (1 - c) * (1 - m))
    assert image_uncertainty(match(boxes, np.array([0.5]), masks)) == 0.0
    assert image_uncertainty(match(np.zeros((0, 4)), np.zeros(0), masks)) == 0.0
    assert image_uncertainty(match(boxes, scores, np.zeros((0, 4)))) == 0.0
