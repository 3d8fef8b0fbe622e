"""What `change` is asked for: it travels whole from the command to the block."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from earthwords.geo.scene import SceneSpec
from earthwords.inference.change.dates.pair import DatePair, PairFacts, PairSpec
from earthwords.inference.change.dates.shift import SEARCH
from earthwords.inference.change.dates.transitions import Transitions
from earthwords.inference.change.dates.windows import ChangeMethod, PairWindow
from earthwords.inference.change.mask_options import MaskOptions
from earthwords.inference.change.methods import DEFAULT, METHODS, MethodOptions
from earthwords.inference.segment.request import MapRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.outputs import settings_of
from earthwords.models.change.card import network_digest


@dataclass(frozen=True, kw_only=True)
class ChangeRequest(MapRequest):
    """What to make of two dates; `spec` is how the first one is opened."""

    after: SceneSpec
    method: str = DEFAULT
    threshold: float | None = None
    """Least score of a change; None: the method's."""
    network: str | None = None
    """Folder of `train change`, of the method `learned`."""
    by_masks: MaskOptions = field(default_factory=MaskOptions)
    """What a method by masks is told."""
    scales: int = 2
    """Resolutions at which words are asked, each twice as fine as the one before."""
    align: bool = False
    match_histogram: bool = False
    search: float = SEARCH
    """Pixels in either direction within which a shift is believed."""
    facts: PairFacts = field(default_factory=PairFacts)
    """What was found of the dates before they are compared; see `DatePair.find`."""

    @property
    def transitions(self) -> Transitions:
        """Labels of the map."""
        return Transitions(vocabulary=self.vocabulary)

    @property
    def asked_scales(self) -> int:
        """Resolutions at which words are really asked: only `dense` asks more than once."""
        return self.scales if self.method == DEFAULT else 1

    def comparison(self, segmenter: Segmenter, *, offline: bool) -> ChangeMethod:
        """How the dates are compared."""
        network = None if self.network is None else Path(self.network)
        options = MethodOptions(
            segmenter=segmenter, threshold=self.threshold, network=network, background=self.vocabulary.background,
            by_masks=self.by_masks, offline=offline,
        )  # fmt: skip
        return METHODS[self.method](options)

    def open(self, segmenter: Segmenter) -> DatePair:
        """Both dates on the same pixels, at the resolution at which they are compared."""
        pair = PairSpec(before=self.spec, after=self.after, facts=self.facts).open()
        return pair.at_working_gsd(segmenter.working_gsd(pair.before), asked=self.spec.gsd)

    def found(self, pair: DatePair) -> ChangeRequest:
        """The same with the facts of an open pair.

        Raises:
            UsageError: a click is nowhere on it.
        """
        for click in self.by_masks.clicks:
            click.pixel(pair.before.native, pair.region)
        how = {"align": self.align, "match_histogram": self.match_histogram}
        return replace(self, facts=pair.find(**how, search=self.search))

    def known(self, pair: DatePair, segmenter: Segmenter, method: ChangeMethod) -> ChangeRequest:
        """The same with what a method has to know of the whole pair, too."""
        whole = PairWindow(
            pair=pair, facts=self.facts, window=pair.region, segmenter=segmenter,
            bank=segmenter.text_bank(self.vocabulary),
        )  # fmt: skip
        return replace(self, facts=method.known(whole))

    def settings(self, segmenter: Segmenter) -> dict[str, str]:
        """What the outputs depend on beside the dates, as text.

        Differences are told in the order of names: what follows from options comes after them.
        """
        tags = settings_of(segmenter.tags(self.vocabulary))
        return {
            **tags,
            **self.told(),
            **self.settings_of_model(segmenter, tags),
            "what was found of both dates": hashlib.sha256(repr(self.facts).encode()).hexdigest()[:16],
        }

    def told(self) -> dict[str, str]:
        """See `SceneRequest`."""
        return {**super().told(), **self.tags()}

    def tags(self) -> dict[str, str]:
        """How the dates are compared, for settings."""
        return {
            "method": self.method,
            **({} if self.network is None else {"network": network_digest(self.network)}),
            **self.by_masks.tags(self.method),
            "threshold": "the method's" if self.threshold is None else f"{self.threshold:g}",
            "scales": f"{self.asked_scales}",
            "align": "yes" if self.align else "no",
            "match-histogram": "yes" if self.match_histogram else "no",
            "search": f"{self.search:g}",
        }
