"""Referring segmentation: how well one mask a sentence fits, counted as RSRefSeg's `RefSegIoUMetric` does
(https://github.com/KyanChen/RSRefSeg).

Samples are added one by one; two whole numbers a sample are kept. What papers call the same thing:

| here | elsewhere | what |
|---|---|---|
| `gIoU` | mIoU (RMSIN, FIANet and most papers of remote sensing) | mean over samples of intersection / union |
| `cIoU` | oIoU, overall IoU; "gIoU" in DiCoR's tables | sum of intersections / sum of unions |
| `Pr@0.5` ... `Pr@0.9` | P@X, Prec@X | share of samples whose IoU is strictly greater |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError

THRESHOLDS = (5, 6, 7, 8, 9)
"""Of `Pr@`, tenths: an IoU of exactly 50 / 100 is not above a half, whatever the rounding of a division."""
OTHER_NAMES = {"gIoU": "mIoU", "cIoU": "oIoU"}

EmptyRule = Literal["hit", "nan", "skip"]
"""What a sample is whose truth and prediction are both empty (0 / 0):

* `hit`: IoU 1, a success at every threshold, as GRES has it (https://arxiv.org/abs/2306.00968);
* `nan`: as RSRefSeg's code has it: `gIoU` becomes NaN, and it fails at every threshold;
* `skip`: it does not count.

`cIoU` never changes: nothing is added to either sum. If only one of the two is empty, the IoU is 0 in every rule.
"""
RULES: tuple[EmptyRule, ...] = ("hit", "nan", "skip")


class ReferringCounts:
    """Counts of samples, for the figures of a set."""

    def __init__(self, *, empty: EmptyRule = "hit", ignore: int | None = 255) -> None:
        """Start with no sample.

        Args:
            empty: see `EmptyRule`.
            ignore: value of the truth where pixels do not count; None: all count.

        Raises:
            UsageError: an unknown rule.
        """
        if empty not in RULES:
            raise UsageError(f"Empty masks are a {', '.join(RULES[:-1])} or {RULES[-1]}, got {empty!r}.")
        self.empty, self.ignore = empty, ignore
        self._counts: list[tuple[int, int, int, int]] = []
        self._categories: list[str] = []

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def counted(self) -> int:
        """Samples that count by the rule."""
        return sum(either > 0 for _, either, _, _ in self._counts) if self.empty == "skip" else len(self)

    def add(
        self,
        truth: NDArray[np.bool_] | NDArray[np.integer],
        prediction: NDArray[np.bool_] | NDArray[np.integer],
        *,
        category: str = "",
    ) -> None:
        """Count a sample, at the original size of its image.

        Args:
            truth: `(row, col)`: bool, or integers with 0 elsewhere, `ignore` where pixels do not count.
            prediction: `(row, col)`: not 0 inside.
            category: of what is meant, for `category_iou`.

        Raises:
            UsageError: the shapes differ.
        """
        if truth.shape != prediction.shape:
            raise UsageError(f"A mask of {prediction.shape} pixels cannot be compared with a truth of {truth.shape}.")
        real, found = truth != 0, prediction != 0
        if self.ignore is not None and truth.dtype != np.bool_:
            known = truth != self.ignore
            real, found = real & known, found & known
        counts = (real & found, real | found, real, found)
        self._counts.append(tuple(int(np.count_nonzero(mask)) for mask in counts))  # type: ignore[arg-type]
        self._categories.append(category)

    def extend(self, others: Iterable[ReferringCounts]) -> None:
        """Take over the samples of others, such as those of other processes."""
        for other in others:
            self._counts += other._counts
            self._categories += other._categories

    def scores(self) -> ReferringScores:
        """The figures so far.

        Raises:
            UsageError: there is no sample (under `skip`: none that counts).
        """
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, 4)
        nothing = counts[:, 1] == 0
        counted = ~nothing if self.empty == "skip" else np.ones(len(counts), dtype=bool)
        if not counted.any():
            raise UsageError("There is no sample to compute figures from.")
        value = {"hit": 1.0, "nan": np.nan, "skip": np.nan}[self.empty]
        both, either, real, found = counts.T
        iou = np.where(nothing, value, both / np.maximum(either, 1))
        passed = [10 * both > tenths * either for tenths in THRESHOLDS]
        if self.empty == "hit":
            passed = [above | nothing for above in passed]
        union = int(either.sum())
        return ReferringScores(
            iou=iou,
            gIoU=float(iou[counted].mean()),
            cIoU=float(both.sum() / union) if union else float("nan"),
            precision={t / 10: float(p[counted].mean()) for t, p in zip(THRESHOLDS, passed, strict=True)},
            category_iou=self._category_iou(iou, nothing),
            samples=int(counted.sum()),
            no_target=int((real == 0).sum()),
            no_target_accuracy=_share(found[real == 0] == 0),
            target_accuracy=_share(found[real > 0] > 0),
        )

    def _category_iou(self, iou: NDArray[np.float64], nothing: NDArray[np.bool_]) -> dict[str, float]:
        names = np.array(self._categories)
        kept = (names != "") & ~nothing
        return {str(name): float(iou[kept & (names == name)].mean()) for name in np.unique(names[kept])}


@dataclass(frozen=True, kw_only=True)
class ReferringScores:
    """Figures of a set, 0..1."""

    iou: NDArray[np.float64]
    """`(sample,)` in the order of adding; 0 / 0 by the rule for empty masks, NaN for `nan` and `skip`."""
    gIoU: float
    cIoU: float
    """NaN if nothing was there and nothing was found in any sample."""
    precision: dict[float, float]
    """Threshold -> share of samples strictly above it."""
    category_iou: dict[str, float]
    """Category -> mean IoU of its samples, without 0 / 0; the mean of these is RSRefSeg 2's `mean_iou`."""
    samples: int
    """Those that count."""
    no_target: int
    """Samples with an empty truth."""
    no_target_accuracy: float | None
    """Share of those whose prediction is empty (GRES: N-acc.); None without any."""
    target_accuracy: float | None
    """Share of the others whose prediction is not empty (GRES: T-acc.); None without any."""

    def as_json(self) -> dict[str, Any]:
        """In percent, by the names above and by those of other papers (`OTHER_NAMES`)."""
        figures: dict[str, Any] = {"samples": self.samples, "gIoU": 100 * self.gIoU, "cIoU": 100 * self.cIoU}
        figures |= {other: figures[name] for name, other in OTHER_NAMES.items()}
        figures |= {f"Pr@{at:g}": 100 * share for at, share in self.precision.items()}
        if self.category_iou:
            figures["mean_iou"] = 100 * float(np.mean(list(self.category_iou.values())))
        figures["no_target"] = self.no_target
        for name in ("no_target_accuracy", "target_accuracy"):
            share = getattr(self, name)
            figures[name] = None if share is None else 100 * share
        return figures


def _share(right: NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if len(right) else None
