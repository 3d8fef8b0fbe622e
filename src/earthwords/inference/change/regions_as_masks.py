"""Masks without a segmenter: connected regions of what words say of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.instances.regions import RegionCollector
from earthwords.mask_set import MaskSet
from earthwords.types import Grid

LEAST = 16
"""Pixels of a region."""
_NONE = 65535


def regions_of(
    probabilities: NDArray[np.float32],
    grid: Grid,
    *,
    seen: NDArray[np.bool_] | None = None,
    without: int | None = None,
    least: int = LEAST,
) -> MaskSet:
    """Regions of pixels with the same best class, which touch by a side.

    Args:
        probabilities: `(class, row, col)` of the grid.
        grid: of the pixels.
        seen: `(row, col)`, pixels that may belong to one; None: all.
        without: a class that makes no regions.
        least: pixels of a region; smaller ones are left out.

    Returns:
        With the mean probability as score, and the class.
    """
    labels = probabilities.argmax(axis=0)
    known = labels if seen is None else np.where(seen, labels, _NONE)
    counted = [label for label in range(len(probabilities)) if label != without]
    collector = RegionCollector(width=grid.width, counted=counted, values=1)
    every = [*collector.add(0, known, probabilities.max(axis=0)[None]), *collector.finish()]
    regions = sorted((one for one in every if one.pixels >= least), key=lambda one: (one.box, one.label))
    return MaskSet(
        grid=grid,
        boxes=np.array([one.box for one in regions], np.int64).reshape(-1, 4),
        bits=tuple(one.packed() for one in regions),
        scores=np.array([one.means[0] for one in regions], np.float32),
        classes=np.array([one.label for one in regions], np.int32),
    )
