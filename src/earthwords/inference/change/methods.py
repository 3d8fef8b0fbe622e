"""The methods of `change`: a name, and what makes one of a segmenter and what the command asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from earthwords.errors import UsageError
from earthwords.inference.change.dates.windows import ChangeMethod
from earthwords.inference.change.dense import PosteriorDifference
from earthwords.inference.change.mask_options import BY_MASKS, MaskOptions
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
    background: int | None = None
    """Class of what was not asked for."""
    by_masks: MaskOptions = field(default_factory=MaskOptions)
    offline: bool = False


def _learned(options: MethodOptions) -> ChangeMethod:
    if options.network is None:
        raise UsageError("The method learned needs --network FOLDER, which `train change` makes.")
    from earthwords.inference.change.learned import LearnedChange  # its encoders need transformers

    device = str(options.segmenter.encoder.backbone.device)
    return LearnedChange(options.network, options.threshold, device=device, offline=options.offline)


def _by_masks(name: str, options: MethodOptions) -> ChangeMethod:
    from earthwords.inference.change.by_masks import make_by_masks  # SAM needs transformers, which takes seconds

    return make_by_masks(
        name, options.segmenter, options.by_masks, background=options.background, threshold=options.threshold,
        offline=options.offline,
    )  # fmt: skip


METHODS: dict[str, Callable[[MethodOptions], ChangeMethod]] = {
    DEFAULT: lambda options: PosteriorDifference(threshold=options.threshold),
    LEARNED: _learned,
    **{name: partial(_by_masks, name) for name in BY_MASKS},
}
"""Name to what makes it."""
