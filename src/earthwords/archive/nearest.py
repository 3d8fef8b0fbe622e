"""The vectors nearest to a query, exactly: a first pass over bytes, then the few rows that may be among the first.

A row is looked at again if its score could reach the k-th best of the lower bounds (`kernels.codes`); any other row is
below k rows for certain. Scores are float64 sums of the stored vectors, always added in one order, so equal vectors
have equal scores; ties go to the lower row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError
from earthwords.kernels.codes import products, turned

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
        query = self._checked(query, count)
        if allowed is not None and (rows := np.flatnonzero(allowed)).size <= max(count, EXACT_ROWS):
            return self._best(rows, query, count)
        return self._best(self._candidates(query, count, allowed), query, count)

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

    def _candidates(self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None) -> Rows:
        """Rows, ascending, that hold the `count` best, and few others."""
        length = np.float32(np.linalg.norm(query.astype(np.float64)) * (1 + 1e-6))
        coarse = turned(query[None])[0].astype(np.float32)
        lowest = np.empty(0, np.float32)  # the largest lower bounds so far, `count` at most
        least = np.float32(-np.inf)  # the smallest of them, once there are as many
        kept: list[Rows] = []
        most: list[NDArray[np.float32]] = []
        for start in range(0, len(self), ROWS):
            part = slice(start, start + ROWS)
            scale, slack = self.bounds[:, part]
            score, slack = products(self.codes[part], coarse) * scale, slack * length
            if allowed is not None:
                score[~allowed[part]] = -np.inf
            lower = score - slack
            lowest = np.concatenate([lowest, lower[lower > least]])
            if len(lowest) > count:
                lowest = np.partition(lowest, len(lowest) - count)[-count:]
            if len(lowest) == count:
                least = lowest.min()
            upper = score + slack
            near = np.flatnonzero((upper >= least) & (upper > -np.inf))
            kept.append(near + start)
            most.append(upper[near])
        rows, upper = np.concatenate([np.empty(0, np.int64), *kept]), np.concatenate([lowest[:0], *most])
        return rows[upper >= least]

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


def exact_scores(values: NDArray[np.floating[Any]], query: NDArray[np.floating[Any]]) -> Scores:
    """Products `(n,)` of `(n, dim)` and `(dim,)`; a row's bits do not depend on the others."""
    return np.asarray((values.astype(np.float64) * query.astype(np.float64)).sum(axis=1))
