"""Numbers of things against true numbers: errors, and F1 as InstructSAM counts it beside F1 as it should be counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from earthwords.evaluation.metrics.detections import Tally3

Counts: TypeAlias = Mapping[Any, Mapping[str, int]]
"""Image to class to number."""


def count_table(found: Counts, true: Counts, images: Iterable[Any], titles: Iterable[str]) -> dict[str, Tally3]:
    """Class to what was counted: of every image the smaller number is found, what exceeds it invented or missed."""
    listed = list(images)
    table = {}
    for title in titles:
        tally = table[title] = Tally3()
        for image in listed:
            one, other = found.get(image, {}).get(title, 0), true.get(image, {}).get(title, 0)
            tally.add(min(one, other), max(one - other, 0), max(other - one, 0))
    return table


def answers_table(
    answers: Mapping[Any, Mapping[str, Any]], true: Counts, names: Mapping[str, str]
) -> dict[str, Tally3]:
    """InstructSAM's table of answers: images without an answer do not count, nor do answers about unknown images.

    Every class that has true things or that an answer mentions is a row, though its number be 0 everywhere.

    Args:
        answers: image to what was answered; numbers lose their fraction, text does not count.
        true: of all images.
        names: as answered to the class that is meant; others are passed over.
    """
    found: dict[Any, dict[str, int]] = {}
    titles = {title for counts in true.values() for title, number in counts.items() if number}
    for image, answer in answers.items():
        if image not in true:
            continue
        mine = found.setdefault(image, {})
        for name, number in answer.items():
            if name in names and isinstance(number, (int, float)):
                titles.add(names[name])
                mine[names[name]] = mine.get(names[name], 0) + int(number)
    return count_table(found, true, found, sorted(titles))


def detections_table(found: Counts, true: Counts) -> dict[str, Tally3]:
    """InstructSAM's table of detections: of the images and classes that occur."""
    occur = {title for counts in (*found.values(), *true.values()) for title, number in counts.items() if number}
    return count_table(found, true, {**true, **found}, sorted(occur))


def averages(table: Mapping[str, Tally3], titles: Sequence[str] | None = None) -> dict[str, float]:
    """InstructSAM's means over all rows (of `titles`), also of classes of which there is nothing: precision, recall,
    F1, 0..1; nothing where no row is."""
    rows = [tally for title, tally in table.items() if titles is None or title in titles]
    return {
        name: float(np.mean([getattr(row, name) for row in rows])) for name in ("precision", "recall", "f1") if rows
    }


@dataclass(frozen=True, kw_only=True)
class CountScores:
    """Figures of a class, or of all."""

    images: int
    true: int
    found: int
    mae: float
    rmse: float
    bias: float
    """Mean of found less true."""
    f1: float
    """Of `count_table`."""

    @classmethod
    def of(cls, found: Sequence[int], true: Sequence[int]) -> CountScores:
        """Of the numbers of every image."""
        error = np.asarray(found, np.float64) - np.asarray(true, np.float64)
        common = int(np.minimum(found, true).sum()) if len(error) else 0
        total = int(sum(found)) + int(sum(true))
        return cls(
            images=len(error), true=int(sum(true)), found=int(sum(found)), mae=float(np.abs(error).mean()),
            rmse=math.sqrt(float((error**2).mean())), bias=float(error.mean()), f1=2 * common / max(1, total),
        )  # fmt: skip


def count_scores(found: Counts, true: Counts, titles: Sequence[str]) -> dict[str, CountScores]:
    """Class to its figures over all images with truth: an image of which nothing was found has none of anything."""
    return {
        title: CountScores.of(
            [found.get(image, {}).get(title, 0) for image in true], [counts.get(title, 0) for counts in true.values()]
        )
        for title in titles
    }


def right_mean_f1(scores: Mapping[str, CountScores]) -> float:
    """Mean F1 of counts over the classes that have true things."""
    return (
        float(np.mean([row.f1 for row in scores.values() if row.true]))
        if any(row.true for row in scores.values())
        else 0.0
    )
