"""Logistic regression that stays near the words: the fewer and the less telling the marks, the nearer.

The logit of a word `q` of class `k` is `s x t_q + x w_k + b_k`, that of a class the greatest of its words'. The loss is
the class-balanced cross-entropy of the marks plus `strength / 2 (|w|^2 + b^2)`: with a large `strength` it is the
words alone, with a small one a linear probe. It is the pull towards the zero-shot weights of CLAP
(https://arxiv.org/abs/2312.12730) with one strength for all classes, to be chosen on marks that are left out. Nothing
is drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
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
    greatest = class_logits(scale * features @ words.T, query_class, classes).double()  # a class's words move alike
    inputs = F.pad(features.double(), (0, 1), value=1.0)
    basis = torch.linalg.qr(inputs.T)[0] if 4 * len(inputs) < inputs.shape[1] else None
    change = _least(inputs if basis is None else inputs @ basis, greatest, labels, each, strength)
    change = (change if basis is None else change @ basis.T).float()
    return scale * words + change[query_class, :-1], change[query_class, -1]


def _least(inputs: Tensor, fixed: Tensor, labels: Tensor, each: Tensor, strength: float) -> Tensor:
    """`(class, dim)`: what is added to the logits `fixed`, times `inputs` `(n, dim)`; float64.

    It lies in the span of the inputs, as every move away from there costs and changes nothing.
    """
    told, shape = F.one_hot(labels, fixed.shape[1]).double(), (fixed.shape[1], inputs.shape[1])
    each = each.double()[:, None]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        change = torch.from_numpy(flat).view(shape)
        log = F.log_softmax(fixed + inputs @ change.T, dim=1)
        slope = (each * (log.exp() - told)).T @ inputs + strength * change
        value = strength / 2 * (change**2).sum() - (each * told * log).sum()
        return float(value), slope.flatten().numpy()

    limits = {"maxiter": MOST_STEPS, "gtol": 1e-6, "ftol": 1e-9}
    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options=limits)
    return torch.from_numpy(found.x).view(shape)
