"""What a segmenter gives, some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Consecutive full-width rows of the region asked for, in the scene's own pixels."""

    row: int
    """First row, counted from the top of the region."""
    labels: NDArray[np.unsignedinteger]
    """`(row, col)`, `vocabulary.nodata` where nothing was observed."""
    score: NDArray[np.float32]
    """`(row, col)`, 0 where nothing was observed."""
    rgb: NDArray[np.float32]
    """`(3, row, col)`, 0..1."""
    valid: NDArray[np.bool_]
    """`(row, col)`."""
    probabilities: NDArray[np.float32] | None = None
    """`(class, row, col)`, when asked for; NaN where nothing was observed."""
