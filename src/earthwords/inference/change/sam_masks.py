"""What SAM gives to compare dates by: its masks of a picture, and its own features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.inference.change.matching import undo_norm
from earthwords.mask_set import MaskSet
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.predictor import ImageEmbedding, Sam1Predictor
from earthwords.models.sam.proposals import packed
from earthwords.types import Grid


@dataclass(frozen=True, kw_only=True)
class SeenBySam:
    """A picture with its masks and features."""

    masks: MaskSet
    """In the generator's order, with predicted IoU as scores."""
    embedding: ImageEmbedding


def seen_by(generator: MaskGenerator, image: NDArray[np.uint8], grid: Grid) -> SeenBySam:
    """Masks of a picture `(row, col, 3)`, RGB, that lies on `grid`."""
    embedding = generator.encode(image)
    return SeenBySam(masks=generator.generate(image, embedding=embedding).on(grid), embedding=embedding)


def redrawn(generator: MaskGenerator, image: NDArray[np.uint8], masks: MaskSet) -> MaskSet:
    """Masks drawn anew by SAM from their boxes, one each; where it draws nothing a mask stays as it is.

    Args:
        image: `(row, col, 3)`, RGB, of the masks' grid.
    """
    if not len(masks):
        return masks
    predictor, size = generator.predictor, generator.settings.points_per_batch
    embedding = predictor.encode(image)
    rows, cols, heights, widths = masks.boxes.T
    corners = np.stack([cols, rows, cols + widths, rows + heights], axis=1)
    boxes, bits = masks.boxes.copy(), list(masks.bits)
    for first in range(0, len(masks), size):
        low, _ = predictor.decode(embedding, boxes=corners[first : first + size], single=True)
        for i, logits in enumerate(low[:, 0], start=first):
            place, inside = packed((predictor.enlarge(logits[None], embedding)[0] > 0).cpu().numpy())
            if place[2]:
                boxes[i], bits[i] = place, inside
    return replace(masks, boxes=boxes, bits=tuple(bits))


def matching_features(predictor: Sam1Predictor, embedding: ImageEmbedding, *, padded: bool = False) -> Tensor:
    """Features `(dim, row, col)` that AnyChange compares: before the scale and shift of the last norm.

    Args:
        padded: with the cells of the padding, as the authors have it, which puts features of a picture that is not
            square at the wrong places.
    """
    return undo_norm(raw_features(embedding, padded=padded), *predictor.neck_norm)


def raw_features(embedding: ImageEmbedding, *, padded: bool = False) -> Tensor:
    """Features `(dim, row, col)` as the encoder gives them, of the picture's own cells or of all."""
    features = embedding.features[0]
    if padded:
        return features
    side = max(embedding.frame)
    rows, cols = (
        max(1, round(n * length / side)) for n, length in zip(features.shape[1:], embedding.frame, strict=True)
    )
    return features[:, :rows, :cols]


def first_sam(generator: MaskGenerator) -> Sam1Predictor:
    """The predictor of SAM itself, whose last norm can be undone.

    Raises:
        UsageError: it is SAM 2.1.
    """
    if not isinstance(generator.predictor, Sam1Predictor):
        raise UsageError("AnyChange compares SAM's own features, which end in a norm; SAM 2.1's do not: name a SAM.")
    return generator.predictor
