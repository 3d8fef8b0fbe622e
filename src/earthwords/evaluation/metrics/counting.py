"""Counting by comparing numbers in a sentence: RemoteCLIP's RemoteCount (https://arxiv.org/abs/2306.11029, 3.5).

The number in an image's sentence is replaced by each of one ... ten; the number of the nearest sentence is the answer.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, brief

MOST = 10
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = tuple(str(number) for number in range(1, MOST + 1))
STYLES = {"words": WORDS, "digits": DIGITS}


def candidates(sentence: str, count: int, style: str = "words") -> list[str]:
    """The sentence with each of ten numbers, as words or as digits, instead of its own.

    Args:
        sentence: holds its count once or more as a word or as digits; the first is replaced.
        count: 1..10, how many there are.
        style: a name of `STYLES`.

    Raises:
        UsageError: another count, or a sentence without it.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"Counts go from 1 to {MOST}, got {count}.")
    place = re.search(rf"\b({WORDS[count - 1]}|{count})\b", sentence, re.IGNORECASE)
    if place is None:
        raise UsageError(f"There is no {WORDS[count - 1]!r} and no {count} in the sentence {brief(sentence)!r}.")
    return [sentence[: place.start()] + number + sentence[place.end() :] for number in STYLES[style]]


def counting_scores(similarities: NDArray[np.floating], counts: NDArray[np.integer]) -> dict[str, Any]:
    """Figures of a set.

    Args:
        similarities: `(image, 10)`: of each image and its sentence with one ... ten.
        counts: `(image,)` true numbers, 1..10.

    Returns:
        `top1 ... top10` in percent, `mean_absolute_error`, `confusion` `(truth, answer)` in images, `shares` the same
        with rows that sum to 1 (zeros for a number that never occurs), `present` which numbers occur.
    """
    if similarities.shape != (len(counts), MOST) or not len(counts):
        raise UsageError(f"Counting needs {MOST} similarities an image, got an array of {similarities.shape}.")
    if counts.min() < 1 or counts.max() > MOST:
        raise UsageError(f"Counts go from 1 to {MOST}, got {counts.min()}..{counts.max()}.")
    order = np.argsort(-similarities, axis=1, kind="stable")
    answer = order[:, 0] + 1
    place = (order == counts[:, None] - 1).argmax(axis=1)
    confusion = np.bincount((counts - 1) * MOST + answer - 1, minlength=MOST * MOST).reshape(MOST, MOST)
    total = confusion.sum(axis=1)
    return {
        **{f"top{k}": 100 * float((place < k).mean()) for k in range(1, MOST + 1)},
        "mean_absolute_error": float(np.abs(answer - counts).mean()),
        "confusion": confusion.tolist(),
        "shares": (confusion / np.maximum(total, 1)[:, None]).tolist(),
        "present": (total > 0).tolist(),
    }
