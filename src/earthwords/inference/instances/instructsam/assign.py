"""Which mask is which thing, given how many there are of each (InstructSAM, https://arxiv.org/abs/2505.15818).

With N masks and counts c: if N exceeds their sum, every class gets exactly its count; else every mask gets a class, and
no class more than its count. Of all such ways the one with the largest sum of similarities is taken. The authors ask an
integer solver; it is a transport problem, which an assignment of masks to copies of the classes solves exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array

from earthwords.errors import UsageError

Array: TypeAlias = NDArray[Any]

MOST_CELLS = 4_000_000
"""Masks times copies of classes: more are solved as a linear programme, which needs less memory."""


def assign(similarity: Array, counts: Sequence[float]) -> NDArray[np.int32]:
    """The class of each mask, -1 for none.

    Args:
        similarity: `(mask, class)`, any finite numbers.
        counts: of the classes, in their order; of classes beyond them nothing is known: they get nothing where there
            are masks enough for the counts, and any number otherwise.

    Raises:
        UsageError: a count is negative or a fraction, or more of them than classes.
    """
    masks, classes = similarity.shape
    if len(counts) > classes:
        raise UsageError(f"{len(counts)} counts for {classes} classes.")
    for count in counts:
        if not (count >= 0 and float(count).is_integer()):
            raise UsageError(f"Counts are whole numbers from 0, got {count:g}.")
    found = np.full(masks, -1, np.int32)
    known = np.array(counts, np.int64)
    exact = masks > known.sum()
    beyond = np.full(classes - len(known), 0 if exact else masks, np.int64)
    room = np.minimum(np.concatenate([known, beyond]), masks)
    cost = 1.0 - np.asarray(similarity, np.float64)
    rows = _worth_a_look(cost, room) if exact else np.arange(masks)
    if not masks or not room.sum():
        return found
    if len(rows) * room.sum() <= MOST_CELLS:
        copies = np.repeat(np.arange(classes), room)
        chosen, column = linear_sum_assignment(cost[rows][:, copies])
        found[rows[chosen]] = copies[column]
    else:
        found[rows] = _transported(cost[rows], room, exact=exact)
    return found


def _worth_a_look(cost: Array, room: Array) -> NDArray[np.int64]:
    """The masks that a best answer can be made of: a class needs none beyond its best ones, as many as are chosen in
    all, for one of these is always free in exchange."""
    total = int(room.sum())
    if total >= len(cost):
        return np.arange(len(cost))
    best = np.argsort(cost, axis=0, kind="stable")[:total, room > 0]
    return np.unique(best)


def _transported(cost: Array, room: Array, *, exact: bool) -> NDArray[np.int32]:
    """As `assign`, by the simplex method: its corners are whole numbers."""
    masks = len(cost)
    used = np.flatnonzero(room > 0)
    variable = np.arange(masks * len(used))
    ones = np.ones(len(variable))
    of_mask = coo_array((ones, (variable // len(used), variable)), shape=(masks, len(variable)))
    of_class = coo_array((ones, (variable % len(used), variable)), shape=(len(used), len(variable)))
    one, most = np.ones(masks), room[used].astype(float)
    limits = (of_mask, one, of_class, most) if exact else (of_class, most, of_mask, one)
    solved = linprog(
        cost[:, used].ravel(), A_ub=limits[0], b_ub=limits[1], A_eq=limits[2], b_eq=limits[3], bounds=(0, 1),
        method="highs-ds",
    )  # fmt: skip
    if solved.status != 0:
        raise UsageError(f"No way was found to give {masks:,} masks their classes ({solved.message}).")
    table = np.rint(solved.x).reshape(masks, len(used))
    return np.where(table.any(axis=1), used[table.argmax(axis=1)], -1).astype(np.int32)
