"""Few-shot classification: a linear probe on some images a class, drawn again and again
(https://arxiv.org/abs/2306.11029; its codebase draws from the classes read so far, which is not repeated here)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.probes import LabelledVectors, linear_probe

SHOTS = (1, 2, 4, 8, 16, 32)
SEEDS = 3
VALIDATION_SHOTS = 4
"""At most so many images a class choose the settings, and never more than the shots (https://arxiv.org/abs/2109.01134)."""


def draw(labels: NDArray[np.integer], shots: int, seed: int) -> NDArray[np.int64]:
    """Indices of `shots` images of every class, or of all it has; the draws of fewer shots are among those of more."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def few_shot(
    train: LabelledVectors,
    validation: LabelledVectors | None,
    test: LabelledVectors,
    *,
    classes: int,
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = tuple(range(SEEDS)),
    method: str = "logistic",
    select: str = "validation",
    tick: Callable[[float], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Accuracy by number of shots.

    Args:
        train: what shots are drawn from.
        validation: what a few are drawn from to choose the settings with, none of them trained on.
        test: what is measured.

    Returns:
        For each number: `shots`, `mean`, `std` (of the seeds, n - 1), `accuracies` (percent), `images` learned from,
        `short`: classes with fewer images than shots.

    Raises:
        UsageError: no shots, no seed, or as `linear_probe`.
    """
    if not shots or min(shots) < 1 or not seeds:
        raise UsageError(f"Few-shot classification needs shots of at least 1 and a seed, got {list(shots)}.")
    out = []
    sizes = np.bincount(train.labels, minlength=classes)
    for count in shots:
        found, images = [], 0
        for seed in seeds:
            some = train.part(draw(train.labels, count, seed))
            selection = validation
            if validation is not None:
                selection = validation.part(draw(validation.labels, min(count, VALIDATION_SHOTS), seed))
            probe = linear_probe(
                some, selection, test, classes=classes, method=method, select=select, seed=seed, refit=False
            )
            found.append(probe.model.accuracy(test))
            images = len(some)
            tick(1)
        out.append(
            {
                "shots": int(count),
                "mean": float(np.mean(found)),
                "std": float(np.std(found, ddof=1)) if len(found) > 1 else 0.0,
                "accuracies": found,
                "images": images,
                "short": int((sizes < count).sum()),
            }
        )
    return out
