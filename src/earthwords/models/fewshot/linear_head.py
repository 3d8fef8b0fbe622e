"""What the few-shot heads share: logits that are linear in a feature, and what is checked and prepared for all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError

SCALE = 100.0
"""Of cosines, as in every method's own code."""
TYPICAL_COSINE = 0.25
"""Of a feature and the word of its class in CLIP, where no class has a word to measure it with."""

Labelled = tuple[Tensor, Tensor]
"""Features `(n, dim)` and their classes `(n,)`."""


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Logits of classes that are linear in a feature: `x @ weight.T + bias`."""

    weight: Tensor
    """`(class, dim)` float32."""
    bias: Tensor
    """`(class,)` float32."""

    def logits(self, features: Tensor) -> Tensor:
        """`(n, class)` of features `(n, dim)`."""
        return F.linear(features, self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class ShotSet:
    """Examples, checked, on one device, in float32."""

    features: Tensor
    """`(n, dim)`."""
    labels: Tensor
    """`(n,)` int64."""
    words: Tensor
    """`(class, dim)`: of classes without words what stands in for them."""
    weights: Tensor
    """`(n,)`, of mean 1."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.words)

    def class_means(self) -> Tensor:
        """`(class, dim)` weighted means of the features, not normalised."""
        return class_means(self.features, self.labels, self.weights, self.classes)

    def loss(self, logits: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Mean cross-entropy of logits of these rows, weighted."""
        each = F.cross_entropy(logits, self.labels[rows], reduction="none")
        return (each * self.weights[rows]).mean()


def shot_set(
    features: Tensor,
    labels: Tensor,
    words: Tensor,
    *,
    has_words: Tensor | None = None,
    weights: Tensor | None = None,
) -> ShotSet:
    """Check examples and complete the words.

    Args:
        features: `(n, dim)`, of unit length.
        labels: `(n,)`, 0 to class - 1.
        words: `(class, dim)` vectors of the classes' words; the row of a class without words is not read.
        has_words: `(class,)` bool: which classes have words; None: all.
        weights: `(n,)` what each example counts, above 0; None: all alike, as published.

    Raises:
        UsageError: shapes do not fit, fewer than two classes, a class without examples, numbers that are none.
    """
    labels = labels.to(torch.int64)
    if features.ndim != 2 or words.ndim != 2 or features.shape[1] != words.shape[1] or len(labels) != len(features):
        raise UsageError(
            f"Examples of shape {tuple(features.shape)} with {len(labels)} labels do not fit words of shape "
            f"{tuple(words.shape)}."
        )
    classes = len(words)
    if classes < 2:
        raise UsageError(f"A few-shot head tells classes apart, so it needs two or more; there is {classes}.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UsageError(f"Labels must be from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}.")
    empty = torch.bincount(labels, minlength=classes) == 0
    if bool(empty.any()):
        raise UsageError(f"Class {int(empty.nonzero()[0])} has no example.")
    if not bool(features.isfinite().all()):
        raise UsageError("Some features of the examples are not finite numbers.")
    count = _counts(weights, len(features)).to(features.device)
    x = features.float()
    known = torch.ones(classes, dtype=torch.bool) if has_words is None else has_words.bool()
    full = _with_stand_ins(x, labels, words.float().to(x.device), known.to(x.device), count)
    return ShotSet(features=x, labels=labels.to(x.device), words=full, weights=count)


def _counts(weights: Tensor | None, count: int) -> Tensor:
    if weights is None:
        return torch.ones(count)
    if weights.shape != (count,) or not bool((weights > 0).all()) or not bool(weights.isfinite().all()):
        raise UsageError(f"Weights of examples must be {count} numbers above 0.")
    return weights.float() / weights.float().mean()


def class_means(features: Tensor, labels: Tensor, weights: Tensor, classes: int) -> Tensor:
    """`(class, dim)` weighted means, not normalised."""
    sums = torch.zeros(classes, features.shape[1], device=features.device)
    sums.index_add_(0, labels, features * weights[:, None])
    mass = torch.zeros(classes, device=features.device).index_add_(0, labels, weights)
    return sums / mass[:, None]


def _with_stand_ins(features: Tensor, labels: Tensor, words: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Words, and for a class without any the direction of its examples, as long as makes it fit them as well as a
    word fits the examples of its class: images resemble images far more than they do words, so that a vector of
    images of full length would win against every word."""
    if bool(known.all()):
        return words
    means = class_means(features, labels, weights, len(words))
    directions = F.normalize(means, dim=1)
    fit = (means * words).sum(dim=1)[known].mean() if bool(known.any()) else features.new_tensor(TYPICAL_COSINE)
    own = (means * directions).sum(dim=1)
    return torch.where(known[:, None], words, directions * (fit / own)[:, None])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Percent."""
    return 100 * float((logits.argmax(dim=1) == labels).float().mean())
