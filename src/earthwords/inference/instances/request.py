"""What `count` is asked for: it travels whole from the command to the block."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.inference.instances.options import CountOptions
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class CountRequest(SegmentRequest):
    """A map, and what is counted of it."""

    counting: CountOptions

    def settings(self, segmenter: Segmenter) -> dict[str, str]:
        """What all scenes of the request depend on, as text."""
        return {**super().settings(segmenter), **self.counting.settings()}
