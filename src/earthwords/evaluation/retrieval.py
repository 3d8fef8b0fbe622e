"""Image-text retrieval: recall at 1, 5 and 10 both ways, and their mean (protocol of RemoteCLIP,
https://arxiv.org/abs/2306.11029)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANKS = (1, 5, 10)


def recalls(
    images: NDArray[np.floating], texts: NDArray[np.floating], image_of_text: NDArray[np.integer]
) -> dict[str, float]:
    """Recalls in percent.

    Image to text hits when any sentence of the image is among the first K; text to image when the
    sentence's image is.

    Args:
        images: `(image, dim)` unit vectors.
        texts: `(text, dim)` unit vectors.
        image_of_text: `(text,)` index of the image each sentence describes.

    Returns:
        `i2t_r1 ... t2i_r10` and `mean_recall`.
    """
    scores = texts @ images.T
    own = scores[np.arange(len(texts)), image_of_text]
    text_rank = (scores > own[:, None]).sum(axis=1)
    best = np.full(len(images), -np.inf)
    np.maximum.at(best, image_of_text, own)
    image_rank = (scores > best[None, :]).sum(axis=0)
    out = {f"i2t_r{k}": 100 * float((image_rank < k).mean()) for k in RANKS}
    out |= {f"t2i_r{k}": 100 * float((text_rank < k).mean()) for k in RANKS}
    out["mean_recall"] = float(np.mean(list(out.values())))
    return out
