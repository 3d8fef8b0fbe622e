"""From counts to what a report holds, in percent; what nothing can be said about is None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from earthwords.data.segmentation.spec import DatasetSpec
from earthwords.evaluation.benchmark.counts import CountingRule, Counts
from earthwords.evaluation.metrics.segmentation import mean

KINDS = ("best", "median", "worst")


def total(
    rule: CountingRule, images: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[Counts, dict[str, float | None]]:
    """The counts of all images, and by name the mean IoU of each at the tuned threshold, percent.

    Args:
        images: name, and what `Counts.as_json` made of it; in any order.
    """
    every, scores = Counts(rule), {}
    for name, counted in images:
        counts = Counts.from_json(rule, counted)
        scores[name] = percent(counts.scores(rule.tuned).miou)
        every.merge(counts)
    return every, scores


def figures_of(
    counts: Counts, spec: DatasetSpec, names: Sequence[str], scores: Mapping[str, float | None]
) -> dict[str, Any]:
    """All figures of a set, as they go into `results.json`; images in the order of `names`."""
    rule = counts.rule
    confusion = counts.pixels.at(rule.tuned)
    return {
        "images": len(names),
        "metric": spec.metric,
        "tuned": figures_at(counts, rule.tuned),
        "fixed": figures_at(counts, rule.fixed),
        "confusion": np.column_stack([confusion.counts, confusion.missed]).tolist(),
        "published": [asdict(number) for number in spec.published],
        "image_scores": [[name, scores[name]] for name in names],
    }


def figures_at(counts: Counts, threshold: float) -> dict[str, Any]:
    """The figures at one threshold, by mmsegmentation's names."""
    scores, background = counts.scores(threshold), counts.rule.background
    return {
        "threshold": threshold,
        "mIoU": percent(scores.miou),
        "foreground_IoU": None if background is None else percent(scores.foreground_iou(background)),
        "aAcc": percent(scores.accuracy),
        "mAcc": percent(scores.macc),
        "mF1": percent(scores.mfscore),
        "boundary_IoU": percent(mean(counts.edges[threshold].iou())),
        "IoU": _percents(scores.iou),
        "precision": _percents(scores.precision),
        "recall": _percents(scores.recall),
        "F1": _percents(scores.fscore),
    }


def percent(share: float) -> float | None:
    """A share 0..1 in percent; None for NaN."""
    return None if np.isnan(share) else 100 * float(share)


def _percents(shares: Sequence[float] | Any) -> list[float | None]:
    return [percent(float(share)) for share in shares]


@dataclass(frozen=True, kw_only=True)
class ExampleImage:
    """An image that is shown."""

    kind: str
    """One of `KINDS`."""
    number: int
    """Of the image, from 0."""
    score: float
    """Mean IoU, percent."""


def choose(scores: Sequence[float | None], count: int) -> list[ExampleImage]:
    """The best, the median and the worst images, at most `count` of each and none twice; of equal ones the first."""
    known = [(score, number) for number, score in enumerate(scores) if score is not None]
    each = min(count, max(1, len(known) // len(KINDS)))
    best = sorted(known, key=lambda pair: (-pair[0], pair[1]))[: min(each, (len(known) + 1) // 2)]
    others = sorted(set(known) - set(best))
    worst, rest = others[:each], others[each:]
    first = max(0, (len(rest) - each) // 2)
    parts = dict(zip(KINDS, (best, rest[first : first + each], worst), strict=True))
    return [
        ExampleImage(kind=kind, number=number, score=score) for kind, pairs in parts.items() for score, number in pairs
    ]
