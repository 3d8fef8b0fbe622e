"""Prototypes: the mean of a class's examples, of unit length; words are not read."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.fewshot.linear_head import SCALE, Labelled, LinearHead, shot_set


def fit_prototypes(
    features: Tensor,
    labels: Tensor,
    words: Tensor,
    *,
    has_words: Tensor | None = None,
    validation: Labelled | None = None,
    weights: Tensor | None = None,
    scale: float = SCALE,
    seed: int = 0,
) -> LinearHead:
    """Nearest mean: logits are `scale` times the cosine with it. There is nothing to select or to draw.

    Args and raises as `linear_head.shot_set`.
    """
    shots = shot_set(features, labels, words, has_words=has_words, weights=weights)
    weight = scale * F.normalize(shots.class_means(), dim=1)
    return LinearHead(weight=weight, bias=torch.zeros(len(weight), device=weight.device))
