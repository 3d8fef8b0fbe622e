"""Automatic masks of an image: a grid of points asked one by one, and what of the answers is kept.

In this order, as in SAM's authors' code: predicted IoU, stability, borders of crops, suppression of overlapping boxes
within a crop and then across crops, where masks of small crops win, and the correction of small regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from earthwords.kernels.masks.nms import nms
from earthwords.models.sam.filters import inclusive_boxes, near_crop_edge, stability, without_holes, without_islands
from earthwords.models.sam.grids import CropBox, crops_of, layer_grid
from earthwords.models.sam.predictor import ImageEmbedding, SamPredictor, shape_of
from earthwords.models.sam.proposals import Proposals, packed
from earthwords.models.sam.settings import MaskSettings, mask_settings

_AT_ONCE = 2**26
"""Logits on the image's pixels that are held at once."""
_MOST_ON_CPU = 32
"""Points at once, 100 MB each: more are not faster there."""


class MaskGenerator:
    """SAM or SAM 2.1, and the settings that its masks are made by."""

    def __init__(self, predictor: SamPredictor, settings: MaskSettings | str | None = None) -> None:
        """
        Args:
            settings: a row, or its name in `MASK_SETTINGS`; None: the authors' own.
        """
        row = predictor.settings if settings is None else settings
        self.predictor = predictor
        self.settings = mask_settings(row) if isinstance(row, str) else row

    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        """The embedding of an image `(row, col, 3)`, RGB; see `SamPredictor.encode`."""
        return self.predictor.encode(image)

    @torch.inference_mode()
    def generate(self, image: NDArray[np.uint8], *, embedding: ImageEmbedding | None = None) -> Proposals:
        """Masks of everything in an image `(row, col, 3)`, RGB, in the authors' order.

        Args:
            embedding: of the image, if it is there already.

        Raises:
            UsageError: it is no such image, or too thin.
        """
        settings, shape = self.settings, shape_of(image)
        crops = crops_of(shape, settings.crop_n_layers, settings.crop_overlap_ratio)
        found = Proposals.joined(
            shape, [self._of_crop(image, crop, None if crop.layer else embedding) for crop in crops]
        )
        if len(crops) > 1:
            sides = found.crops[:, 2:] - found.crops[:, :2]
            found = found.take(nms(found.boxes, 1 / sides.prod(axis=1), settings.crop_nms_thresh))
        if settings.min_mask_region_area > 0 and not self.predictor.cleans_logits:
            threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
            found = without_small_regions(found, settings.min_mask_region_area, threshold)
        if settings.largest_share is not None:
            found = found.smaller_than(settings.largest_share)
        return found if settings.most is None else found.best(settings.most)

    @torch.inference_mode()
    def of_points(self, embedding: ImageEmbedding, points: ArrayLike) -> Proposals:
        """Masks of points `(n, 2)`, x and y in pixels, that pass predicted IoU and stability, point after point."""
        return self._answers(embedding, np.asarray(points, np.float64).reshape(-1, 2))

    def _of_crop(self, image: NDArray[np.uint8], crop: CropBox, embedding: ImageEmbedding | None) -> Proposals:
        settings, shape = self.settings, (image.shape[0], image.shape[1])
        embedding = self.encode(image[crop.slices]) if embedding is None else embedding
        grid = layer_grid(settings.points_per_side, crop.layer, settings.crop_n_points_downscale_factor)
        found = self._answers(embedding, grid * np.array(crop.shape[::-1]))
        found = found.take(~near_crop_edge(found.boxes, crop, shape))
        return found.take(nms(found.boxes, found.predicted_iou, settings.box_nms_thresh)).moved(crop, shape)

    def _at_once(self, embedding: ImageEmbedding) -> int:
        most = self.settings.points_per_batch
        return min(most, _MOST_ON_CPU) if embedding.features.device.type == "cpu" else most

    def _answers(self, embedding: ImageEmbedding, points: NDArray[np.float64]) -> Proposals:
        size = self._at_once(embedding)
        parts = [self._batch(embedding, points[i : i + size]) for i in range(0, len(points), size)]
        return Proposals.joined(embedding.shape, parts)

    def _batch(self, embedding: ImageEmbedding, points: NDArray[np.float64]) -> Proposals:
        settings = self.settings
        points = points.astype(self.predictor.point_dtype)
        low, iou = self.predictor.decode(embedding, points=points)
        asked = np.repeat(points, iou.shape[1], axis=0)
        low, iou = low.flatten(0, 1), iou.flatten()
        if settings.use_m2m:
            low, iou = self._refined(embedding, asked, low)
        if settings.pred_iou_thresh > 0:
            kept = iou > settings.pred_iou_thresh
            low, iou, asked = low[kept], iou[kept], asked[kept.cpu().numpy()]
        parts = [self._enlarged(embedding, *part) for part in self._portions(embedding, low, iou, asked)]
        return Proposals.joined(embedding.shape, parts)

    def _refined(self, embedding: ImageEmbedding, points: NDArray[np.float64], low: Tensor) -> tuple[Tensor, Tensor]:
        """Every mask once more, with itself as a prompt."""
        size, masks = self._at_once(embedding), self.predictor.again(low)[:, None]
        found = [
            self.predictor.decode(embedding, points=points[i : i + size], masks=masks[i : i + size], single=True)
            for i in range(0, len(points), size)
        ]
        return torch.cat([part[0][:, 0] for part in found]), torch.cat([part[1][:, 0] for part in found])

    def _portions(
        self, embedding: ImageEmbedding, low: Tensor, iou: Tensor, points: NDArray[np.float64]
    ) -> Iterator[tuple[Tensor, Tensor, NDArray[np.float64]]]:
        pixels = max(embedding.shape[0] * embedding.shape[1], self.predictor.side**2)
        size = max(1, _AT_ONCE // pixels)
        for i in range(0, len(low), size):
            yield low[i : i + size], iou[i : i + size], points[i : i + size]

    def _enlarged(self, embedding: ImageEmbedding, low: Tensor, iou: Tensor, points: NDArray[np.float64]) -> Proposals:
        """Masks on the image's pixels that are stable."""
        settings, shape = self.settings, embedding.shape
        logits = self.predictor.enlarge(low, embedding, smallest=settings.min_mask_region_area)
        stable = stability(logits, offset=settings.stability_score_offset)
        if settings.stability_score_thresh > 0:
            kept = stable >= settings.stability_score_thresh
            logits, iou, stable, points = logits[kept], iou[kept], stable[kept], points[kept.cpu().numpy()]
        masks = logits > 0
        boxes = inclusive_boxes(masks).cpu().numpy()
        places, bits = [], []
        for mask, (left, top, right, bottom) in zip(masks, boxes.tolist(), strict=True):
            (_, _, height, width), inside = packed(mask[top : bottom + 1, left : right + 1].cpu().numpy())
            places.append((top, left, height, width))
            bits.append(inside)
        return Proposals(
            shape=shape,
            places=np.array(places, np.int64).reshape(-1, 4),
            bits=tuple(bits),
            boxes=boxes,
            predicted_iou=iou.float().cpu().numpy(),
            stability=stable.float().cpu().numpy(),
            points=points.astype(np.float64),
            crops=np.tile(np.array([0, 0, shape[1], shape[0]], np.int64), (len(bits), 1)),
        )


def without_small_regions(found: Proposals, area: float, threshold: float) -> Proposals:
    """Holes filled and islands removed, of fewer pixels than `area`; then masks that were changed yield to others.

    Args:
        threshold: of the suppression.
    """
    places, bits, boxes, untouched = found.places.copy(), list(found.bits), found.boxes.copy(), []
    for i in range(len(found)):
        filled, holes = without_holes(found.mask(i), area)
        mask, islands = without_islands(filled, area)
        untouched.append(not (holes or islands))
        if not untouched[-1]:
            places[i], bits[i] = packed(mask)
            row, col, height, width = places[i]
            boxes[i] = (col, row, col + width - 1, row + height - 1) if height else 0
    changed = replace(found, places=places, bits=tuple(bits), boxes=boxes)
    return changed.take(nms(boxes, np.array(untouched, np.float32), threshold))
