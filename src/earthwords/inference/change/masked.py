"""Two dates compared by masks: AnyChange, and DynamicEarth from masks to words (M-C-I) or from words to masks (I-M-C).

Every method takes a view of both dates and judges masks: which class each shows before and after, and how sure it is
that this is a change. Where judged masks overlap the surest counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from earthwords.inference.change import dynamicearth
from earthwords.inference.change.anychange import AREA, ClickQuery, any_change, query_of, resembling
from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.inference.change.existence import overlap_sums
from earthwords.inference.change.features import Features
from earthwords.inference.change.identify import identified, mask_classes, mean_probabilities
from earthwords.inference.change.regions_as_masks import regions_of
from earthwords.inference.change.sam_masks import (
    SeenBySam,
    first_sam,
    matching_features,
    raw_features,
    redrawn,
    seen_by,
)
from earthwords.mask_set import MaskSet
from earthwords.models.sam.generator import MaskGenerator
from earthwords.types import Grid

OBSERVED = 0.5
"""Share of a mask that both dates must show."""

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class DatesView:
    """The same ground at two dates."""

    grid: Grid
    """Of pictures and masks."""
    pictures: Pair
    """`(3, row, col)`, 0..1."""
    probabilities: Pair
    """`(class, row, col)`, of the grid or another resolution."""
    seen: NDArray[np.bool_]
    """`(row, col)`: what both dates show."""
    background: int | None
    """The class of what was not asked for, if there is one."""
    theta: float | None = None
    """Degrees, of both dates; None: the method's own."""
    query: ClickQuery | None = None
    """What alone is looked for."""

    def observed(self, masks: MaskSet) -> NDArray[np.bool_]:
        """`(mask,)`: which lie for the most part where both dates show something."""
        parts = (self.seen[row : row + m.shape[0], col : col + m.shape[1]][m].mean() for row, col, m in masks)
        return np.fromiter(parts, float, len(masks)) > OBSERVED


@dataclass(frozen=True, kw_only=True)
class JudgedMasks:
    """Masks that changed."""

    masks: MaskSet
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    """`(mask,)`: what it shows at either date, two different classes."""
    scores: NDArray[np.float32]
    """`(mask,)`, 0..1."""

    def take(self, which: NDArray[np.bool_]) -> JudgedMasks:
        """Those that stay."""
        return JudgedMasks(
            masks=self.masks.take(which), before=self.before[which], after=self.after[which], scores=self.scores[which]
        )

    def painted(
        self, before: NDArray[np.int64], after: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Classes of both dates and scores `(row, col)`, painted over classes where nothing changed (score 0)."""
        before, after, score = before.copy(), after.copy(), np.zeros(before.shape, np.float32)
        for i in np.argsort(self.scores, kind="stable"):
            row, col, height, width = (int(n) for n in self.masks.boxes[i])
            inside, mask = (slice(row, row + height), slice(col, col + width)), self.masks.mask(int(i))
            before[inside][mask], after[inside][mask] = self.before[i], self.after[i]
            score[inside][mask] = self.scores[i]
        return before, after, score


class MaskJudge(Protocol):
    """A method by masks."""

    def judge(self, view: DatesView) -> JudgedMasks:
        """What changed."""

    def compared(self, pictures: Pair) -> tuple[Tensor, Tensor]:
        """The features of both dates `(dim, row, col)` that tell whether a mask changed."""


@dataclass(frozen=True, kw_only=True)
class AnyChangeJudge:
    """SAM's masks that turned in SAM's own features; words only tell which two classes that is likeliest between."""

    generator: MaskGenerator
    theta: float

    def judge(self, view: DatesView) -> JudgedMasks:
        """See `MaskJudge`."""
        first, second = (by_sam(self.generator, picture, view.grid) for picture in view.pictures)
        masks = DatedMasks.join(first.masks, second.masks).smaller_than(AREA)
        masks = masks.take(view.observed(masks.masks))
        if view.query is not None:
            masks = masks.take(resembling(masks, view.query, *(raw_features(one.embedding) for one in (first, second))))
        predictor = first_sam(self.generator)
        features = (matching_features(predictor, one.embedding) for one in (first, second))
        found = any_change(masks, *features, theta=self.theta if view.theta is None else view.theta)
        before, after = likeliest_change(*(mean_probabilities(p, found.masks.masks) for p in view.probabilities))
        return JudgedMasks(masks=found.masks.masks, before=before, after=after, scores=as_scores(found.scores))

    def compared(self, pictures: Pair) -> tuple[Tensor, Tensor]:
        """See `MaskJudge`."""
        predictor = first_sam(self.generator)
        first, second = (matching_features(predictor, self.generator.encode(as_bytes(one))) for one in pictures)
        return first, second

    def clicked(self, picture: NDArray[np.float32], grid: Grid, point: tuple[float, float]) -> ClickQuery | None:
        """What lies at a point, x and y in pixels of a picture, the middle of the first at 0; None: SAM is not sure."""
        embedding = self.generator.encode(as_bytes(picture))
        found = self.generator.of_points(embedding, [point]).on(grid)
        return query_of(found.take([0]), raw_features(embedding)) if len(found) else None


@dataclass(frozen=True, kw_only=True)
class _ByFeatures:
    """What both methods of DynamicEarth have."""

    generator: MaskGenerator | None
    """Makes or draws the masks; None: they are connected regions of what words say."""
    features: Features
    theta: float

    def compared(self, pictures: Pair) -> tuple[Tensor, Tensor]:
        """See `MaskJudge`."""
        return self.features(pictures[0]), self.features(pictures[1])

    def turned(self, masks: DatedMasks, view: DatesView) -> tuple[DatedMasks, NDArray[np.float32]]:
        """Masks whose features turned, and how far."""
        theta = self.theta if view.theta is None else view.theta
        return dynamicearth.compare(masks, *self.compared(view.pictures), theta=theta)


@dataclass(frozen=True, kw_only=True)
class MaskCompareIdentifyJudge(_ByFeatures):
    """M-C-I: masks of both dates, those that turned, those that words call something else."""

    instances: bool = True
    """At its own date a mask must show a class that was asked for."""

    def judge(self, view: DatesView) -> JudgedMasks:
        """See `MaskJudge`."""
        sets = [self._masks(*one, view) for one in zip(view.pictures, view.probabilities, strict=True)]
        masks = dynamicearth.proposals(*sets)
        masks = masks.take(view.observed(masks.masks))
        turned, scores = self.turned(masks, view)
        background = -1 if view.background is None else view.background
        first, second = (
            mask_classes(mean_probabilities(p, turned.masks), background=background)[0] for p in view.probabilities
        )
        kept = identified(turned, first, second, instances=self.instances, background=background)
        kept &= (first >= 0) & (second >= 0)
        return JudgedMasks(
            masks=turned.masks.take(kept), before=first[kept], after=second[kept], scores=as_scores(scores[kept])
        )

    def _masks(self, picture: NDArray[np.float32], probabilities: NDArray[np.float32], view: DatesView) -> MaskSet:
        if self.generator is not None:
            return by_sam(self.generator, picture, view.grid).masks
        return regions_of(at_size(probabilities, view.grid.shape), view.grid, seen=view.seen)


@dataclass(frozen=True, kw_only=True)
class IdentifyMaskCompareJudge(_ByFeatures):
    """I-M-C: instances of each class at either date that the other date lacks, those that turned.

    An instance is a connected region of a class; SAM, where there is one, draws it anew from its box.
    """

    def judge(self, view: DatesView) -> JudgedMasks:
        """See `MaskJudge`."""
        fine = [at_size(p, view.grid.shape) for p in view.probabilities]
        sets = [regions_of(p, view.grid, seen=view.seen, without=view.background) for p in fine]
        if self.generator is not None:
            sets = [redrawn(self.generator, as_bytes(p), s) for p, s in zip(view.pictures, sets, strict=True)]
        joined = DatedMasks.join(*sets)
        joined = joined.take(view.observed(joined.masks))
        alone = np.zeros(len(joined), bool)
        for label in np.unique(joined.masks.classes):
            mine = np.flatnonzero(joined.masks.classes == label)
            alone[mine] = overlap_sums(joined.take(mine)) <= dynamicearth.EXISTENCE
        turned, scores = self.turned(joined.take(alone), view)
        own = turned.masks.classes.astype(np.int64)
        means = [mean_probabilities(p, turned.masks) for p in view.probabilities]
        other = likeliest_other(np.where(turned.second[:, None], *means), own)
        before, after = np.where(turned.second, other, own), np.where(turned.second, own, other)
        named = (other >= 0) & (before != after)
        return JudgedMasks(
            masks=turned.masks.take(named), before=before[named], after=after[named], scores=as_scores(scores[named])
        )


def by_sam(generator: MaskGenerator, picture: NDArray[np.float32], grid: Grid) -> SeenBySam:
    """What SAM makes of a picture `(3, row, col)`, 0..1."""
    return seen_by(generator, as_bytes(picture), grid)


def as_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`(3, row, col)`, 0..1, to `(row, col, 3)`."""
    return np.ascontiguousarray(np.rint(255 * np.moveaxis(picture, 0, -1)).astype(np.uint8))


def likeliest_change(
    before: NDArray[np.float32], after: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of means `(mask, class)` at either date: the likeliest pair of two different classes, `(mask,)` each.

    That something changed is known then; of one class alone both are that class.
    """
    joint = np.nan_to_num(before)[:, :, None] * np.nan_to_num(after)[:, None, :]
    count = joint.shape[1]
    joint[:, np.arange(count), np.arange(count)] = -1
    best = joint.reshape(len(joint), -1).argmax(axis=1) if len(joint) else np.zeros(0, np.int64)
    return best // count, best % count


def likeliest_other(means: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """`(mask,)`: the likeliest class by means `(mask, class)` that is not its own; -1 where there is no other."""
    left = np.nan_to_num(means)
    if left.shape[1] < 2:
        return np.full(len(left), -1)
    left[np.arange(len(left)), own] = -1
    found: NDArray[np.int64] = left.argmax(axis=1)
    return found


def as_scores(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Negated cosines as 0..1."""
    found: NDArray[np.float32] = np.clip((cosines + 1) / 2, 0, 1).astype(np.float32)
    return found


def at_size(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """`(value, row, col)` at another resolution, by the pixel at the upper left corner."""
    rows, cols = (np.arange(n) * m // n for n, m in zip(shape, values.shape[1:], strict=True))
    return values[:, rows[:, None], cols]
