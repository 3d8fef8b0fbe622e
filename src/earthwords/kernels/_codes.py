"""The loop of `codes`, compiled by numba at first use."""

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
