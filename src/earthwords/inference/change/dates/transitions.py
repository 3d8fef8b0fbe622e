"""From which class to which: how a pair of classes is told as one label, one colour, one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.types import ClassName, Colour, Vocabulary

SAME = "no change"
NOTHING = 65535
"""The pair of a pixel that one of the dates does not show."""
_GREY: Colour = (205, 205, 205)
_NEW: Colour = (214, 39, 40)
_GONE: Colour = (31, 92, 214)
"""Of the only class asked for: it came, it went."""


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Pairs of the classes of a vocabulary."""

    vocabulary: Vocabulary
    """Of either date."""

    @property
    def count(self) -> int:
        """Of classes."""
        return len(self.vocabulary)

    @cached_property
    def changes(self) -> tuple[tuple[int, int], ...]:
        """`(from, to)` of every label of the map but the first, which is `no change`."""
        return tuple((i, j) for i in range(self.count) for j in range(self.count) if i != j)

    @cached_property
    def map_vocabulary(self) -> Vocabulary:
        """Titles and colours of the labels of the map."""
        titles = self.vocabulary.titles
        named = [ClassName(names=(f"{titles[i]} -> {titles[j]}",), colour=self._colour(i, j)) for i, j in self.changes]
        return Vocabulary(classes=(ClassName(names=(SAME,), colour=_GREY), *named))

    def pair(self, before: NDArray[Any], after: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.uint16]:
        """Classes of both dates as one number, `NOTHING` where they are not `seen`."""
        return np.where(seen, before.astype(np.int64) * self.count + after, NOTHING).astype(np.uint16)

    def labels(self, pairs: NDArray[np.uint16]) -> NDArray[np.unsignedinteger[Any]]:
        """Pairs as labels of the map."""
        seen = pairs != NOTHING
        found = self._label_of[np.where(seen, pairs, 0)]
        return np.where(seen, found, self.map_vocabulary.nodata).astype(self.map_vocabulary.label_dtype)

    @cached_property
    def _label_of(self) -> NDArray[np.int64]:
        """`(pair,)`."""
        found = np.zeros(self.count**2, np.int64)
        for label, (i, j) in enumerate(self.changes, 1):
            found[i * self.count + j] = label
        return found

    def _colour(self, i: int, j: int) -> Colour:
        """That of the class that came; of what went and left no class behind a darker one."""
        background = self.vocabulary.background
        if background is not None and self.count == 2:
            return _GONE if j == background else _NEW
        if j == background:
            red, green, blue = (part // 2 for part in self.vocabulary.classes[i].colour)
        else:
            pairs = zip(self.vocabulary.classes[j].colour, self.vocabulary.classes[i].colour, strict=True)
            red, green, blue = (round(0.8 * new + 0.2 * old) for new, old in pairs)
        return red, green, blue
