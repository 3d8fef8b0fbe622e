"""The methods of `change`: a name, and what makes one of a segmenter and what the command asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from earthwords.errors import UsageError
from earthwords.inference.change.dates.windows import ChangeMethod
from earthwords.inference.change.dense import PosteriorDifference
from earthwords.inference.change.learned import LearnedChange
from earthwords.inference.segment.segmenter import Segmenter

DEFAULT, LEARNED = "dense", "learned"


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """What a method may need."""

    segmenter: Segmenter
    threshold: float | None = None
    """Least score of a change; None: the method's."""
    network: Path | None = None
    """Folder of `train change`."""
    offline: bool = False


def _learned(options: MethodOptions) -> ChangeMethod:
    if options.network is None:
        raise UsageError("The method learned needs --network FOLDER, which `train change` makes.")
    device = str(options.segmenter.encoder.backbone.device)
    return LearnedChange(options.network, options.threshold, device=device, offline=options.offline)


METHODS: dict[str, Callable[[MethodOptions], ChangeMethod]] = {
    DEFAULT: lambda options: PosteriorDifference(threshold=options.threshold),
    LEARNED: _learned,
}
"""Name to what makes it."""
