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

from earthwords.models.fewshot.linear_head import SCALE, Labelled, LinearHead, ShotSet, accuracy

EPOCHS = 300
MOMENTUM = 0.9
ALPHA_EVERY = 10
"""Epochs between two steps of alpha."""
WORD_WEIGHT = 2.5
"""Of the words at the start, times the scale of cosines and how well words fit their classes' examples."""
MOST_SHOTS = 16
"""A class's weight is the sum of its examples at the start, of at most 16 as published; of more, 16 times their mean.
Where classes have unequal numbers of examples, all take the mean number."""


class LpPlus:
    """One fit: `step` is an epoch."""

    def __init__(self, shots: ShotSet, *, bias: Tensor | None = None, scale: float = SCALE, seed: int = 0) -> None:
        """`bias` `(class,)` at the start; None: drawn, as `torch.nn.Linear` does."""
        self.shots, self.scale = shots, scale
        x, classes = shots.features, shots.classes
        self.similarities = x @ shots.words.T
        self.weight = min(len(x) / classes, MOST_SHOTS) * shots.class_means()
        if bias is None:
            bound = 1 / math.sqrt(x.shape[1])
            bias = torch.empty(classes).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
        self.bias = bias.clone().to(x.device)
        self.alpha = self._first_alpha()
        self.lr_weight, self.lr_alpha = self._rates()
        self.pace = [torch.zeros_like(part) for part in (self.weight, self.bias)]
        self.slope = torch.zeros_like(self.alpha)
        """Gradient of alpha, summed over all epochs so far, as published."""
        self.epoch = 0

    def _first_alpha(self) -> Tensor:
        own = self.similarities.gather(1, self.shots.labels[:, None])
        fit = _class_mean(own[:, 0], self.shots)
        return (WORD_WEIGHT * self.scale * fit.mean()).repeat(self.shots.classes)

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
        """One epoch; the loss before it."""
        self.epoch += 1
        logits, labels = self.logits(), self.shots.labels[:, None]
        loss = self.shots.loss(logits)
        wrong = logits.softmax(dim=1)
        wrong.scatter_add_(1, labels, torch.full_like(wrong[:, :1], -1))
        wrong *= self.shots.weights[:, None] / len(labels)
        for part, pace, slope in zip(
            (self.weight, self.bias), self.pace, (wrong.T @ self.shots.features, wrong.sum(dim=0)), strict=True
        ):
            part -= self.lr_weight * pace.mul_(MOMENTUM).add_(slope)
        self.slope += (wrong * self.similarities).sum(dim=0)
        if self.epoch % ALPHA_EVERY == 0:
            self.alpha -= self.lr_alpha * self.slope
        return float(loss)

    def head(self) -> LinearHead:
        """The classifier as it is now, words folded in."""
        return LinearHead(weight=self.weight + self.alpha[:, None] * self.shots.words, bias=self.bias.clone())


def _class_mean(values: Tensor, shots: ShotSet) -> Tensor:
    """`(class,)` weighted means of `(n,)`."""
    sums = torch.zeros(shots.classes, device=values.device).index_add_(0, shots.labels, values * shots.weights)
    return sums / torch.zeros_like(sums).index_add_(0, shots.labels, shots.weights)


def fit_lp_plus(
    shots: ShotSet,
    *,
    validation: Labelled | None = None,
    scale: float = SCALE,
    epochs: int = EPOCHS,
    seed: int = 0,
    bias: Tensor | None = None,
    tick: Callable[[float], None] = lambda done: None,
) -> LinearHead:
    """Fit LP++ by full-batch gradient descent.

    Args:
        shots: some tens of thousands are fine.
        validation: features and labels; of the epochs that do best on them the last one is taken. None: the last epoch.
        scale: of cosines in the model's own logits, 100 for CLIP.
        bias: `(class,)` at the start instead of a drawn one.
        tick: told 1 after every epoch.
    """
    fit = LpPlus(shots, bias=bias, scale=scale, seed=seed)
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
