"""HSLabeling (TIP 2025, https://github.com/linjiaxing99/HSLabeling), on arrays: points, lines, blocks within a budget.

An image is a grid of cells, numbered row by row. What a label tells is how far its cell is from what is labelled
already, by cosine, weighted by how unsure a model is of it: k-centre, weighted by uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.optimize import brentq
from scipy.signal import argrelextrema

Floats = NDArray[np.floating]
Cells = NDArray[np.integer]
Shape = Literal["point", "line", "surface"]

COSTS: dict[Shape, int] = {"point": 1, "line": 3, "surface": 5}
NOWHERE = 255
"""The instance of a point that lies in none."""
INSIDE = 0.5
"""A cell belongs to an instance that has this share of it."""


def margin_uncertainty(probabilities: Floats, grid: int) -> Floats:
    """`(cell,)`: means of 1 - (first - second) of the probabilities `(class, row, col)` of a square image."""
    top = np.sort(probabilities, axis=0)
    unsure = 1 - (top[-1] - top[-2])
    side = unsure.shape[0] // grid
    found: Floats = unsure.reshape(grid, side, grid, side).mean(axis=(1, 3)).ravel()
    return found


def correlation(features: Floats, uncertainty: Floats, ignored: Cells | None = None) -> Floats:
    """`(cell, cell)`: what the second cell tells where the first is known.

    Args:
        features: `(cell, dim)`.
        uncertainty: `(cell,)` of the second one.
        ignored: cells that nobody may label.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-8)
    found: Floats = (1 - unit @ unit.T) * uncertainty[None]
    if ignored is not None:
        found[ignored], found[:, ignored] = 0, 0
    return found


def points(tells: Floats, uncertainty: Floats, n: int) -> tuple[NDArray[np.int64], Floats]:
    """n cells, and the information of the first, of the first two, ... of them `(n,)`.

    Args:
        tells: see `correlation`.
    """
    chosen = [int(tells.mean(axis=1).argmax())]
    information = [float(uncertainty[chosen[0]])]
    least = tells[chosen[0]].copy()
    while len(chosen) < n:
        best = int(least.argmax())
        information.append(information[-1] + float(least[best]))
        chosen.append(best)
        least = np.minimum(least, tells[best])
    return np.array(chosen), np.array(information)


def knee(values: Floats, *, sensitivity: float = 1.0) -> int | None:
    """How many of the values of a concave, increasing curve are worth having; None: no knee.

    Kneedle (https://raghavan.usc.edu/papers/kneedle-simplex11.pdf), as the package kneed computes it: the first knee.
    """
    n = len(values)
    span = float(values.max() - values.min()) if n > 1 else 0.0
    if span == 0:
        return None
    above = (values - values.min()) / span - np.linspace(0, 1, n)
    peaks, lows = argrelextrema(above, np.greater_equal)[0], argrelextrema(above, np.less_equal)[0]
    threshold, at = 0.0, -1
    for i in range(n - 1):
        if not len(peaks) or i < peaks[0]:
            continue
        if i in peaks:
            threshold, at = float(above[i]) - sensitivity / (n - 1), i
        if i in lows:
            threshold = 0.0
        if above[i + 1] < threshold:
            return at + 1
    return None


def complexity(mask: NDArray[np.bool_]) -> float:
    """0..1 of an instance `(row, col)`, at its image's size, by the frequencies of its mask: smooth ones have more."""
    rows, cols = (size // 2 for size in mask.shape)
    power = np.abs(np.fft.fft2(mask.astype(np.float64)))[:rows, :cols]
    row = float((power.sum(axis=1) * np.arange(rows) / mask.shape[0]).sum() / power.sum())
    col = float((power.sum(axis=0) * np.arange(cols) / mask.shape[1]).sum() / power.sum())
    return 1 - float(np.hypot(row, col) / np.sqrt(0.5))


def line_weights(cells: Cells, *, grid: int, length: int, complexity: float) -> Floats:
    """What each cell of an instance counts for if a line is drawn in it.

    Args:
        cells: ascending.
        length: cells of the line.
    """
    row, col = np.divmod(cells, grid)
    middle_row, middle_col = round(float(row.mean())), round(float(col.mean()))
    distance = np.hypot(middle_row - col, middle_col - row)  # the authors' code swaps them
    _, ring = np.unique(np.floor(distance), return_inverse=True)
    last = int(ring.max())
    size = round(length * complexity)
    size = 2 * last if 2 * last + 2 <= size else size
    each = 2 * last - size + 2
    values = np.empty(last + 1)
    for r in range(last + 1):
        if r == 0:
            values[r] = min(size / each, 1)
        elif r <= max(size - 1, 2 * last - size + 1) - last:
            values[r] = min(2 * size / each, 2)
        else:
            values[r] = min(2 * (last - r + 1) / each, 2)
    found: Floats = (values / np.bincount(ring))[ring]
    return found


def block_weights(cells: Cells, inside: NDArray[np.bool_], *, size: int, complexity: float) -> Floats:
    """What each cell of an instance counts for if a block is drawn in it: more, the farther it is from the border.

    Args:
        cells: ascending.
        inside: `(row, col)` of cells.
        size: cells of the block.
    """
    depth = distance_transform_edt(inside).ravel()[cells]

    def weights(rate: float) -> Floats:
        found: Floats = 2 / (1 + np.exp(-rate * depth)) - 1
        return found

    wanted = size * complexity
    most = 1.0
    while weights(most).sum() < wanted and most < 1e6:
        most *= 2
    return weights(float(brentq(lambda rate: weights(rate).sum() - wanted, 0, most, xtol=1e-14)))


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A segment that may get a line or a block."""

    number: int
    line: Cells
    """Its cells for a line, ascending."""
    line_weights: Floats
    surface: Cells
    surface_weights: Floats

    def of(self, shape: Shape) -> tuple[Cells, Floats]:
        """Cells and weights."""
        return (self.line, self.line_weights) if shape == "line" else (self.surface, self.surface_weights)


@dataclass(frozen=True, kw_only=True)
class SparseLabel:
    """A point, a line or a block."""

    shape: Shape
    instance: int
    """`NOWHERE` for a point outside."""
    cell: int
    """Of a point; of the others the first cell that was chosen."""


@dataclass(frozen=True, kw_only=True)
class BudgetPlan:
    """Labels that a budget pays."""

    labels: tuple[SparseLabel, ...] = ()
    known: tuple[int, ...] = ()
    """Cells whose class is known then."""
    information: float = 0.0

    def spent(self) -> set[int]:
        """Instances with a label."""
        return {label.instance for label in self.labels}


@dataclass(frozen=True, kw_only=True)
class Budgeting:
    """Labels of an image for every budget, by a dynamic programme."""

    tells: Floats
    """`(cell, cell)`, see `correlation`."""
    uncertainty: Floats
    """`(cell,)`"""
    instances: Mapping[int, Instance]
    instance_of: NDArray[np.integer]
    """`(cell,)`: of the pixel in its middle, `NOWHERE` for none."""
    forbidden: frozenset[int] = field(default_factory=frozenset)
    """Cells that nobody may label: an instance whose first cell is one is passed over."""

    def table(self, most: int) -> list[BudgetPlan]:
        """The best plan for every budget 0..most."""
        plans = [BudgetPlan()]
        for budget in range(1, most + 1):
            best = plans[0]
            for plan in self._candidates(plans, budget):
                if plan.information >= best.information:
                    best = plan
            plans.append(best)
        return plans

    def _candidates(self, plans: list[BudgetPlan], budget: int) -> Iterator[BudgetPlan]:
        yield self._with_point(plans[budget - COSTS["point"]])
        shapes: tuple[Shape, ...] = ("line", "surface")
        for shape in shapes:
            if budget >= COSTS[shape]:
                before = plans[budget - COSTS[shape]]
                for number in sorted(self.instances.keys() - before.spent()):
                    plan = self._with_instance(before, shape, number)
                    if plan is not None:
                        yield plan

    def _with_point(self, before: BudgetPlan) -> BudgetPlan:
        if not before.known:
            cell = int(self.tells.mean(axis=1).argmax())
            gain = float(self.uncertainty[cell])
        else:
            least = self.tells[list(before.known)].min(axis=0)
            cell = int(least.argmax())
            gain = float(least[cell])
        label = SparseLabel(shape="point", instance=int(self.instance_of[cell]), cell=cell)
        return _grown(before, label, [cell], gain)

    def _with_instance(self, before: BudgetPlan, shape: Shape, number: int) -> BudgetPlan | None:
        cells, weights = self.instances[number].of(shape)
        if not len(cells):
            return None
        tells = self.tells[:, cells] * weights[None]
        if before.known:
            least = tells[list(before.known)].min(axis=0)
            gain, first = 0.0, -1
        else:
            first = int((tells[cells].mean(axis=1) * self.uncertainty[cells]).argmax())
            least, gain = tells[cells[first]].copy(), float(self.uncertainty[cells[first]])
        open_ = np.ones(len(cells), bool)
        if first >= 0:
            open_[first] = False
        while open_.any():
            best = int(np.where(open_, least, -np.inf).argmax())
            first = best if first < 0 else first
            gain += float(least[best])
            open_[best] = False
            least = np.minimum(least, tells[cells[best]])
        if int(cells[first]) in self.forbidden:
            return None
        label = SparseLabel(shape=shape, instance=number, cell=int(cells[first]))
        return _grown(before, label, cells.tolist(), gain)


def _grown(before: BudgetPlan, label: SparseLabel, cells: list[int], gain: float) -> BudgetPlan:
    return BudgetPlan(
        labels=(*before.labels, label), known=(*before.known, *cells), information=before.information + gain
    )
