"""LP++: a linear classifier on image features that starts from examples and words and learns how much the words count
(https://arxiv.org/abs/2404.02285; formulas of https://github.com/FereshteShakeri/FewShot-CLIP-Strong-Baseline).

Logits are `x w + b + alpha_k (x t_k)`, with `t_k` the class's word. All step sizes follow from the examples, so there
is nothing to tune.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from earthwords.models.fewshot.linear_head import Labelled, LinearHead, ShotSet, accuracy, shot_set

EPOCHS = 300
MOMENTUM = 0.9
ALPHA_EVERY = 10
"""Epochs between two steps of alpha."""
WORD_WEIGHT = 250.0
"""Of the words at the start, times how well they fit their classes' examples."""
MOST_SHOTS = 16
"""A class's weight is the sum of its examples at the start, of at most 16 as published; of more, 16 times their mean.
Where classes have unequal numbers of examples, all take the mean number."""


class LpPlus:
    """One fit: `step` is an epoch."""

    def __init__(self, shots: ShotSet, *, bias: Tensor | None = None, seed: int = 0) -> None:
        """`bias` `(class,)` at the start; None: drawn, as `torch.nn.Linear` does."""
        self.shots = shots
        x, classes = shots.features, shots.classes
        self.similarities = x @ shots.words.T
        self.weight = (min(len(x) / classes, MOST_SHOTS) * shots.class_means()).requires_grad_()
        if bias is None:
            bound = 1 / math.sqrt(x.shape[1])
            bias = torch.empty(classes).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
        self.bias = bias.clone().to(x.device).requires_grad_()
        self.alpha = self._first_alpha().requires_grad_()
        self.lr_weight, self.lr_alpha = self._rates()
        self.optimizer = torch.optim.SGD([self.weight, self.bias], lr=self.lr_weight, momentum=MOMENTUM)
        self.epoch = 0

    def _first_alpha(self) -> Tensor:
        own = self.similarities.gather(1, self.shots.labels[:, None])
        fit = _class_mean(own[:, 0], self.shots)
        return (WORD_WEIGHT * fit.mean()).repeat(self.shots.classes)

    def _rates(self) -> tuple[float, float]:
        """Steps as long as the curvature of the loss lets them be."""
        x, weights = self.shots.features, self.shots.weights
        largest = torch.linalg.eigvalsh(x.T @ (x * weights[:, None]))[-1]
        steepest = (self.similarities**2 * weights[:, None]).sum(dim=0).max()
        return float(4 * len(x) / largest), float(len(x) / (4 * steepest.clamp_min(1e-12)))

    def logits(self) -> Tensor:
        """`(n, class)` of the examples."""
        return self.shots.features @ self.weight.T + self.bias + self.alpha * self.similarities

    def step(self) -> float:
        """One epoch; the loss before it. The gradient of alpha is the sum over all epochs so far, as published."""
        self.epoch += 1
        self.optimizer.zero_grad()
        loss = self.shots.loss(self.logits())
        loss.backward()
        self.optimizer.step()
        if self.epoch % ALPHA_EVERY == 0 and self.alpha.grad is not None:
            with torch.no_grad():
                self.alpha -= self.lr_alpha * self.alpha.grad
        return float(loss.detach())

    def head(self) -> LinearHead:
        """The classifier as it is now, words folded in."""
        weight = self.weight.detach() + self.alpha.detach()[:, None] * self.shots.words
        return LinearHead(weight=weight, bias=self.bias.detach().clone())


def _class_mean(values: Tensor, shots: ShotSet) -> Tensor:
    """`(class,)` weighted means of `(n,)`."""
    sums = torch.zeros(shots.classes, device=values.device).index_add_(0, shots.labels, values * shots.weights)
    return sums / torch.zeros_like(sums).index_add_(0, shots.labels, shots.weights)


def fit_lp_plus(
    features: Tensor,
    labels: Tensor,
    words: Tensor,
    *,
    has_words: Tensor | None = None,
    validation: Labelled | None = None,
    weights: Tensor | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
    bias: Tensor | None = None,
    tick: Callable[[float], None] = lambda done: None,
) -> LinearHead:
    """Fit LP++ by full-batch gradient descent.

    Args:
        features: `(n, dim)`, of unit length; some tens of thousands are fine.
        labels: `(n,)`.
        words: `(class, dim)` vectors of the words, of unit length.
        has_words: `(class,)` bool: which classes have words, None: all; the direction of its examples stands in for
            the word of another class.
        validation: features and labels; of the epochs that do best on them the last one is taken. None: the last epoch.
        weights: `(n,)` what each example counts; None: all alike, as published.
        bias: `(class,)` at the start instead of a drawn one.
        tick: told 1 after every epoch.

    Raises:
        UsageError: as `linear_head.shot_set`.
    """
    fit = LpPlus(shot_set(features, labels, words, has_words=has_words, weights=weights), bias=bias, seed=seed)
    best, right = fit.head(), -1.0
    for _ in range(epochs):
        fit.step()
        tick(1)
        if validation is not None:
            head = fit.head()
            found = accuracy(head.logits(validation[0]), validation[1])
            if found >= right:
                best, right = head, found
    return fit.head() if validation is None else best
