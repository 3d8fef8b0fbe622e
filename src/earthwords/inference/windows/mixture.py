"""Joint inference: the tokens of a whole scene as a mixture of Gaussians, one a word, drawn to what the words say.

Paper: https://arxiv.org/abs/2603.29271 (ConInfer); formulas are those of its authors' code. Of token i, with feature
`f_i` and cosines `c_i`: the prior `y_i = softmax(100 c_i)` stays, and with means `mu_k` of unit length and one variance
`v` of every channel for all words, `z_ik = y_ik exp(l_ik / T)`, normalised over the words, where
`l_ik = -1/2 sum_j (f_ij - mu_kj)^2 / v_j`. Means begin with the 8 tokens that fit a word best, and means and variance
are fitted ten times. They depend on sums over the tokens alone, so that tokens pass by in any number of chunks.

Other than the authors': a word that no token belongs to keeps its mean; a channel that is the same everywhere counts
little instead of giving no number; tokens that fit equally well are taken in the order of the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.types import Mixture

SHARPNESS = 100.0
"""Of the prior: factor of the cosines."""
SEEDS = 8
"""Tokens that the first mean of a word is made of."""
ROUNDS = 10
SCALE = 5.0
"""Factor of the mixture's shares in place of the preset's `logit_scale`."""
WARMTH = 0.05
"""Temperature for each channel: the authors' 50 for 1,024; distances grow with the number of channels."""
LEAST = 1e-6
"""Of a channel's variance, as a share of the mean."""

Chunks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""All tokens, again for every call, in the same order: features `(n, dim)` of unit length and cosines `(n, query)`."""


def shares(mixture: Mixture, features: Tensor, cosines: Tensor) -> Tensor:
    """`z`: how far each token belongs to each word, `(n, query)`, adding up to 1.

    Args:
        features: `(n, dim)`, of unit length.
        cosines: `(n, query)`.
    """
    means, variance = (torch.from_numpy(a).to(features) for a in (mixture.means, mixture.variance))
    nearness = features @ (means / variance).T - (means.square() / variance).sum(dim=1) / 2
    return ((SHARPNESS * cosines).log_softmax(dim=1) + nearness / mixture.temperature).softmax(dim=1)


def fit(chunks: Chunks, *, temperature: float | None = None) -> Mixture:
    """The mixture of all tokens; sums are taken in float64, in their order.

    Args:
        temperature: how little distances count; None: by the number of channels.

    Raises:
        UsageError: fewer than 8 tokens.
    """
    means, square, count = _first(chunks)
    warmth = WARMTH * means.shape[1] if temperature is None else temperature
    variance = torch.full_like(square, 1 / len(square))
    for _ in range(ROUNDS):
        mixture = _mixture(means, variance, warmth)
        total, weight = torch.zeros_like(means), means.new_zeros(len(means))
        for features, cosines in chunks():
            own, told = features.double(), cosines.double()
            z = shares(mixture, own, told)
            total += z.T @ own
            weight += z.sum(dim=0)
        some = weight > 0
        means = torch.where(some[:, None], F.normalize(total, dim=1), means)
        spread = square - 2 * (means * total).sum(dim=0) + (weight[:, None] * means.square()).sum(dim=0)
        variance = spread / weight.sum()
        variance = variance.clamp(min=max(LEAST * float(variance.mean()), 1e-30))
    mixture = _mixture(means, variance, warmth)
    moved = sum(int((shares(mixture, f, c).argmax(1) != c.argmax(1)).sum()) for f, c in chunks())
    return _mixture(means, variance, warmth, tokens=count, changed=moved / count)


def _first(chunks: Chunks) -> tuple[Tensor, Tensor, int]:
    """First means `(query, dim)`, the sum of squares `(dim,)`, and how many tokens there are."""
    best, near, square, count = None, None, None, 0
    for features, cosines in chunks():
        own, prior = features.double(), (SHARPNESS * cosines.double()).softmax(dim=1)
        square = own.square().sum(dim=0) + (0 if square is None else square)
        count += len(own)
        order = _likeliest(prior.T)  # of these tokens alone, as a copy of all of them for each word would be large
        fits, tokens = prior.T.gather(1, order), own[order]
        if best is not None and near is not None:
            fits, tokens = torch.cat([best, fits], dim=1), torch.cat([near, tokens], dim=1)
            order = _likeliest(fits)
            fits, tokens = fits.gather(1, order), tokens.gather(1, order[..., None].expand(-1, -1, own.shape[1]))
        best, near = fits, tokens
    if count < SEEDS or best is None or near is None or square is None:
        raise UsageError(
            f"--joint fits all tokens of a scene together and needs {SEEDS} observed ones, here are {count}: "
            "leave it out."
        )
    return F.normalize((best[..., None] * near).mean(dim=1), dim=1), square, count


def _likeliest(fits: Tensor) -> Tensor:
    """`(query, 8)` indices of the tokens `(query, n)` that fit best, of equal ones the first."""
    return fits.argsort(dim=1, descending=True, stable=True)[:, :SEEDS]


def _mixture(means: Tensor, variance: Tensor, temperature: float, tokens: int = 0, changed: float = 0.0) -> Mixture:
    arrays = {"means": means.cpu().numpy().astype(np.float64), "variance": variance.cpu().numpy().astype(np.float64)}
    return Mixture(**arrays, temperature=temperature, tokens=tokens, changed=changed)
