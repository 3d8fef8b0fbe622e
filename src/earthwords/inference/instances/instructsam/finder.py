"""Masks of everything in a scene, and how well each fits the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from shapely import STRtree, box

from earthwords.geo.scene import Scene
from earthwords.inference.instances.candidates import InstanceCandidates
from earthwords.inference.instances.instructsam import similarity
from earthwords.inference.segment.postprocess import class_maxima
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.strip import Strip
from earthwords.mask_set import MaskSet
from earthwords.types import Grid, Vocabulary, Window

Array: TypeAlias = NDArray[Any]

SAME = 0.5
"""Masks of a class of which one covers so much of the other are one thing, where no counts are given."""
_BATCH = 32


class MaskFinder:
    """Candidates from masks: strips tell nothing more."""

    def __init__(
        self,
        *,
        masks: MaskSet,
        scene: Scene,
        segmenter: Segmenter,
        vocabulary: Vocabulary,
        counted: Sequence[int],
        expected: bool,
        threshold: float,
        policy: FailurePolicy,
    ) -> None:
        """
        Args:
            masks: of the region, in the scene's own pixels.
            expected: counts are given: every mask is a candidate for each class, by cosine; else a mask is one of its
                best class if that is counted, by probability.
            threshold: least probability, without counts.
        """
        self._masks, self._scene, self._segmenter, self._policy = masks, scene, segmenter, policy
        self._vocabulary, self._counted = vocabulary, list(counted)
        self._expected, self._threshold = expected, threshold

    def add(self, strip: Strip) -> None:
        """Nothing."""

    def finish(self) -> InstanceCandidates:
        """All masks that may be a thing."""
        titles = tuple(self._vocabulary.titles[label] for label in self._counted)
        masks = replace(self._masks, titles=titles)
        fits = self._fits() if len(masks) else np.zeros((0, len(self._vocabulary)), np.float32)
        best = fits.argmax(axis=1) if len(masks) else np.zeros(0, np.int64)
        own = fits[:, self._counted]
        mine = own.argmax(axis=1) if len(masks) else best
        found = InstanceCandidates(masks=masks, similarity=own, centres=_centres(masks)).classified(mine)
        if self._expected:
            return found.sorted()
        kept = np.isin(best, self._counted) & (fits.max(axis=1, initial=0) >= self._threshold)
        found = found.take(np.flatnonzero(kept))
        return found.take(apart(found.masks)).sorted()

    @torch.inference_mode()
    def _fits(self) -> NDArray[np.float32]:
        """`(mask, class)`: cosines, or probabilities where no counts are given."""
        backbone, words = self._segmenter.clip.backbone, self._vocabulary
        text = backbone.encode_text([similarity.prompt(query) for query in words.queries])
        side = int(backbone.model.vision_model.config.image_size)
        parts = [
            backbone.encode_image(torch.stack(self._crops(first, side)).to(backbone.device))
            for first in range(0, len(self._masks), _BATCH)
        ]
        cosines = similarity.similarities(torch.cat(parts), text).cpu()
        if not self._expected:
            cosines = (backbone.logit_scale * cosines).softmax(dim=1)
        classes = class_maxima(cosines.T[:, :, None] + 1, torch.from_numpy(words.query_class))[:, :, 0].T - 1
        return classes.numpy().astype(np.float32)

    def _crops(self, first: int, side: int) -> list[torch.Tensor]:
        """Some regions with their surroundings, ready for CLIP."""
        backbone, region = self._segmenter.clip.backbone, self._scene.region
        rows, cols, heights, widths = self._masks.boxes[first : first + _BATCH].T
        boxes = np.stack([cols, rows, widths, heights], axis=1)
        found = []
        for left, top, right, bottom in similarity.crop_boxes(boxes, (region.height, region.width)):
            row, col = round(top), round(left)
            tall, wide = max(1, round(bottom) - row), max(1, round(right) - col)
            window = Window(row=region.row + row, col=region.col + col, height=tall, width=wide)
            rgb, _ = read_twice(self._scene.read_rgb, window, self._scene.native, self._policy)
            image = np.rint(np.moveaxis(rgb, 0, -1).clip(0, 1) * 255).astype(np.uint8)
            whole = np.array([0, 0, wide, tall])
            found.append(similarity.prepared(similarity.cut_out(image, whole), side, backbone.mean, backbone.std))
        return found


def _centres(masks: MaskSet) -> NDArray[np.float64]:
    """`(mask, 2)`: x, y of the mean of its pixels' middles."""
    found = np.zeros((len(masks), 2))
    for i, (row, col, mask) in enumerate(masks):
        rows, cols = np.nonzero(mask)
        found[i] = col + cols.mean() + 0.5, row + rows.mean() + 0.5
    return found


def apart(masks: MaskSet) -> NDArray[np.int64]:
    """Indices of the masks of which no surer one of their class is the same thing, see `SAME`."""
    row, col, height, width = masks.boxes.T.astype(float)
    shapes = box(col, row, col + width, row + height)
    tree, areas = STRtree(shapes), masks.areas
    gone = np.zeros(len(masks), bool)
    for i in np.argsort(-masks.scores, kind="stable").tolist():
        if gone[i]:
            continue
        for j in tree.query(shapes[i], predicate="intersects").tolist():
            same = j != i and not gone[j] and masks.classes[j] == masks.classes[i]
            if same and masks.scores[j] <= masks.scores[i] and _common(masks, i, j) > SAME * min(areas[i], areas[j]):
                gone[j] = True
    return np.flatnonzero(~gone)


def _common(masks: MaskSet, first: int, second: int) -> int:
    """Pixels of both."""
    a, b = (Window(row=r, col=c, height=h, width=w) for r, c, h, w in masks.boxes[[first, second]].tolist())
    both = a.intersect(b)
    if both is None:
        return 0
    return int((masks.mask(first)[both.slices_in(a)] & masks.mask(second)[both.slices_in(b)]).sum())


def on_grid(masks: MaskSet, grid: Grid) -> MaskSet:
    """The masks in the pixels of another grid of the same ground: a pixel has what its middle has."""
    if masks.grid.shape == grid.shape:
        return replace(masks, grid=grid)
    tall, wide = masks.grid.height / grid.height, masks.grid.width / grid.width
    places, found, kept = [], [], []
    for i, (row, col, mask) in enumerate(masks):
        rows = np.arange(int(row / tall), min(grid.height, int((row + mask.shape[0]) / tall) + 1))
        cols = np.arange(int(col / wide), min(grid.width, int((col + mask.shape[1]) / wide) + 1))
        r, c = ((rows + 0.5) * tall).astype(int) - row, ((cols + 0.5) * wide).astype(int) - col
        held = ((r >= 0) & (r < mask.shape[0]))[:, None] & ((c >= 0) & (c < mask.shape[1]))
        part = mask[np.clip(r, 0, mask.shape[0] - 1)][:, np.clip(c, 0, mask.shape[1] - 1)] & held
        if part.any():
            places.append((int(rows[0]), int(cols[0])))
            found.append(part)
            kept.append(i)
    some = masks.take(np.array(kept, np.int64))
    return MaskSet.pack(grid, places, found, scores=some.scores, classes=some.classes, titles=some.titles)
