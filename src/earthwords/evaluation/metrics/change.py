"""How well changes are found: counts pooled over all pairs of a set, and figures of them.

Binary figures as DynamicEarth prints them (github.com/likyoo/DynamicEarth: `EPS` in every denominator, F1 of precision
and recall that have it), and Cohen's kappa. With classes SECOND's separated kappa (Yang et al. 2021,
https://arxiv.org/abs/2010.05687) and Fscd (Ding et al. 2022, https://arxiv.org/abs/2108.06103): pixels that are
unchanged and called so do not count for what class they are called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError

EPS = 1e-7
HALF = 0.5
"""Share of 255 above which a grey value is change."""

Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]


def binary(grey: NDArray[np.uint8], threshold: float = HALF) -> Mask:
    """A picture of change as a mask: 127 is no change at a threshold of 0.5, 128 is."""
    found: Mask = grey > threshold * 255
    return found


def either_date(first: Labels, second: Labels, label: int) -> Mask:
    """SECOND's truth of one class: where either date's label of change is of it."""
    found: Mask = (first == label) | (second == label)
    return found


@dataclass(kw_only=True)
class ChangeCounts:
    """Pixels of all pairs so far."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def add(self, found: Mask, truth: Mask, *, counts: Mask | None = None) -> None:
        """Another pair.

        Args:
            found, truth: `(row, col)`, True where something changed.
            counts: `(row, col)`, pixels that count; None: all.

        Raises:
            UsageError: their sizes differ.
        """
        if found.shape != truth.shape:
            raise UsageError(
                f"A mask of change is {found.shape}, its truth {truth.shape}: they lie on the same pixels."
            )
        kept = np.ones(truth.shape, bool) if counts is None else counts
        self.tp += int((found & truth & kept).sum())
        self.fp += int((found & ~truth & kept).sum())
        self.fn += int((~found & truth & kept).sum())
        self.tn += int((~found & ~truth & kept).sum())

    def figures(self) -> dict[str, float]:
        """Shares 0..1 by DynamicEarth's names, and `kappa`."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        changed, unchanged = tp / (tp + fp + fn + EPS), tn / (tn + fp + fn + EPS)
        precision, recall = tp / (tp + fp + EPS), tp / (tp + fn + EPS)
        return {
            "miou": (changed + unchanged) / 2,
            "oa": (tp + tn) / (tp + fp + fn + tn + EPS),
            "iou_change": changed,
            "iou_nochange": unchanged,
            "f1_score_change": 2 * precision * recall / (precision + recall + EPS),
            "precision_change": precision,
            "recall_change": recall,
            "kappa": cohens_kappa(np.array([[tn, fp], [fn, tp]])),
        }


@dataclass(kw_only=True)
class SemanticChangeCounts:
    """Pixels by class, both dates of all pairs together; class 0 is unchanged."""

    classes: int
    """Without the unchanged one."""
    table: NDArray[np.int64] = field(init=False)
    """`(truth, found)`."""

    def __post_init__(self) -> None:
        self.table = np.zeros((self.classes + 1, self.classes + 1), np.int64)

    def add(self, found: Labels, truth: Labels, *, counts: Mask | None = None) -> None:
        """The labels of one date of a pair `(row, col)`: 0 unchanged, else the class on that date plus 1.

        Raises:
            UsageError: their sizes differ.
        """
        if found.shape != truth.shape:
            raise UsageError(f"Labels of change are {found.shape}, their truth {truth.shape}.")
        kept = np.ones(truth.shape, bool) if counts is None else counts
        size = self.classes + 1
        cells = truth[kept].astype(np.int64) * size + found[kept]
        self.table += np.bincount(cells, minlength=size**2).reshape(size, size)

    def figures(self) -> dict[str, float]:
        """Shares: `miou` of change and no change, `sek`, `fscd`, and the `score` of SECOND, 0.3 mIoU + 0.7 SeK."""
        table = self.table
        total, unchanged = int(table.sum()), int(table[0, 0])
        called, true = total - int(table[:, 0].sum()), total - int(table[0].sum())
        both = int(table[1:, 1:].sum())
        same = unchanged / max(1, total - both)
        changed = both / max(1, total - unchanged)
        only = table.copy()
        only[0, 0] = 0
        sek = cohens_kappa(only) * math.exp(changed - 1)
        right = int(np.trace(table[1:, 1:]))
        miou = (same + changed) / 2
        return {
            "miou": miou,
            "sek": sek,
            "fscd": 2 * right / max(1, called + true),
            "score": 0.3 * miou + 0.7 * sek,
        }


def cohens_kappa(table: NDArray[np.integer]) -> float:
    """Agreement beyond chance of a confusion table; 0 where nothing can be said."""
    total = float(table.sum())
    if not total:
        return 0.0
    agreed = float(np.trace(table)) / total
    chance = float((table.sum(axis=0, dtype=np.float64) * table.sum(axis=1, dtype=np.float64)).sum()) / total**2
    return 0.0 if chance >= 1 else (agreed - chance) / (1 - chance)
