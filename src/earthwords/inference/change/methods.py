"""The methods of `change`: a name, and what makes one of a segmenter's preset and the least score."""

from __future__ import annotations

from collections.abc import Callable

from earthwords.inference.change.dates.windows import ChangeMethod
from earthwords.inference.change.dense import PosteriorDifference
from earthwords.inference.segment.segmenter import Segmenter

DEFAULT = "dense"
METHODS: dict[str, Callable[[Segmenter, float | None], ChangeMethod]] = {
    "dense": lambda segmenter, threshold: PosteriorDifference(threshold=threshold),
}
"""Name to `(segmenter, least score or None) -> method`."""
