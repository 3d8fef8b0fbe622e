"""Image-text retrieval: recall at 1, 5 and 10 both ways, and their mean (protocol of RemoteCLIP,
https://arxiv.org/abs/2306.11029)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError

RANKS = (1, 5, 10)


def recalls(
    images: NDArray[np.floating],
    texts: NDArray[np.floating],
    image_of_text: NDArray[np.integer],
    *,
    ranks: Sequence[int] = RANKS,
) -> dict[str, float]:
    """Recalls in percent.

    Image to text hits when any sentence of the image is among the first K; text to image when the
    sentence's image is. Where scores are tied, as those of a sentence that describes two images, the recall
    is the one to be expected of a random order.

    Args:
        images: `(image, dim)` unit vectors.
        texts: `(text, dim)` unit vectors.
        image_of_text: `(text,)` index of the image each sentence describes; every image has one or more.
        ranks: the K.

    Returns:
        `i2t_r1 ... t2i_r10` and `mean_recall`, their mean.

    Raises:
        UsageError: a vector is not finite, an image has no sentence, or a sentence no image.
    """
    if set(np.unique(image_of_text)) != set(range(len(images))):
        raise UsageError(f"Every one of the {len(images):,} images needs a sentence, and every sentence an image.")
    scores = texts @ images.T
    if not np.isfinite(scores).all():
        raise UsageError("Retrieval needs finite vectors, but some are NaN or infinite.")
    own = scores[np.arange(len(texts)), image_of_text]
    mine = np.ones(len(texts))
    out = {f"t2i_r{k}": _recall(scores > own[:, None], scores == own[:, None], mine, k) for k in ranks}
    best = np.full(len(images), -np.inf, scores.dtype)
    np.maximum.at(best, image_of_text, own)
    mine = np.bincount(image_of_text[own == best[image_of_text]], minlength=len(images)).astype(float)
    out |= {f"i2t_r{k}": _recall((scores > best).T, (scores == best).T, mine, k) for k in ranks}
    out["mean_recall"] = float(np.mean(list(out.values())))
    return out


def _recall(before: NDArray[np.bool_], level: NDArray[np.bool_], mine: NDArray[np.floating], first: int) -> float:
    """Percent of rows with a right answer among the `first`: those ahead, those level, how many of these are right."""
    places = first - before.sum(axis=1)
    tied = level.sum(axis=1).astype(float)
    missed = np.ones(len(before))
    for drawn in range(first):
        left = np.maximum(tied - drawn, 1)
        missed *= np.where(drawn < places, np.clip(1 - mine / left, 0, 1), 1)
    return 100 * float(1 - missed.mean())
