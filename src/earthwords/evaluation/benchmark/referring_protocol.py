"""A referring model on described images: RSRefSeg's protocol (https://github.com/KyanChen/RSRefSeg).

Each image is fitted to the model's square, its masks are brought back to the image's own pixels, and a pixel is inside
where its probability is above a half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.data.annotations.instances import Expression
from earthwords.data.manifests.expressions import Described, ReferringManifest
from earthwords.evaluation.metrics.referring import EmptyRule, ReferringCounts, ReferringScores
from earthwords.models.refseg.model import RefSeg

Predict: TypeAlias = Callable[[NDArray[np.uint8], Sequence[Expression]], Sequence[NDArray[np.bool_]]]
"""An image `(row, col, 3)` and expressions to a mask `(row, col)` each."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of a list."""

    scores: ReferringScores
    kinds: dict[str, ReferringScores]
    """Those of every kind of expression that the list tells."""
    samples: tuple[tuple[int, int], ...]
    """Number of the line and of the expression, in the order of `scores.iou`."""

    def as_json(self) -> dict[str, Any]:
        """Percent, by the names of `ReferringScores.as_json`; of each kind samples and gIoU."""
        kinds = {
            kind: {"samples": found.samples, "gIoU": 100 * found.gIoU} for kind, found in sorted(self.kinds.items())
        }
        categories = {name: 100 * value for name, value in self.scores.category_iou.items()}
        return {**self.scores.as_json(), "categories": categories, "kinds": kinds}


def pointing(model: RefSeg, *, batch: int = 16) -> Predict:
    """The answers of a model; an image is encoded once for all its expressions.

    Args:
        batch: expressions that are decided at once.
    """

    @torch.inference_mode()
    def predict(image: NDArray[np.uint8], expressions: Sequence[Expression]) -> list[NDArray[np.bool_]]:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).to(model.device)
        image_features = model.encode_images(model.fit(pixels)[None])
        masks: list[NDArray[np.bool_]] = []
        for start in range(0, len(expressions), batch):
            some = expressions[start : start + batch]
            text_features = model.encode_texts(model.ids([one.text for one in some]))
            which = torch.zeros(len(some), dtype=torch.int64, device=model.device)
            logits = model.restore(model.predict(image_features, text_features, which).logits, image.shape[:2])
            masks += list((logits[:, 0] > 0).cpu().numpy())
        return masks

    return predict


def measure(
    predict: Predict,
    manifest: ReferringManifest,
    *,
    empty: EmptyRule = "hit",
    tick: Callable[[float], None] = lambda images: None,
) -> Measured:
    """Figures of answers on all expressions of a list.

    Args:
        empty: what a sample is in which nothing is meant and nothing found, see `EmptyRule`.
        tick: called with the number of images done.
    """
    every, kinds = ReferringCounts(empty=empty), dict[str, ReferringCounts]()
    samples = []
    for number, line in enumerate(manifest.lines):
        image, mask = line.load()
        for i, (one, found) in enumerate(zip(line.expressions, predict(image, line.expressions), strict=True)):
            counted = [every] + ([kinds.setdefault(one.kind, ReferringCounts(empty=empty))] if one.kind else [])
            for counts in counted:
                counts.add(meant(mask, one), found, category=one.category)
            samples.append((number, i))
        tick(1)
    found_kinds = {kind: counts.scores() for kind, counts in kinds.items() if counts.counted}
    return Measured(scores=every.scores(), kinds=found_kinds, samples=tuple(samples))


def meant(mask: NDArray[np.int32], expression: Expression) -> NDArray[np.bool_]:
    """`(row, col)`: the objects that an expression means."""
    return np.isin(mask, expression.ids)


def examples(
    measured: Measured, manifest: ReferringManifest, count: int
) -> list[tuple[str, Described, Expression, float]]:
    """The best, the median and the worst samples, `count` of each: which, line, expression, IoU (0..1)."""
    order = np.argsort(np.nan_to_num(measured.scores.iou), kind="stable")
    middle = max(0, (len(order) - count) // 2)
    parts = {"worst": order[:count], "median": order[middle : middle + count], "best": order[::-1][:count]}
    found = []
    for name, places in parts.items():
        for place in places.tolist():
            line, expression = measured.samples[place]
            described = manifest.lines[line]
            found.append((name, described, described.expressions[expression], float(measured.scores.iou[place])))
    return found
