"""Vectors as bytes, with a bound on what that costs: a search reads a quarter of float32 and stays exact.

Vectors are turned first (random signs, then Walsh and Hadamard's matrix: products stay the same), which spreads the few
large entries that CLIP's embeddings have. A turned row `v` is kept as `scale * code`, code in -127..127. By Cauchy and
Schwarz, for any query `w`, `|<v, w> - scale <code, w>| <= |v - scale code| |w|`; the row's `slack` is that first norm,
rounded up, plus what float32 sums of `dim` products may lose in whatever order they are added (Higham, Accuracy and
Stability, 3.1).

Cost of `products`: a byte read and a multiply-add each entry; memory bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 127
TOLERANCE = 1e-4
"""Between `products` and `reference`, of the query's length times the code's; far below a slack."""


def turned(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """`(n, dim)` times an orthogonal matrix, always the same; its blocks are the largest power of 2 in `dim`."""
    count, dim = vectors.shape
    block = dim & -dim
    signs = 1.0 - 2.0 * np.random.Generator(np.random.PCG64(7)).integers(0, 2, dim)
    values = vectors.astype(np.float64) * signs
    half = 1
    while half < block:
        pairs = values.reshape(count, dim // (2 * half), 2, half)
        values = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        half *= 2
    return values.reshape(count, dim) / np.sqrt(block)


def encode(vectors: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Codes `(n, dim)`, scale `(n,)` and slack `(n,)` of vectors `(n, dim)`, row by row; `turned` queries meet them."""
    rows = turned(vectors)
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


def products_each(codes: NDArray[np.int8], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """`products` of every query `(q, dim)`: `(q, n)`; faster than one by one."""
    from earthwords.kernels._codes import products_each as loop

    out = np.empty((len(queries), len(codes)), np.float32)
    if len(queries) == 1:
        out[0] = products(codes, queries[0])
    else:
        loop(codes, np.ascontiguousarray(queries, np.float32), out)
    return out
