"""What SAM's automatic masks must pass: stability, boxes, the borders of crops, small regions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from earthwords.models.sam.grids import CropBox

NEAR_PX = 20
_AROUND = np.ones((3, 3), int)
"""All eight neighbours."""
_SURE = 10.0
"""The logit that a corrected cell takes, or its negative."""


def stability(logits: Tensor, *, threshold: float = 0.0, offset: float) -> Tensor:
    """`(mask,)`: pixels above `threshold + offset` by those above `threshold - offset`; NaN where there are none.

    Args:
        logits: `(mask, row, col)`.
    """
    inner, outer = ((logits > threshold + side).flatten(1).sum(1) for side in (offset, -offset))
    return inner / outer


def inclusive_boxes(masks: Tensor) -> Tensor:
    """`(mask, 4)` int64: the first and last column and row that are set, as x0, y0, x1, y1; 0 where nothing is.

    Args:
        masks: `(mask, row, col)` bool.
    """
    ends = []
    for axis in (1, 2):  # columns, then rows
        seen = masks.any(dim=axis)
        first = seen.to(torch.uint8).argmax(dim=1)
        last = seen.shape[1] - 1 - seen.flip(1).to(torch.uint8).argmax(dim=1)
        ends.append((first, last))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=1) * masks.flatten(1).any(dim=1)[:, None]


def near_crop_edge(
    boxes: NDArray[np.int64], crop: CropBox, shape: tuple[int, int], *, tolerance: float = NEAR_PX
) -> NDArray[np.bool_]:
    """`(mask,)`: whether a side of a box lies at the crop's border and not at the image's.

    Args:
        boxes: `(mask, 4)`, x0, y0, x1, y1 in the crop.
        shape: rows and columns of the image.
    """
    placed = boxes + np.array([crop.x0, crop.y0, crop.x0, crop.y0])
    at_crop, at_image = (
        np.abs(placed - np.array(border)) <= tolerance for border in (crop.box, (0, 0, shape[1], shape[0]))
    )
    near: NDArray[np.bool_] = (at_crop & ~at_image).any(axis=1)
    return near


def without_holes(mask: NDArray[np.bool_], area: float) -> tuple[NDArray[np.bool_], bool]:
    """The mask with all regions outside it of fewer than `area` pixels filled, and whether there were any."""
    regions, sizes = _regions(~mask)
    small = sizes < area
    return mask | np.concatenate([[False], small])[regions], bool(small.any())


def without_islands(mask: NDArray[np.bool_], area: float) -> tuple[NDArray[np.bool_], bool]:
    """The mask less its parts of fewer than `area` pixels, and whether there were any; the largest one always stays."""
    regions, sizes = _regions(mask)
    kept = sizes >= area
    if kept.all():
        return mask, False
    if not kept.any():
        largest = np.flatnonzero(sizes == sizes.max())
        kept[largest[_first(regions, largest + 1)]] = True
    return np.concatenate([[False], kept])[regions], True


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of the region of every pixel, 0 outside, and the pixels of each region."""
    regions, count = ndimage.label(mask, _AROUND)
    return regions, np.bincount(regions.ravel(), minlength=count + 1)[1:]


def _first(regions: NDArray[np.int32], which: NDArray[np.int64]) -> int:
    """The place in `which` of the region that OpenCV would number first: it goes through blocks of 2 by 2 pixels."""
    if len(which) == 1:
        return 0
    blocks = []
    for number in which:
        rows, cols = np.nonzero(regions == number)
        blocks.append(min(zip((rows // 2).tolist(), (cols // 2).tolist(), strict=True)))
    return int(blocks.index(min(blocks)))


def clean_logits(logits: Tensor, area: float) -> Tensor:
    """SAM 2's: regions of at most `area` cells on either side of 0 change sides, holes first.

    Args:
        logits: `(mask, row, col)`.
    """
    values = logits.cpu().numpy().copy()
    for one in values:
        for side, sure in ((one <= 0, _SURE), (None, -_SURE)):
            regions, sizes = _regions(one > 0 if side is None else side)
            one[np.concatenate([[False], sizes <= area])[regions]] = sure
    return torch.from_numpy(values).to(logits.device)
