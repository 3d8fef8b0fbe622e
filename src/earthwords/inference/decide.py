"""From logits of queries to classes (SegEarth-OV, https://arxiv.org/abs/2410.01768)."""

from __future__ import annotations

import torch
from torch import Tensor


def class_probabilities(logits: Tensor, query_class: Tensor, *, logit_scale: float = 50.0) -> Tensor:
    """Softmax over all queries, then the maximum over each class's synonyms.

    Synonyms compete inside the softmax, so the probabilities of the classes need not sum to one.

    Args:
        logits: `(query, row, col)` cosines.
        query_class: `(query,)` int64, the class of each query; classes are 0..max.

    Returns:
        `(class, row, col)`.
    """
    probabilities = (logit_scale * logits).softmax(dim=0)
    classes = int(query_class.max()) + 1
    if classes == len(query_class):
        return probabilities
    out = torch.zeros((classes, *logits.shape[1:]), dtype=probabilities.dtype, device=logits.device)
    index = query_class[:, None, None].expand_as(probabilities)
    return out.scatter_reduce(0, index, probabilities, reduce="amax")


def decide(probabilities: Tensor, *, threshold: float = 0.0, background: int = 0) -> tuple[Tensor, Tensor]:
    """The most probable class of every pixel, `background` below the threshold.

    Args:
        probabilities: `(class, row, col)`.

    Returns:
        labels `(row, col)` int64 and score `(row, col)`, the probability of the most probable class.
    """
    score, labels = probabilities.max(dim=0)
    return torch.where(score < threshold, background, labels), score
