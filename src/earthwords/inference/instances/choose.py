"""Which candidates are counted, and what is known of the worth of the count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution
from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.instances.instructsam.assign import assign
from earthwords.inference.instances.options import CountOptions

Array: TypeAlias = NDArray[Any]

MERGED = 3.0
"""So many times the usual area of its class, a thing may be several that touch."""
_ENOUGH = 5
"""Things of a class that tell what is usual."""


def chosen(found: InstanceCandidates, counting: CountOptions) -> InstanceCandidates:
    """The candidates that are counted: all of them, or by `assign` as many as are expected."""
    if counting.expected is None:
        return found
    classes = assign(found.similarity, counting.expected)
    kept = found.take(np.flatnonzero(classes >= 0)).classified(classes[classes >= 0])
    return replace(kept, notes=(*found.notes, *_missing(kept, counting)))


def _missing(kept: InstanceCandidates, counting: CountOptions) -> Iterator[str]:
    """What is said where fewer were found than expected."""
    assert counting.expected is not None
    numbers = np.bincount(kept.masks.classes, minlength=len(counting.expected))
    for title, number, expected in zip(kept.masks.titles, numbers.tolist(), counting.expected, strict=True):
        if number < expected:
            yield Caution(f"Expected {expected:,} of {title}, but only {number:,} candidates were found for it.")


def worth(found: InstanceCandidates, counting: CountOptions, *, seen: float) -> tuple[str, ...]:
    """What is known of the worth of a count.

    Args:
        seen: side of what the model sees as one, pixels of the scene.
    """
    return () if counting.method == "peaks" else tuple(_of_sizes(found, seen))


def _of_sizes(found: InstanceCandidates, seen: float) -> Iterator[str]:
    masks = found.masks
    areas, sides = masks.areas, np.sqrt(masks.areas)
    for place, title in enumerate(masks.titles):
        mine = masks.classes == place
        number = int(mine.sum())
        if number and (side := float(np.median(sides[mine]))) < seen:
            yield (
                f"{title}: half of them are at most {side:.0f} pixels across, and the model sees {seen:.0f} pixels as "
                "one: some that touch are counted as one, and small ones missed. A smaller --gsd sees finer."
            )
        usual = float(np.median(areas[mine])) if number >= _ENOUGH else np.inf
        if large := int((areas[mine] > MERGED * usual).sum()):
            share = f"{large:,} of {number:,}"
            yield f"{title}: {share} are more than {MERGED:g} times the usual size and may be several that touch."
    grid = masks.grid
    first, stop = masks.boxes[:, :2], masks.boxes[:, :2] + masks.boxes[:, 2:]
    if cut := int(((first == 0) | (stop == (grid.height, grid.width))).any(axis=1).sum()):
        yield f"{cut:,} of {len(masks):,} things touch the border of the scene and may be parts."
