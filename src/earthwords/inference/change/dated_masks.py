"""Masks of two dates on one grid: what both methods by masks pass from step to step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earthwords.errors import UsageError
from earthwords.mask_set import MaskSet


@dataclass(frozen=True, kw_only=True)
class DatedMasks:
    """Masks of two dates, in any order after a choice."""

    masks: MaskSet
    second: NDArray[np.bool_]
    """`(mask,)`: which are of the second date."""

    @classmethod
    def join(cls, before: MaskSet, after: MaskSet) -> Self:
        """Those of the first date, then those of the second."""
        if before.grid != after.grid:
            raise UsageError("Masks of two dates must lie on one grid.")
        second = np.repeat([False, True], [len(before), len(after)])
        masks = replace(
            before,
            boxes=np.concatenate([before.boxes, after.boxes]),
            bits=before.bits + after.bits,
            scores=np.concatenate([before.scores, after.scores]),
            classes=np.concatenate([before.classes, after.classes]),
        )
        return cls(masks=masks, second=second)

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, which: ArrayLike) -> DatedMasks:
        """Some of them: indices in the order wanted, or True for those that stay."""
        index = np.arange(len(self))[np.asarray(which)]
        return DatedMasks(masks=self.masks.take(index), second=self.second[index])

    @property
    def before(self) -> MaskSet:
        """Those of the first date."""
        return self.masks.take(~self.second)

    @property
    def after(self) -> MaskSet:
        """Those of the second date."""
        return self.masks.take(self.second)

    @property
    def corners(self) -> NDArray[np.int64]:
        """`(mask, 4)`: first column, first row, last column, last row, as SAM's generator counts boxes."""
        row, col, height, width = self.masks.boxes.T
        return np.stack([col, row, col + width - 1, row + height - 1], axis=1)

    def smaller_than(self, share: float) -> DatedMasks:
        """Those that cover less than a share of the image: a mask of nearly everything shows no single change."""
        return self.take(self.masks.areas / (self.masks.grid.height * self.masks.grid.width) < share)
