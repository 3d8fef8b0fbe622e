"""What a referring model finds in the views of a scene: a first look at each, and second ones at what counts.

A view is looked at by one thread with one core, so what is found there does not depend on who else is at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from earthwords.geo.scene import Scene
from earthwords.inference.limits import check_threshold
from earthwords.inference.refer.match import Match, ViewMatches, box, is_cut, shared
from earthwords.inference.refer.pyramid import View, around, filled, region_on
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.threads import one_core
from earthwords.models.refseg.encoders import TextFeatures
from earthwords.models.refseg.model import ImageFeatures, RefSeg
from earthwords.models.refseg.presence import Presence
from earthwords.types import Window

THRESHOLD = 0.5
SENTENCES = 16
"""Sentences that are decided at once."""
MARGIN = 1.6
"""How much more than the mask a second look shows."""
SAME = 0.5
"""Least share of the first mask that a second look finds again."""

Task = View | Match
"""A view to look at for all sentences, or what a first look found and a second one is to refine."""


@dataclass(frozen=True, kw_only=True)
class PointingOptions:
    """What counts as found."""

    every: bool = False
    """All places at the finest resolution; else the best one of each sentence."""
    threshold: float = THRESHOLD
    """Probability above which a pixel belongs to a mask."""
    min_score: float = 0.0
    """What the `presence` of a match must exceed."""
    on_error: str = "stop"
    """What a view does that cannot be read, see `FailurePolicy`."""

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_threshold(self.min_score, name="least score")
        FailurePolicy(on_error=self.on_error)


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A model that looks for some sentences in a scene."""

    model: RefSeg
    scene: Scene
    text_features: TextFeatures
    options: PointingOptions
    presence: Presence | None = None
    """How the model tells that a thing is there; None: by the score."""

    def __call__(self, task: Task) -> ViewMatches:
        """What is found in a view, or the refined match.

        Raises:
            WindowError: a view cannot be read, and that is not allowed.
        """
        policy = FailurePolicy(on_error=self.options.on_error)
        with one_core(), torch.inference_mode():
            found = self._first(task, policy) if isinstance(task, View) else [self._refined(task, policy)]
        return ViewMatches(matches=tuple(found), failures=tuple(policy.failures))

    def _first(self, view: View, policy: FailurePolicy) -> list[Match]:
        part = view.core if self.options.every else view.window
        found = self._look(view, part, range(len(self.text_features.sentence)), policy)
        return [match for match in found if match.presence > self.options.min_score]

    def _refined(self, first: Match, policy: FailurePolicy) -> Match:
        """The mask as a view around it gives it, a wider one as long as the border cuts it; as it was, if the view
        shows another thing."""
        threshold, side = self.options.threshold, self.model.side
        tall, wide = (a / b for a, b in zip(self.scene.grid.shape, first.view.shape, strict=True))
        top, left, bottom, right = box(first, threshold)
        row, col = (first.part.row + (top + bottom) / 2) * tall, (first.part.col + (left + right) / 2) * wide
        extent = MARGIN * max((bottom - top) * tall, (right - left) * wide)
        found = first
        while True:
            view = around(self.scene, row, col, extent, side)
            if view == found.view:
                return found
            seconds = self._look(view, view.window, [first.sentence], policy)
            if not seconds or shared(found, seconds[0], threshold) < SAME:
                return found
            found = seconds[0]
            if view.whole or not is_cut(found, region_on(self.scene.gridded(view.shape)), threshold):
                return found
            extent = 2 * max(extent, side)

    def _look(self, view: View, part: Window, which: Sequence[int], policy: FailurePolicy) -> list[Match]:
        """What some sentences find in a part of a view."""
        pixels, valid = view.read(self.scene, policy)
        aoi = self.scene.aoi
        wanted = valid if aoi is None else valid & aoi.inside(view.window, view.shape)
        if not wanted.any():
            return []
        device = self.model.device
        observed = torch.from_numpy(valid).to(device)
        mean = torch.tensor(self.model.mean, device=device)
        asked = torch.from_numpy(wanted).to(device)
        image = filled(torch.from_numpy(np.ascontiguousarray(pixels)).to(device), observed, view, self.model.side, mean)
        image_features, found = self.model.encode_images(self.model.fit(image)[None]), []
        for start in range(0, len(which), SENTENCES):
            some = list(which[start : start + SENTENCES])
            probability, similarity = self._point(image_features, some, view)
            probability = probability * asked
            found += [self._match(s, view, part, probability[i], similarity[i], asked) for i, s in enumerate(some)]
        return found

    def _point(self, image_features: ImageFeatures, some: list[int], view: View) -> tuple[Tensor, Tensor]:
        """Probabilities `(sentence, row, col)` and scaled cosines of the same shape, on the view's window."""
        features, side = self.text_features, self.model.side
        index = torch.tensor(some, device=features.tokens.device)
        chosen = replace(
            features, tokens=features.tokens[index], sentence=features.sentence[index], words=features.words[index]
        )
        image = torch.zeros(len(some), dtype=torch.int64, device=index.device)
        prediction = self.model.predict(image_features, chosen, image)
        window = view.window
        shape = (window.height, window.width) if view.whole else (side, side)
        both = (prediction.logits, self.model.similarity(prediction, chosen)[:, None])
        logits, similarity = (
            self.model.restore(values, shape)[:, 0, : window.height, : window.width] for values in both
        )
        return logits.sigmoid(), similarity

    def _match(
        self, sentence: int, view: View, part: Window, probability: Tensor, similarity: Tensor, wanted: Tensor
    ) -> Match:
        rows = slice(part.row - view.window.row, part.row_stop - view.window.row)
        cols = slice(part.col - view.window.col, part.col_stop - view.window.col)
        probability = probability.half()
        whole = probability.float() > self.options.threshold
        inside = bool(whole[rows, cols].any())
        score = float(probability[whole].float().mean()) if inside else 0.0
        return Match(
            sentence=sentence,
            view=view,
            part=part,
            probability=probability[rows, cols].cpu().numpy(),
            score=score,
            similarity=float(similarity[whole].sigmoid().mean()) if inside else 0.0,
            presence=self.presence(similarity[wanted]) if inside and self.presence else score,
        )
