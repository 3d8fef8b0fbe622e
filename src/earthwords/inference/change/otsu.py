"""Otsu's threshold, with the arithmetic that AnyChange and DynamicEarth use: scikit-image's, in float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def otsu(values: NDArray[Any], *, bins: int = 256) -> float:
    """The value that parts a histogram in two with the largest variance between them.

    Values, middles of bins and counts are float32, so every product is too: with as many bins as values, as AnyChange
    has it, most bins are empty, neighbours differ in the last bits alone, and double precision finds another bin.

    Args:
        values: any shape; what is not finite is left out.
        bins: of the histogram between the least and the largest value.

    Returns:
        The middle of the last bin of the lower part; the largest value where all are the same but for rounding, NaN
        without any.
    """
    flat = np.asarray(values, np.float32).ravel()
    flat = flat[np.isfinite(flat)]
    if not len(flat) or flat.min() == flat.max():
        return float(flat[0]) if len(flat) else math.nan
    try:
        found, edges = np.histogram(flat, bins)
    except ValueError:  # so little apart that float32 has no room for the bins
        return float(flat.max())
    counts, middles = found.astype(np.float32), ((edges[:-1] + edges[1:]) / 2).astype(np.float32)
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * middles) / below
    mean_above = (np.cumsum((counts * middles)[::-1]) / above[::-1])[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(middles[np.argmax(between)])
