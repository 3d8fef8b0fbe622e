"""What might be counted: masks of a scene with how well each fits every class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.windows.strip import Strip
from earthwords.mask_set import MaskSet

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceCandidates:
    """Masks, each with its own class, and how well each fits every class."""

    masks: MaskSet
    """Of the classes that are counted."""
    similarity: NDArray[np.float32]
    """`(mask, class)`."""
    centres: NDArray[np.float64]
    """`(mask, 2)`: x, y in pixels of the grid, whole numbers are corners."""
    notes: tuple[str, ...] = ()
    """What happened on the way."""

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, which: Array) -> InstanceCandidates:
        """Some of them, as `MaskSet.take`."""
        index = np.arange(len(self))[which]
        return replace(
            self, masks=self.masks.take(index), similarity=self.similarity[index], centres=self.centres[index]
        )

    def classified(self, classes: Array) -> InstanceCandidates:
        """With other classes; the score of each is its similarity to its class."""
        chosen = np.asarray(classes, np.int32)
        scores = self.similarity[np.arange(len(self)), chosen]
        return replace(self, masks=replace(self.masks, classes=chosen, scores=scores.astype(np.float32)))

    def sorted(self) -> InstanceCandidates:
        """From top to bottom, then from left to right: an order that does not depend on how they were found."""
        boxes, classes = self.masks.boxes, self.masks.classes
        return self.take(np.lexsort((classes, boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0])))


class Finder(Protocol):
    """Takes the strips of a scene and gives candidates."""

    def add(self, strip: Strip) -> None:
        """The next rows."""

    def finish(self) -> InstanceCandidates:
        """All that was found, after the last row."""


def gathered_masks(found: Iterable[Found], masks: MaskSet) -> InstanceCandidates:
    """Candidates from what finders have collected; `masks` is empty, and tells grid and titles."""
    listed = list(found)
    count = len(masks.titles)
    similarity = np.array([one.similarity for one in listed], np.float32).reshape(-1, count)
    classes = np.array([one.label for one in listed], np.int32)
    every = replace(
        masks,
        boxes=np.array([one.box for one in listed], np.int64).reshape(-1, 4),
        bits=tuple(one.bits for one in listed),
        classes=classes,
        scores=similarity[np.arange(len(listed)), classes] if listed else np.zeros(0, np.float32),
    )
    centres = np.array([one.centre for one in listed], np.float64).reshape(-1, 2)
    return InstanceCandidates(masks=every, similarity=similarity, centres=centres).sorted()


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A candidate on its own."""

    label: int
    """Position among the classes that are counted."""
    box: tuple[int, int, int, int]
    bits: NDArray[np.uint8]
    """See `MaskSet`."""
    centre: tuple[float, float]
    """x, y."""
    similarity: Array
    """`(class,)`."""


@dataclass(kw_only=True)
class Dropped:
    """How many candidates were left out, by reason."""

    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, number: int = 1) -> None:
        """Count some."""
        if number:
            self.numbers[reason] = self.numbers.get(reason, 0) + number

    def notes(self, sentences: Mapping[str, str]) -> tuple[str, ...]:
        """A sentence for each reason, `{}` in it for the number."""
        return tuple(sentences[reason].format(f"{number:,}") for reason, number in self.numbers.items())
