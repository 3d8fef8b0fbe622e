"""Logistic regression that stays near the words: the fewer and the less telling the marks, the nearer.

The logit of a word `q` of class `k` is `s x t_q + x w_k + b_k`, that of a class the greatest of its words'. The loss is
the class-balanced cross-entropy of the marks plus `strength / 2 (|w|^2 + b^2)`: with a large `strength` it is the
words alone, with a small one a linear probe. It is the pull towards the zero-shot weights of CLAP
(https://arxiv.org/abs/2312.12730) with one strength for all classes, to be chosen on marks that are left out. Nothing
is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError

MOST_STEPS = 200


def class_logits(queries: Tensor, query_class: Tensor, classes: int) -> Tensor:
    """`(n, class)`: the greatest of each class's `(n, query)`; every class has one."""
    found = queries.new_full((len(queries), classes), -torch.inf)
    return found.scatter_reduce(1, query_class.expand(len(queries), -1), queries, "amax")


def fit_anchored(
    features: Tensor,
    labels: Tensor,
    words: Tensor,
    query_class: Tensor,
    *,
    scale: float,
    strength: float,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit by L-BFGS.

    Args:
        features: `(n, dim)`.
        labels: `(n,)`; classes without an example keep their words, and compete.
        words: `(query, dim)` vectors of the words; zeros for a class without a word, and in columns no word knows.
        query_class: `(query,)`: the class of each, every class at least once.
        scale: of the cosines, the preset's `logit_scale`.
        strength: of the pull towards the words, above 0.
        weights: `(n,)` what each example counts; None: all alike. Classes count alike in any case.

    Returns:
        Weight `(query, dim)` and bias `(query,)`: the logits of words are `x @ weight.T + bias`.

    Raises:
        UsageError: no example, or shapes that do not fit.
    """
    if not len(features) or features.shape[1] != words.shape[1] or len(labels) != len(features):
        raise UsageError(f"{len(features)} examples of {features.shape[1]} numbers do not fit {tuple(words.shape)}.")
    classes = int(query_class.max()) + 1
    each = torch.ones(len(labels)) if weights is None else weights.float()
    mass = torch.zeros(classes).index_add_(0, labels, each)
    each = each / mass[labels] / int((mass > 0).sum())
    fixed = scale * features @ words.T
    change = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [change, bias], max_iter=MOST_STEPS, tolerance_grad=1e-6, tolerance_change=1e-8, line_search_fn="strong_wolfe"
    )
    greatest = class_logits(fixed, query_class, classes)  # all words of a class are moved alike

    def loss() -> Tensor:
        solver.zero_grad()
        logits = greatest + F.linear(features, change, bias)
        found = (each * F.cross_entropy(logits, labels, reduction="none")).sum()
        found = found + strength / 2 * ((change**2).sum() + (bias**2).sum())
        found.backward()
        return found

    solver.step(loss)
    return (scale * words + change[query_class]).detach(), bias[query_class].detach().clone()
