"""Vectors as bytes, with a bound on what that costs: a search reads a quarter of float32 and stays exact.

A row `v` is kept as `scale * code`, code in -127..127. By Cauchy and Schwarz, for any query `w`,
`|<v, w> - scale <code, w>| <= |v - scale code| |w|`; the row's `slack` is that first norm, rounded up, plus what
float32 sums of `dim` products may lose in whatever order they are added (Higham, Accuracy and Stability, 3.1).

Cost of `products`: a byte read and a multiply-add each entry; memory bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 127
TOLERANCE = 1e-4
"""Between `products` and `reference`, of the query's length times the code's; far below a slack."""


def encode(vectors: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Codes `(n, dim)`, scale `(n,)` and slack `(n,)` of vectors `(n, dim)`, row by row."""
    rows = vectors.astype(np.float64)
    scale = (np.abs(rows).max(axis=1, initial=0) / LEVELS).astype(np.float32)
    codes = np.rint(rows / np.where(scale > 0, scale, 1)[:, None]).clip(-LEVELS, LEVELS).astype(np.int8)
    kept = codes * scale[:, None].astype(np.float64)
    lost = np.sqrt(np.square(rows - kept).sum(axis=1))
    rounding = (rows.shape[1] + 8) * 2.0**-23 * np.sqrt(np.square(kept).sum(axis=1))
    return codes, scale, np.nextafter((lost + rounding).astype(np.float32), np.float32(np.inf))


def reference(codes: NDArray[np.int8], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """The formula; see `products`."""
    return (codes.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)


def products(codes: NDArray[np.int8], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """`<code, query>` `(n,)` of contiguous codes `(n, dim)` and a query `(dim,)`, in one thread."""
    from earthwords.kernels._codes import products as loop

    out = np.empty(len(codes), np.float32)
    loop(codes, np.ascontiguousarray(query, np.float32), out)
    return out
