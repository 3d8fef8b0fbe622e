"""Which of many candidates to mark next: the rules, as rows of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.suggest import hslabeling, strategic

Floats = NDArray[np.floating]
Indices = NDArray[np.int64]
SHARP, ODDS = 2.0, 2.0
"""`margin-diversity` draws with odds of (uncertainty^SHARP x distance)^ODDS; chosen on validation images, see docs."""


@dataclass(frozen=True, kw_only=True)
class CandidatePool:
    """Candidates of all scenes; `(n,)` unless said otherwise."""

    scenes: Indices
    """Number of the scene."""
    margin: Floats
    """Mean of 1 - (first - second) of the probabilities."""
    entropy: Floats
    labels: Floats
    """`(n, class)`: shares of the classes of the map."""
    features: Floats
    """`(n, dim)` of unit length."""
    known: Floats
    """`(m, dim)` of unit length: places that are marked already."""
    known_scenes: Indices
    """`(m,)` number of the scene of each."""
    edges: Floats | None = None
    """Density of edges, for `strategic`."""
    rank_by: Floats | None = None
    """Uncertainty of images, for `fast`."""
    diversity: Callable[[Indices], Floats] | None = None
    """Diversity of some images, for `fast`."""

    def __len__(self) -> int:
        return len(self.scenes)


Choose = Callable[[CandidatePool, int, np.random.Generator], Indices]


def each_scene(pool: CandidatePool, n: int) -> NDArray[np.int64]:
    """Most that each scene gives: an equal share, rounded up, more where others have too few."""
    available = np.bincount(pool.scenes)
    cap = -(-n // np.count_nonzero(available))
    while int(np.minimum(available, cap).sum()) < n:
        cap += 1
    return np.minimum(available, cap)


def k_centre(distance: Floats, weight: Floats, n: int, least: Floats | None = None) -> Indices:
    """Greedy k-centre: again and again the candidate with the largest weight times distance to the nearest chosen one.

    Args:
        distance: `(n, n)`.
        least: distance to what is chosen already; None: nothing is, and the heaviest is first.
    """
    left = np.ones(len(weight), bool)
    chosen: list[int] = []
    while len(chosen) < min(n, len(weight)):
        value = weight if least is None else least * weight
        best = int(np.where(left, value, -np.inf).argmax())
        chosen.append(best)
        left[best] = False
        least = distance[best] if least is None else np.minimum(least, distance[best])
    return np.array(chosen, np.int64)


def _ranked(pool: CandidatePool, order: Sequence[int] | Indices, n: int) -> Indices:
    """The first n of an order, no scene above its share."""
    most = each_scene(pool, n)
    chosen: list[int] = []
    for index in order:
        if most[pool.scenes[index]] > 0:
            chosen.append(int(index))
            most[pool.scenes[index]] -= 1
            if len(chosen) == n:
                break
    return np.array(chosen, np.int64)


def _by(value: Callable[[CandidatePool], Floats]) -> Choose:
    return lambda pool, n, random: _ranked(pool, np.argsort(-value(pool), kind="stable"), n)


def _random(pool: CandidatePool, n: int, random: np.random.Generator) -> Indices:
    return _ranked(pool, random.permutation(len(pool)), n)


def _margin_diversity(pool: CandidatePool, n: int, random: np.random.Generator) -> Indices:
    """Drawn one after another, odds by uncertainty and cosine distance to the nearest chosen or marked; centred."""
    middle = pool.features.mean(axis=0)
    features, known = (_unit(part - middle) for part in (pool.features, pool.known))
    least = _least(features, known) if len(known) else None
    most, left = each_scene(pool, n), np.ones(len(pool), bool)
    chosen: list[int] = []
    weight = np.maximum(pool.margin, 1e-6) ** SHARP
    while len(chosen) < n:
        odds = np.where(left, weight if least is None else weight * np.maximum(least, 1e-9), 0) ** ODDS
        best = int(random.choice(len(odds), p=odds / odds.sum()))
        chosen.append(best)
        left[best] = False
        scene = pool.scenes[best]
        most[scene] -= 1
        if most[scene] == 0:
            left &= pool.scenes != scene
        distance = 1 - features @ features[best]
        least = distance if least is None else np.minimum(least, distance)
    return np.array(chosen, np.int64)


def _hslabeling(pool: CandidatePool, n: int, random: np.random.Generator) -> Indices:
    """Scene by scene, as published: weighted k-centre, with what is marked there as chosen already."""
    chosen: list[Indices] = []
    most = each_scene(pool, n)
    for scene in np.argsort(-np.bincount(pool.scenes, pool.margin) / np.maximum(np.bincount(pool.scenes), 1)):
        inside = np.flatnonzero(pool.scenes == scene)
        wanted = int(min(most[scene], n - sum(map(len, chosen))))
        if not wanted:
            continue
        features, unsure = pool.features[inside], pool.margin[inside]
        known = pool.known[pool.known_scenes == scene]
        tells = hslabeling.correlation(features, unsure)
        if len(known):
            least = (1 - known @ features.T).min(axis=0)
            found = k_centre(1 - features @ features.T, unsure, wanted, least)
        else:
            found, _ = hslabeling.points(tells, unsure, wanted)
        chosen.append(inside[found])
    return np.concatenate(chosen)


def _strategic(pool: CandidatePool, n: int, random: np.random.Generator) -> Indices:
    """As published, of tiles; where rounding up gave more than n, the rest is left out at random."""
    assert pool.edges is not None
    levels = np.stack([strategic.levels(_tile_entropy(pool.labels)), strategic.levels(pool.edges)], axis=1)
    order = random.permutation(len(pool))
    found = strategic.select(levels, n, order)
    found = found[np.sort(random.permutation(len(found))[:n])]
    missing = [index for index in order if index not in set(found.tolist())][: n - len(found)]
    return np.concatenate([found, np.array(missing, np.int64)])


def _fast(pool: CandidatePool, n: int, random: np.random.Generator) -> Indices:
    """As published: of `EXPAND` times as many of the most uncertain images the most diverse ones, best first."""
    assert pool.rank_by is not None and pool.diversity is not None
    wide = _ranked(pool, np.argsort(-pool.rank_by, kind="stable"), min(len(pool), EXPAND * n))
    values = pool.diversity(wide)
    return wide[np.argsort(-values, kind="stable")][:n]


EXPAND = 3
"""Images of which diversity takes one."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A way to choose."""

    choose: Choose
    says: str
    """One line for pages and reports."""
    of_tiles: bool = False
    """It judges tiles; a point is the most uncertain cell of one."""
    most_each: int | None = None
    """Candidates of a scene at most."""


RULES: dict[str, Rule] = {
    "margin-diversity": Rule(
        choose=_margin_diversity,
        says="drawn, odds by margin uncertainty and by the distance to what is chosen or marked",
    ),
    "fast": Rule(
        choose=_fast, of_tiles=True, says="FAST of AL4FM: tiles whose map disagrees with regions of alike features"
    ),
    "hslabeling": Rule(
        choose=_hslabeling, most_each=1024, says="points of HSLabeling: k-centre weighted by margin uncertainty"
    ),
    "strategic": Rule(
        choose=_strategic, of_tiles=True, says="strategic sampling: as many tiles of every level of entropy and edges"
    ),
    "margin": Rule(choose=_by(lambda pool: pool.margin), says="the smallest margins of the two best classes"),
    "entropy": Rule(choose=_by(lambda pool: pool.entropy), says="the largest entropies"),
    "random": Rule(choose=_random, says="at random"),
}


def _tile_entropy(shares: Floats) -> Floats:
    """Of a single class and the rest, or of all classes."""
    pairs = np.concatenate([shares, 1 - shares], axis=1) if shares.shape[1] == 1 else shares
    return np.array([strategic.entropy(row) for row in pairs])


def _least(features: Floats, known: Floats) -> Floats:
    """Cosine distance to the nearest known one."""
    parts = list(_blocks(len(known)))
    return np.min([(1 - features @ known[part].T).min(axis=1) for part in parts], axis=0)  # type: ignore[no-any-return]


def _blocks(n: int, size: int = 256) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, n, size))


def _unit(values: Floats) -> Floats:
    found: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return found
