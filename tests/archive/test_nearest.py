"""The exact search against a full sort: ties, filters, vectors that hardly differ, any number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.archive import nearest
from earthwords.archive.nearest import Vectors, exact_scores
from earthwords.errors import UsageError
from earthwords.kernels.codes import TOLERANCE, encode, products, products_each, reference, turned


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vectors(rows: np.ndarray) -> Vectors:
    values = rows.astype(np.float16)
    codes, scale, slack = encode(values)
    return Vectors(values=values, codes=codes, bounds=np.stack([scale, slack]))


def brute(values: np.ndarray, query: np.ndarray, count: int, allowed: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """All scores one by one, all rows sorted by score and number."""
    scores = np.array([np.sum(row.astype(np.float64) * query.astype(np.float64)) for row in values])
    rows = np.arange(len(values)) if allowed is None else np.flatnonzero(allowed)
    rows = np.array(sorted(rows.tolist(), key=lambda i: (-scores[i], i))[:count], np.int64)
    return rows, scores[rows]


def draw(kind: str, dim: int = 37, count: int = 700) -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(count, dim))
    if kind == "ties":
        rows = rows[rng.integers(0, 40, count)]
    if kind == "alike":  # as CLIP's: far from 0, close together
        rows = 8 * rows[:1] + 0.01 * rows
    if kind == "one large entry":
        rows[:, 3] += 60
    return unit(rows)


@pytest.mark.parametrize("kind", ["plain", "ties", "alike", "one large entry"])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("count", [1, 10, 699, 5000])
def test_equal_to_a_full_sort(kind: str, filtered: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "ROWS", 128)
    monkeypatch.setattr(nearest, "EXACT_ROWS", 50)
    found = vectors(draw(kind))
    query = unit(np.random.default_rng(6).normal(size=(1, 37)))[0].astype(np.float32)
    if kind == "alike":
        query = found.values[9].astype(np.float32)
    allowed = np.random.default_rng(7).random(700) < 0.6 if filtered else None
    rows, scores = found.nearest(query, count, allowed=allowed)
    expected = brute(found.values, query, count, allowed)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("large", [0, 5])
def test_few_rows_are_looked_at_twice(large: int) -> None:
    """Also where one entry is far larger than the others, as in CLIP's embeddings."""
    rows = np.random.default_rng(5).normal(size=(20_000, 64))
    rows[:, 3] += large
    found = vectors(unit(rows))
    query = unit(np.random.default_rng(8).normal(size=(1, 64)))[0].astype(np.float32)
    candidates = found._candidates([query], 10, None)[0]
    assert 10 <= len(candidates) < 200
    assert set(found.nearest(query, 10)[0].tolist()) <= set(candidates.tolist())


@pytest.mark.parametrize("dim", [1, 5, 64, 257])
def test_the_bound_holds(dim: int) -> None:
    """Also for the query that suffers most: the error itself."""
    values = np.concatenate([draw("plain", dim=dim), draw("one large entry", dim=max(dim, 4))[:, :dim]])
    values = np.concatenate([values, np.zeros((1, dim)), np.eye(dim)[:1] * 6e-8]).astype(np.float16)
    codes, scale, slack = encode(values)
    there = turned(values)
    np.testing.assert_allclose(there @ there.T, values.astype(float) @ values.T.astype(float), atol=1e-12)
    lost = there - codes * scale[:, None].astype(np.float64)
    for i in (0, 3, len(values) - 3, len(values) - 2, len(values) - 1):
        for query in (lost[i], there[i], np.ones(dim)):
            query = (query / max(np.linalg.norm(query), 1e-30)).astype(np.float32)
            length = np.linalg.norm(query.astype(np.float64))
            coarse = products(codes, query) * scale
            assert (np.abs(exact_scores(there, query) - coarse) <= slack * length + 1e-12).all()


def test_the_loop_equals_its_formula() -> None:
    codes = np.random.default_rng(1).integers(-127, 128, (33, 70), dtype=np.int8)
    query = np.random.default_rng(2).normal(size=70).astype(np.float32)
    scale = np.linalg.norm(codes.astype(float), axis=1).max() * np.linalg.norm(query)
    np.testing.assert_allclose(products(codes, query), reference(codes, query), atol=TOLERANCE * scale)


def test_refusals_and_nothing() -> None:
    empty = vectors(np.empty((0, 8)))
    assert [len(part) for part in empty.nearest(np.ones(8, np.float32), 3)] == [0, 0]
    some = vectors(np.eye(8))
    assert len(some.nearest(np.ones(8, np.float32), 3, allowed=np.zeros(8, bool))[0]) == 0
    with pytest.raises(UsageError, match="8 finite numbers"):
        some.nearest(np.ones(7, np.float32), 3)
    with pytest.raises(UsageError, match="7 finite ones"):
        some.nearest(np.array([np.nan, *np.ones(7)], np.float32), 3)
    with pytest.raises(UsageError, match="At least one"):
        some.nearest(np.ones(8, np.float32), 0)


@pytest.mark.parametrize("filtered", [False, True])
def test_many_queries_at_once_give_what_each_gives(filtered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "ROWS", 128)
    monkeypatch.setattr(nearest, "EXACT_ROWS", 50)
    found = vectors(draw("ties"))
    queries = unit(np.random.default_rng(6).normal(size=(5, 37))).astype(np.float32)
    allowed = np.random.default_rng(7).random(700) < 0.6 if filtered else None
    for query, (rows, scores) in zip(queries, found.nearest_each(queries, 9, allowed=allowed), strict=True):
        expected = brute(found.values, query, 9, allowed)
        np.testing.assert_array_equal(rows, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
    assert found.nearest_each(queries[:0], 9) == []


def test_the_loop_of_many_queries_equals_the_formula() -> None:
    codes = np.random.default_rng(1).integers(-127, 128, (33, 70), dtype=np.int8)
    queries = np.random.default_rng(2).normal(size=(3, 70)).astype(np.float32)
    scale = np.linalg.norm(codes.astype(float), axis=1).max() * np.linalg.norm(queries, axis=1).max()
    expected = [reference(codes, query) for query in queries]
    np.testing.assert_allclose(products_each(codes, queries), expected, atol=TOLERANCE * scale)
