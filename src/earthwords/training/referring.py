"""Learning to point: RSRefSeg's loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from earthwords.models.refseg import enlarge

IGNORE = 255


def bce(logits: Tensor, labels: Tensor, *, weight: float = 5.0) -> Tensor:
    """RSRefSeg's loss: binary cross-entropy on the labels' grid, times 5.

    Args:
        logits: `(text, 1, row, col)`, enlarged bilinearly to the labels.
        labels: `(text, height, width)` integers: 1 is meant, 0 is not, `IGNORE` counts as agreed but stays in the
            mean, as in the authors' code.
    """
    values = enlarge(logits, labels.shape[-2:])[:, 0]
    known = labels != IGNORE
    target = (labels == 1).to(values.dtype)
    return weight * (F.binary_cross_entropy_with_logits(values, target, reduction="none") * known).mean()
