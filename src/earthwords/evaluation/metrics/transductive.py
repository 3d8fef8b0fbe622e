"""Transductive zero-shot classification of a whole set of images: RS-TransCLIP
(https://arxiv.org/abs/2409.00698, solver of https://github.com/elkhouryk/RS-TransCLIP @a766b4d).

Every image's class `z_i` (a point of the simplex) is pulled by three things: the words' own opinion `y_i`, a Gaussian
for each class in the space of the images (means `mu_k`, one diagonal variance), and the classes of the images most
like it. The three are improved in turn; nothing is trained and nothing drawn. Images whose class is known may take part
(the authors' few-shot extension; from its description, not compared with their code).

Cost: the neighbours, `N N dim` in chunks, and eleven times `N K dim`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.knn import neighbours

Array = NDArray[np.float64]

CONFIDENT = 8
"""Images a class's first mean is made of."""
NEIGHBOURS = 3
STEPS, INNER_STEPS = 11, 5
LIKELIHOOD, PULL = 1 / 50, 1 / 6
"""Weights of the Gaussians and of the neighbours against the words."""
GAMMAS = (0.002, 0.01, 0.02, 0.2)
"""What examples may count in means and variance, against the images."""
SHOT_TRUST = 0.5
"""Power of the words' opinion where there are examples."""
SCALE = 100.0
"""Of the cosines, in the softmax that gives the words' opinion."""


@dataclass(frozen=True, kw_only=True)
class Transduced:
    """Where the iteration came to rest."""

    assignment: Array
    """`(image, class)`, each row sums to 1."""
    initial: Array
    """`(image, class)`: the words' opinion."""
    first_means: Array
    """`(class, dim)`, of the most confident images."""
    means: Array
    """`(class, dim)`, of unit length."""
    variance: Array
    """`(dim,)`, shared by the classes."""


def word_probabilities(cosines: NDArray[np.floating], scale: float = SCALE) -> Array:
    """Softmax over the classes of `scale` times cosines `(image, class)`."""
    logits = scale * np.asarray(cosines, np.float64)
    return _rows(np.exp(logits - logits.max(axis=1, keepdims=True)))


def transduce(
    images: NDArray[np.floating],
    initial: NDArray[np.floating],
    *,
    known: NDArray[np.integer] | None = None,
    gamma: float = GAMMAS[1],
    graph: sparse.csr_array | None = None,
) -> Transduced:
    """Classify all images together.

    Args:
        images: `(image, dim)` unit vectors.
        initial: `(image, class)` probabilities of the words alone, see `word_probabilities`.
        known: `(image,)` classes of examples, -1 for every other image. Examples keep their class; they take part in
            means, variance and neighbourhoods, and the words count by the power of `SHOT_TRUST` (few-shot extension).
        gamma: what the examples count, one of `GAMMAS`.
        graph: of `neighbour_graph`, where it is computed for several calls.

    Raises:
        UsageError: fewer than two images, or not as many rows as images.
    """
    if len(images) < 2 or len(images) != len(initial):
        raise UsageError(f"Transduction needs at least 2 images and a row for each, got {len(images)} images.")
    x, y = np.asarray(images, np.float64), np.asarray(initial, np.float64)
    graph = neighbour_graph(images) if graph is None else graph
    fixed = np.zeros(len(x), bool) if known is None else np.asarray(known) >= 0
    weights, z, trusted, first = np.ones((len(x), 1)), y, y, None
    if known is not None and fixed.any():
        z = np.where(fixed[:, None], np.eye(y.shape[1])[np.where(fixed, known, 0)], y)
        shares = np.where(fixed, gamma / LIKELIHOOD / fixed.sum(), 1 / max(1, (~fixed).sum()))
        weights, trusted = shares[:, None], np.where(fixed[:, None], z, y**SHOT_TRUST)
        first = _directions((z * fixed[:, None]).T @ x)
    means = first = _confident_means(x, y) if first is None else first
    variance = np.full(x.shape[1], 1 / x.shape[1])
    for step in range(STEPS):
        z = _assign(z, trusted, _log_density(x, means, variance), graph, fixed)
        if step < STEPS - 1:
            weighted = z * weights
            mass = weighted.sum(axis=0)
            means = np.where(mass[:, None] > 0, _directions(weighted.T @ x), means)
            variance = _variance(x, weighted, means, mass)
    return Transduced(assignment=z, initial=y, first_means=first, means=means, variance=variance)


def neighbour_graph(images: NDArray[np.floating]) -> sparse.csr_array:
    """`(image, image)` cosines of the nearest others and, added, their transpose; no image is its own neighbour.

    The authors drop the nearest of four, which is the image itself unless there is a duplicate."""
    index, cosine = neighbours(images, images, NEIGHBOURS, themselves=True)
    rows = np.repeat(np.arange(len(images)), index.shape[1])
    shape = (len(images), len(images))
    one_way = sparse.csr_array((cosine.ravel().astype(np.float64), (rows, index.ravel())), shape=shape)
    return sparse.csr_array(one_way + one_way.T)


def _confident_means(x: Array, y: Array) -> Array:
    """`(class, dim)`: of each class the most probable images, weighted by their probability."""
    best = np.argsort(-y, axis=0, kind="stable")[:CONFIDENT]
    weights = np.take_along_axis(y, best, axis=0)
    return _directions(np.einsum("nk,nkd->kd", weights, x[best]))


def _log_density(x: Array, means: Array, variance: Array) -> Array:
    """`(image, class)`: half the squared distance in units of the variance, negative; no determinant."""
    scaled = means / variance
    return x @ scaled.T - 0.5 * ((x * x) @ (1 / variance))[:, None] - 0.5 * (scaled * means).sum(axis=1)


def _assign(z: Array, y: Array, density: Array, graph: sparse.csr_array, fixed: NDArray[np.bool_]) -> Array:
    held = z
    for _ in range(INNER_STEPS):
        pull = density + PULL / LIKELIHOOD * (graph @ z)
        z = _rows(y * np.exp(LIKELIHOOD * (pull - pull.max(axis=1, keepdims=True))), otherwise=z)
        if fixed.any():
            z = np.where(fixed[:, None], held, z)
    return z


def _variance(x: Array, z: Array, means: Array, mass: Array) -> Array:
    """`(dim,)`: of the images about the means of their classes."""
    total = z.sum(axis=1) @ (x * x) - 2 * ((z.T @ x) * means).sum(axis=0) + mass @ (means * means)
    return np.maximum(total / mass.sum(), np.finfo(np.float64).eps)


def _directions(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _rows(values: Array, otherwise: Array | None = None) -> Array:
    """Rows that sum to 1; one without any mass is taken from `otherwise`."""
    total = values.sum(axis=1, keepdims=True)
    if otherwise is None:
        return values / total
    return np.where(total > 0, values / np.where(total > 0, total, 1), otherwise)
