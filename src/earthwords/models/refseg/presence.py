"""Whether what a sentence means is in a view at all, learned from views of which that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A logistic regression on the scaled cosines of places and a sentence; of one folder of weights."""

    peak: float
    """Weight of the greatest cosine."""
    mean: float
    """Weight of the mean."""
    bias: float

    @classmethod
    def of_card(cls, table: Mapping[str, Any] | None) -> Presence | None:
        """What a card tells; None: nothing was learned.

        Raises:
            KeyError, TypeError, ValueError: it is no such table, or holds what is no finite number.
        """
        if table is None:
            return None
        made = cls(**{one.name: float(table[one.name]) for one in fields(cls)})
        if not all(map(math.isfinite, vars(made).values())):
            raise ValueError("presence is not finite")
        return made

    def __call__(self, similarity: Tensor) -> float:
        """Probability of the scaled cosines `(place,)` of a sentence, as `RefSeg.similarity` gives them."""
        value = self.peak * similarity.max() + self.mean * similarity.mean() + self.bias
        return float(value.sigmoid())
