"""Which candidates are counted, and what is known of the worth of the count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution
from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.instances.instructsam.assign import assign
from earthwords.inference.instances.options import CountOptions
from earthwords.text.usual_sizes import UsualSize

Array: TypeAlias = NDArray[Any]

MERGED = 3.0
"""So many times the usual area of its class, a thing may be several that touch."""
FEWEST = 2.5
"""So many times what the model sees as one, a thing must usually cover for its number to mean something."""
ODD = 0.3
"""Of the things of a class: where more are smaller or larger than such things are, the number means little."""
SEVERAL = 3.0
"""So many times the usual area of such things, half of those of a class may be several each."""
_ENOUGH = 5
"""Things of a class that tell what is usual."""
_FEW = 3
"""Fewer things may all be large ones."""


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


def doubts(
    found: InstanceCandidates,
    counting: CountOptions,
    *,
    sizes: Sequence[UsualSize | None],
    areas: NDArray[np.float64],
    token: float,
) -> tuple[str | None, ...]:
    """Class by class why its number means little, without its name; None: nothing is known against it.

    Chosen on rendered scenes (`benchmarks/bench_count.py --only worth`): scores and the agreement of regions and peaks
    tell nothing of how good a count is, the sizes of things do.

    Args:
        sizes: that things of the counted classes have.
        areas: `(mask,)` square metres.
        token: what the model sees as one, square metres.
    """
    return tuple(
        None if size is None else _doubt(areas[found.masks.classes == place], size, token, counting)
        for place, size in enumerate(sizes)
    )


def _doubt(areas: NDArray[np.float64], size: UsualSize, token: float, counting: CountOptions) -> str | None:
    reasons, advice = [], []
    if counting.method != "instructsam" and size.usual < FEWEST * token:
        reasons.append(
            f"one usually covers {size.usual:g} m2, {size.usual / token:.1f} times the {token:.2g} m2 that the model "
            f"sees as one (it takes {FEWEST:g})"
        )
        advice.append("see finer (a smaller --gsd), or take --method instructsam or another model")
    odd = int(((areas < size.smallest) | (areas > size.largest)).sum())
    if counting.method != "peaks" and odd > ODD * len(areas):
        reasons.append(
            f"{odd:,} of {len(areas):,} cover less than {size.smallest:g} m2 or more than {size.largest:g} m2"
        )
        advice.append("look at the picture, and name what else is there (--against)")
    return f"the number means little: {' and '.join(reasons)}; {', '.join(advice)}." if reasons else None


def several_as_one(
    found: InstanceCandidates,
    counting: CountOptions,
    *,
    sizes: Sequence[UsualSize | None],
    areas: NDArray[np.float64],
) -> tuple[str, ...]:
    """Class by class whether several may be counted as one, such as houses of a block.

    The bound is a rule of thumb: where things really are large it speaks without need, and it misses blocks of which
    few were found (`benchmarks/bench_count.py --only merged` counts both). Arguments as of `doubts`.
    """
    said = []
    for place, (title, size) in enumerate(zip(found.masks.titles, sizes, strict=False)):
        own = areas[found.masks.classes == place]
        if counting.method == "peaks" or size is None or len(own) < _FEW:
            continue
        times = float(np.median(own)) / size.usual
        if times > SEVERAL:
            said.append(
                f"{title}: half of them cover {np.median(own):,.0f} m2 or more, {times:.1f} times what one usually "
                f"covers ({size.usual:g} m2): several may be counted as one, unless these are large ones; look at the "
                "picture, and see finer (a smaller --gsd)."
            )
    return tuple(said)


def worth(
    found: InstanceCandidates, counting: CountOptions, *, seen: float, doubted: Sequence[str | None] = ()
) -> tuple[str, ...]:
    """What is known of the worth of a count.

    Args:
        seen: side of what the model sees as one, pixels of the scene.
        doubted: see `doubts`.
    """
    told = zip(found.masks.titles, doubted, strict=False)
    cautions = [Caution(f"{title}: {doubt}") for title, doubt in told if doubt]
    known = {title for title, doubt in zip(found.masks.titles, doubted, strict=False) if doubt}
    return (*cautions, *(() if counting.method == "peaks" else _of_sizes(found, seen, known)))


def _of_sizes(found: InstanceCandidates, seen: float, doubted: set[str]) -> Iterator[str]:
    masks = found.masks
    areas, sides = masks.areas, np.sqrt(masks.areas)
    for place, title in enumerate(masks.titles):
        mine = masks.classes == place
        number = int(mine.sum())
        if number and title not in doubted and (side := float(np.median(sides[mine]))) < seen:
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
