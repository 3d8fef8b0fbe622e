"""TaskRes: the words' vectors, moved (https://arxiv.org/abs/2211.10277; formulas as in
https://github.com/elkhouryk/fewshot_RSVLMs)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.fewshot.linear_head import SCALE, Labelled, LinearHead, ShotSet, accuracy
from earthwords.models.fewshot.tip_adapter import batches

ALPHA = 0.5
"""Share of the learned part."""
EPOCHS, LR, WEIGHT_DECAY, FIRST_LR = 100, 2e-3, 5e-4, 1e-5


def warm_cosine(epoch: int, epochs: int, lr: float) -> float:
    """Rate of an epoch from 0: the first is slow, the others follow a cosine that never comes to 0."""
    return lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2 if epoch else FIRST_LR


class TaskResidual:
    """One fit: a vector added to each class's own before it is made of unit length."""

    def __init__(self, base: Tensor, *, epochs: int = EPOCHS, alpha: float = ALPHA, scale: float = SCALE) -> None:
        """`base` `(class, dim)`: the words' vectors; the authors do not normalise them here."""
        self.base, self.alpha, self.scale, self.epochs = base, alpha, scale, epochs
        self.residual = torch.zeros_like(base).requires_grad_()
        # the decay is added to the gradient, not taken from the weights: Adam, not AdamW
        self.optimizer = torch.optim.Adam([self.residual], lr=LR, weight_decay=WEIGHT_DECAY)

    def vectors(self) -> Tensor:
        """`(class, dim)` before they are made of unit length."""
        return self.base + self.alpha * self.residual

    def logits(self, features: Tensor) -> Tensor:
        """`(n, class)`."""
        return self.scale * features @ F.normalize(self.vectors(), dim=1).T

    def step(self, shots: ShotSet, rows: Tensor, *, epoch: int) -> float:
        """One batch; the loss before it."""
        self.optimizer.param_groups[0]["lr"] = warm_cosine(epoch, self.epochs, LR)
        loss = shots.loss(self.logits(shots.features[rows]), rows)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def head(self) -> LinearHead:
        """The classifier as it is now."""
        weight = self.scale * F.normalize(self.vectors().detach(), dim=1)
        return LinearHead(weight=weight, bias=torch.zeros(len(weight), device=weight.device))


def fit_taskres(
    shots: ShotSet,
    *,
    validation: Labelled | None = None,
    scale: float = SCALE,
    seed: int = 0,
    epochs: int = EPOCHS,
) -> LinearHead:
    """Fit TaskRes.

    Args:
        shots: with words as the authors give them, means of text vectors that are not of unit length.
        validation: of the epochs that do best on them the last one is taken (ours); None: the last epoch, as published.
        scale: of the cosines.
        seed: of the order of batches.
    """
    fit, drawn = TaskResidual(shots.words, epochs=epochs, scale=scale), torch.Generator().manual_seed(seed)
    best, right = fit.head(), -1.0
    for epoch in range(epochs):
        for rows in batches(len(shots.labels), drawn):
            fit.step(shots, rows, epoch=epoch)
        if validation is not None:
            head = fit.head()
            found = accuracy(head.logits(validation[0]), validation[1])
            if found >= right:
                best, right = head, found
    return fit.head() if validation is None else best
