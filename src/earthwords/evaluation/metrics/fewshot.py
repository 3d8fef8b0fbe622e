"""Few-shot classification: what learns from some images a class, drawn again and again.

Linear probes as RemoteCLIP (https://arxiv.org/abs/2306.11029; its codebase draws from the classes read so far, which is
not repeated here), and the heads of `models.fewshot` by the protocol of https://github.com/elkhouryk/fewshot_RSVLMs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.errors import UsageError, unknown
from earthwords.evaluation.metrics.probes import LabelledVectors, linear_probe
from earthwords.models.fewshot import HEADS
from earthwords.models.fewshot.linear_head import Labelled, accuracy, shot_set

SHOTS = (1, 2, 4, 8, 16, 32)
SEEDS = 3
VALIDATION_SHOTS = 4
"""At most so many images a class choose the settings, and never more than the shots (https://arxiv.org/abs/2109.01134)."""
BENCHMARK_SHOTS, BENCHMARK_SEEDS = (1, 2, 4, 8, 16), (1, 2, 3)
SPLIT_SEED = 42
CHOSEN = {
    "prototypes": "nothing to choose",
    "tip": "alpha and beta",
    "tip-f": "the epoch, alpha and beta",
    "lp++": "the epoch",
    "taskres": "the epoch; its authors take the last",
    "linear": "the strength of the regularisation",
    "coop": "nothing to choose",
    "clip-lora": "nothing to choose",
}
"""What validation images choose."""
CHOSEN_ON_TEST = ("tip-f",)
"""Methods whose authors choose on the test images: the epoch."""


def draw(labels: NDArray[np.integer], shots: int, seed: int) -> NDArray[np.int64]:
    """Indices of `shots` images of every class, or of all it has; the draws of fewer shots are among those of more."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def benchmark_cut(
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Indices of half of every class to learn from, a quarter to choose with and the rest to measure.

    Shuffled with the benchmark's seed, but from the order given, not from that of a disk.
    """
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        random.Random(SPLIT_SEED).shuffle(members)
        first = math.ceil(len(members) / 2)
        second = first + math.ceil(len(members) / 4)
        for part, some in zip(parts, (members[:first], members[first:second], members[second:]), strict=True):
            part.extend(some)
    train, validation, test = (np.sort(np.array(part, np.int64)) for part in parts)
    return train, validation, test


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
    """Accuracy of linear probes by number of shots.

    Args:
        train: what shots are drawn from.
        validation: what a few are drawn from to choose the settings with, none of them trained on.
        test: what is measured.
        method: a name of `probes.PROBES`.

    Returns:
        See `curve`.

    Raises:
        UsageError: no shots, no seed, or as `linear_probe`.
    """

    def measured(some: LabelledVectors, selection: LabelledVectors | None, seed: int) -> float:
        probe = linear_probe(
            some, selection, test, classes=classes, method=method, select=select, seed=seed, refit=False
        )
        return probe.model.accuracy(test)

    return curve(train, validation, measured, classes=classes, shots=shots, seeds=seeds, tick=tick)


def few_shot_head(
    train: LabelledVectors,
    validation: LabelledVectors,
    test: LabelledVectors,
    *,
    words: NDArray[np.floating],
    method: str,
    shots: Sequence[int] = BENCHMARK_SHOTS,
    seeds: Sequence[int] = BENCHMARK_SEEDS,
    select: str = "validation",
    tick: Callable[[float], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Accuracy of a head of `models.fewshot.HEADS` by number of shots.

    Args:
        words: `(class, dim)`, of unit length; for `taskres` as they come.
        select: `test`: the authors' choice by the test images, where theirs is one.

    Returns:
        See `curve`.

    Raises:
        UsageError: no shots, no seed, an unknown method, one that is not chosen by the test, or classes without images.
    """
    if method not in HEADS:
        raise unknown("few-shot method", method, HEADS)
    if select == "test" and method not in CHOSEN_ON_TEST:
        raise UsageError(
            f"The authors of {method} choose on no test images, so there is nothing to repeat: --select test is for "
            f"{', '.join(CHOSEN_ON_TEST)} and the linear probes."
        )
    check_all_shown(train.labels, len(words))
    bank, held_out = torch.from_numpy(np.asarray(words, np.float32)), _tensors(test)

    def measured(some: LabelledVectors, selection: LabelledVectors | None, seed: int) -> float:
        own = {} if select == "validation" else {"chosen_on": held_out}
        judges = None if selection is None else _tensors(selection)
        head = HEADS[method](shot_set(*_tensors(some), bank), validation=judges, seed=seed, **own)
        return accuracy(head.logits(held_out[0]), held_out[1])

    return curve(train, validation, measured, classes=len(words), shots=shots, seeds=seeds, tick=tick)


def check_all_shown(labels: NDArray[np.integer], classes: int) -> None:
    """Raises `UsageError` if a class has no image."""
    missing = set(range(classes)) - set(labels.tolist())
    if missing:
        raise UsageError(f"{len(missing)} of {classes} classes have no image to learn from.")


def _tensors(known: LabelledVectors) -> Labelled:
    return torch.from_numpy(np.ascontiguousarray(known.vectors, np.float32)), torch.from_numpy(known.labels)


def curve(
    train: LabelledVectors,
    validation: LabelledVectors | None,
    measured: Callable[[LabelledVectors, LabelledVectors | None, int], float],
    *,
    classes: int,
    shots: Sequence[int],
    seeds: Sequence[int],
    tick: Callable[[float], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Accuracy by number of shots.

    Args:
        measured: accuracy in percent of what learned from the first and chose with the second, drawn with a seed.

    Returns:
        For each number: `shots`, `mean`, `std` (of the seeds, n - 1), `accuracies` (percent), `images` learned from,
        `short`: classes with fewer images than shots.

    Raises:
        UsageError: no shots or no seed.
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
            found.append(measured(some, selection, seed))
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
