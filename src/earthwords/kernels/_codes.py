"""The loops of `codes`, compiled by numba at first use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.compiling import compiled


@compiled(fastmath=True, nogil=True, error_model="numpy")
def products(codes: NDArray[np.int8], query: NDArray[np.float32], out: NDArray[Any]) -> None:
    """`out[i] = sum_d codes[i, d] * query[d]`; codes contiguous `(n, dim)`, out float32 `(n,)`."""
    count, dim = codes.shape
    for i in range(count):
        total = np.float32(0)
        for d in range(dim):
            total += np.float32(codes[i, d]) * query[d]
        out[i] = total


@compiled(fastmath=True, nogil=True, error_model="numpy")
def products_each(codes: NDArray[np.int8], queries: NDArray[np.float32], out: NDArray[Any]) -> None:
    """`out[q, i] = sum_d codes[i, d] * queries[q, d]`; a row becomes float32 once for all queries."""
    count, dim = codes.shape
    row = np.empty(dim, np.float32)
    for i in range(count):
        for d in range(dim):
            row[d] = np.float32(codes[i, d])
        for q in range(len(queries)):
            total = np.float32(0)
            for d in range(dim):
                total += row[d] * queries[q, d]
            out[q, i] = total
