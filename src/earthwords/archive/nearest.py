"""The vectors nearest to a query, exactly: a first pass over bytes, then the few rows that may be among the first.

A row is looked at again if its score could reach the k-th best of the lower bounds (`kernels.codes`); any other row is
below k rows for certain. Scores are float64 sums of the stored vectors, always added in one order, so equal vectors
have equal scores; ties go to the lower row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError
from earthwords.kernels.codes import products_each, turned

ROWS = 2**16
"""Rows of the first pass at a time."""
EXACT_ROWS = 2**13
"""Rows of the second pass at a time."""

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Rows to search, usually mapped from files."""

    values: NDArray[np.floating[Any]]
    """`(n, dim)`."""
    codes: NDArray[np.int8]
    """`(n, dim)`."""
    bounds: NDArray[np.float32]
    """`(2, n)`: scale and slack of the codes."""

    def __len__(self) -> int:
        return len(self.values)

    def nearest(
        self, query: NDArray[np.floating[Any]], count: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Rows, Scores]:
        """The `count` rows with the largest products, best first, fewer if there are not as many; ties by row.

        Args:
            query: `(dim,)`.
            allowed: `(n,)`, True for rows that count; None: all.

        Raises:
            UsageError: the query has another length or is not finite, or nothing is asked for.
            SourceError: a row is not finite.
        """
        return self.nearest_each(np.asarray(query)[None], count, allowed=allowed)[0]

    def nearest_each(
        self, queries: NDArray[np.floating[Any]], count: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> list[tuple[Rows, Scores]]:
        """`nearest` of every query `(q, dim)`, with one pass over the rows for all of them."""
        checked = [self._checked(query, count) for query in queries]
        if allowed is not None and (rows := np.flatnonzero(allowed)).size <= max(count, EXACT_ROWS):
            return [self._best(rows, query, count) for query in checked]
        candidates = self._candidates(checked, count, allowed)
        return [self._best(rows, query, count) for rows, query in zip(candidates, checked, strict=True)]

    def _checked(self, query: NDArray[np.floating[Any]], count: int) -> NDArray[np.float32]:
        if count < 1:
            raise UsageError(f"At least one result must be asked for, got {count}.")
        query = np.asarray(query, np.float32)
        if query.shape != self.values.shape[1:] or not np.isfinite(query).all():
            raise UsageError(
                f"A query is {self.values.shape[1]} finite numbers, got an array of {query.shape} "
                f"with {np.isfinite(query).sum()} finite ones."
            )
        return query

    def _candidates(
        self, queries: Sequence[NDArray[np.float32]], count: int, allowed: NDArray[np.bool_] | None
    ) -> list[Rows]:
        """Of every query rows, ascending, that hold the `count` best, and few others."""
        found = [_Candidates(query, count) for query in queries]
        if not found:
            return []
        coarse = turned(np.stack(queries)).astype(np.float32)
        for start in range(0, len(self), ROWS):
            part = slice(start, start + ROWS)
            scale, slack = self.bounds[:, part]
            scores = products_each(self.codes[part], coarse)
            for one, score in zip(found, scores, strict=True):
                one.add(start, score * scale, slack, None if allowed is None else allowed[part])
        return [one.rows() for one in found]

    def _best(self, rows: Rows, query: NDArray[np.float32], count: int) -> tuple[Rows, Scores]:
        found, scores = np.empty(0, np.int64), np.empty(0)
        for start in range(0, len(rows), EXACT_ROWS):
            part = rows[start : start + EXACT_ROWS]
            found = np.concatenate([found, part])
            with np.errstate(invalid="ignore"):
                exact = exact_scores(self.values[part], query)
            if not np.isfinite(exact).all():
                raise SourceError(
                    f"Vector {part[~np.isfinite(exact)][0]:,} of the index is not finite; index again with --overwrite."
                )
            scores = np.concatenate([scores, exact])
            order = np.lexsort((found, -scores))[:count]
            found, scores = found[order], scores[order]
        return found, scores


class _Candidates:
    """Rows that may be among the `count` best of a query, from bounds of their scores."""

    def __init__(self, query: NDArray[np.float32], count: int) -> None:
        self.length = np.float32(np.linalg.norm(query.astype(np.float64)) * (1 + 1e-6))
        self.count = count
        self.lowest = np.empty(0, np.float32)  # the largest lower bounds so far, `count` at most
        self.least = np.float32(-np.inf)  # the smallest of them, once there are as many
        self.kept: list[Rows] = []
        self.most: list[NDArray[np.float32]] = []

    def add(
        self,
        start: int,
        score: NDArray[np.float32],
        slack: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
    ) -> None:
        """The next rows, from `start` on."""
        slack = slack * self.length
        if allowed is not None:
            score[~allowed] = -np.inf
        lower = score - slack
        self.lowest = np.concatenate([self.lowest, lower[lower > self.least]])
        if len(self.lowest) > self.count:
            self.lowest = np.partition(self.lowest, len(self.lowest) - self.count)[-self.count :]
        if len(self.lowest) == self.count:
            self.least = self.lowest.min()
        upper = score + slack
        near = np.flatnonzero((upper >= self.least) & (upper > -np.inf))
        self.kept.append(near + start)
        self.most.append(upper[near])

    def rows(self) -> Rows:
        """Ascending."""
        rows = np.concatenate([np.empty(0, np.int64), *self.kept])
        upper = np.concatenate([np.empty(0, np.float32), *self.most])
        return np.asarray(rows[upper >= self.least], np.int64)


def exact_scores(values: NDArray[np.floating[Any]], query: NDArray[np.floating[Any]]) -> Scores:
    """Products `(n,)` of `(n, dim)` and `(dim,)`; a row's bits do not depend on the others."""
    return np.asarray((values.astype(np.float64) * query.astype(np.float64)).sum(axis=1))
