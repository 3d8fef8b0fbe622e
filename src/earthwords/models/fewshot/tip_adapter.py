"""Tip-Adapter: words, and the votes of examples that are alike (https://arxiv.org/abs/2207.09519,
formulas of https://github.com/gaopengcuhk/Tip-Adapter); Tip-Adapter-F also moves the examples.

Logits are `100 x t_k + alpha sum exp(-beta (1 - x key))` over the keys of the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.fewshot.linear_head import SCALE, Labelled, ShotSet, accuracy

ALPHA, BETA = 2.0, 1.0
"""Where training starts, and what holds without validation images: the authors' numbers for EuroSAT."""
SEARCH_SCALE, SEARCH_STEPS = (12.0, 10.0), (200, 20)
"""Of beta and alpha."""
LEAST = 0.1
EPOCHS, BATCH, LR, EPS, WEIGHT_DECAY = 20, 256, 1e-3, 1e-4, 0.01


@dataclass(frozen=True, kw_only=True)
class TipAdapterHead:
    """Logits of classes by words and by keys."""

    words: Tensor
    """`(class, dim)`."""
    keys: Tensor
    """`(key, dim)`."""
    values: Tensor
    """`(key, class)`: one-hot, times what the example counts."""
    alpha: float = ALPHA
    beta: float = BETA
    scale: float = SCALE
    """Of the cosines with words."""

    def logits(self, features: Tensor) -> Tensor:
        """`(n, class)` of features `(n, dim)`."""
        return self.scale * features @ self.words.T + self.alpha * self.votes(features)

    def votes(self, features: Tensor) -> Tensor:
        """`(n, class)` of the keys."""
        return torch.exp(-self.beta * (1 - features @ self.keys.T)) @ self.values


def cache_keys(augmented: Tensor) -> Tensor:
    """`(shot, dim)` keys of un-normalised features of several augmented passes `(pass, shot, dim)`."""
    return F.normalize(augmented.mean(dim=0), dim=1)


def search(
    head: TipAdapterHead,
    validation: Labelled,
    *,
    scale: tuple[float, float] = SEARCH_SCALE,
    steps: tuple[int, int] = SEARCH_STEPS,
) -> TipAdapterHead:
    """The head with the beta and alpha that do best: the first of equal ones, small beta before small alpha.

    Args:
        validation: features and labels.
        scale: upper ends of beta and alpha, never tried themselves, as published.
        steps: of beta and alpha.
    """
    features, labels = validation
    by_words = head.scale * features @ head.words.T
    best, right = head, 0.0
    for beta in _grid(scale[0], steps[0]):
        votes = replace(head, beta=beta).votes(features)
        for alpha in _grid(scale[1], steps[1]):
            found = accuracy(by_words + alpha * votes, labels)
            if found > right:
                best, right = replace(head, alpha=alpha, beta=beta), found
    return best


def _grid(end: float, steps: int) -> list[float]:
    return [i * (end - LEAST) / steps + LEAST for i in range(steps)]


class KeyTraining:
    """Training of the keys (Tip-Adapter-F)."""

    def __init__(self, head: TipAdapterHead, *, steps: int, lr: float = LR) -> None:
        """`steps` in all: the rate falls to 0 along a cosine."""
        self.head = replace(head, keys=head.keys.clone().requires_grad_())
        self.optimizer = torch.optim.AdamW([self.head.keys], lr=lr, eps=EPS, weight_decay=WEIGHT_DECAY)
        self.lr, self.steps, self.done = lr, steps, 0

    def step(self, features: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
        """One batch; the loss before it."""
        self.optimizer.param_groups[0]["lr"] = self.lr * (1 + math.cos(math.pi * self.done / self.steps)) / 2
        each = F.cross_entropy(self.head.logits(features), labels, reduction="none")
        loss = each.mean() if weights is None else (each * weights).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.done += 1
        return float(loss.detach())

    def now(self) -> TipAdapterHead:
        """The head as it is."""
        return replace(self.head, keys=self.head.keys.detach().clone())


def fit_tip_adapter(
    shots: ShotSet,
    *,
    validation: Labelled | None = None,
    scale: float = SCALE,
    seed: int = 0,
    steps: tuple[int, int] = SEARCH_STEPS,
) -> TipAdapterHead:
    """Tip-Adapter: nothing is trained or drawn; alpha and beta are searched for on `validation`, if there is any.

    `steps` as `search`; `scale` of the cosines with words.
    """
    head = _untrained(shots, scale)
    return head if validation is None else search(head, validation, steps=steps)


def fit_tip_adapter_f(
    shots: ShotSet,
    *,
    validation: Labelled | None = None,
    chosen_on: Labelled | None = None,
    scale: float = SCALE,
    seed: int = 0,
    epochs: int = EPOCHS,
    steps: tuple[int, int] = SEARCH_STEPS,
) -> TipAdapterHead:
    """Tip-Adapter-F: the keys are trained, then alpha and beta are searched for on `validation`.

    Args:
        chosen_on: what the best epoch is chosen on, and whether the search helped; None: `validation`. The authors
            take the **test** images. Without either the last epoch is taken.
        scale: of the cosines with words.
        seed: of the order of batches.

    `steps` as `search`.
    """
    judges = validation if chosen_on is None else chosen_on
    drawn = torch.Generator().manual_seed(seed)
    training = KeyTraining(_untrained(shots, scale), steps=epochs * math.ceil(len(shots.labels) / BATCH))
    best, right = training.now(), -1.0
    for _ in range(epochs):
        for rows in batches(len(shots.labels), drawn):
            training.step(shots.features[rows], shots.labels[rows], shots.weights[rows])
        found = 0.0 if judges is None else accuracy(training.now().logits(judges[0]), judges[1])
        if judges is None or found > right:
            best, right = training.now(), found
    if validation is None or judges is None:
        return best
    searched = search(best, validation, steps=steps)
    return searched if accuracy(searched.logits(judges[0]), judges[1]) > right else best


def _untrained(shots: ShotSet, scale: float) -> TipAdapterHead:
    values = F.one_hot(shots.labels, shots.classes).float() * shots.weights[:, None]
    return TipAdapterHead(words=shots.words, keys=F.normalize(shots.features, dim=1), values=values, scale=scale)


def batches(count: int, drawn: torch.Generator, most: int = BATCH) -> Iterator[Tensor]:
    """Rows in an order that is drawn; as they are where they fit in one batch of `most`."""
    order = torch.randperm(count, generator=drawn) if count > most else torch.arange(count)
    yield from order.split(most)
