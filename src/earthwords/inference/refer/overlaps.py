"""Masks of sentences that lie on each other: what of each goes to a surer sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.scene import Scene
from earthwords.inference.refer.match import Match, on_grid, paste
from earthwords.types import Window

TOLD = 0.1
"""Share of a mask from which on it is told that others have it."""


def overlap_notes(
    scene: Scene, titles: Sequence[str], matches: Sequence[Match], *, threshold: float, rows: int
) -> tuple[str, ...]:
    """A sentence for each of `titles` (as notes show them) that was found and whose mask is mostly shown as others'.

    Args:
        threshold: probability above which a pixel belongs to a mask.
        rows: of the scene, held at a time.
    """
    if len({match.sentence for match in matches}) < 2:
        return ()
    pixels, notes = _shown_as(scene, len(titles), matches, threshold, rows), []
    for i, (title, shown) in enumerate(zip(titles, pixels, strict=True)):
        total, others = int(shown.sum()), np.where(np.arange(len(titles)) == i, 0, shown)
        lost = int(others.sum()) / max(total, 1)
        if lost >= TOLD:
            most = titles[int(others.argmax())] + (" and others" if np.count_nonzero(others) > 1 else "")
            notes.append(
                f"{title} was found, but {_percent(lost)} of its mask went to {most}, which is surer there "
                "(--probabilities keeps both)."
            )
    return tuple(notes)


def _shown_as(scene: Scene, count: int, matches: Sequence[Match], threshold: float, rows: int) -> NDArray[np.int64]:
    """`(sentence, label)`: pixels of the sentence's mask that have the label."""
    region, shape = scene.region, scene.native.shape
    pixels = np.zeros((count, count), np.int64)
    for row in range(0, region.height, rows):
        height = min(rows, region.height - row)
        window = Window(row=region.row + row, col=region.col, height=height, width=region.width)
        labels, score = np.zeros((height, region.width), np.uint32), np.zeros((height, region.width), np.float32)
        for match in matches:
            paste(match, shape, window, labels, score, None, threshold)
        for sentence in {match.sentence for match in matches}:
            inside = np.zeros(labels.shape, bool)
            for match in matches:
                if match.sentence == sentence and (found := on_grid(match, shape, window)) is not None:
                    inside[found[0], found[1]] |= found[2] > threshold
            pixels[sentence] += np.bincount(labels[inside], minlength=count)
    return pixels


def _percent(share: float) -> str:
    """Never all but for all."""
    return "all" if share == 1 else f"{min(share, 0.99):.0%}"
