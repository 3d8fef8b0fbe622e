"""A result in memory as the pictures of a map in a notebook."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.geo.web_mercator import on_web_mercator, to_scene
from earthwords.types import SCORE_STEPS
from earthwords.viz.notebook import MapContent

if TYPE_CHECKING:
    from earthwords.inference.segment.result import SegmentationResult


def content_of(result: SegmentationResult, *, max_side: int) -> MapContent:
    """What the map of a result shows."""
    image = on_web_mercator(_opaque(result), result.grid, smooth=True, max_side=max_side)
    scores = on_web_mercator(score_planes(result), result.grid, smooth=False, max_side=max_side)
    titles = result.vocabulary.titles
    notes = [*result.notes]
    if not scores.placed:
        notes.append("The image has no place on the earth; on this map a pixel is a metre around 0, 0.")
    return MapContent(
        image=_png(image.values),
        scores=_png(scores.values),
        corners=scores.corners,
        classes=[(one.title, one.colour) for one in result.vocabulary.classes],
        thresholds=dict.fromkeys(titles, 0.0),
        notes=notes,
        preview=result._repr_png_,
        to_crs=lambda frame: to_scene(frame, result.grid),
    )


def score_planes(result: SegmentationResult) -> NDArray[np.uint8]:
    """`(row, col, 3)`: class + 1 (0: nothing to show), its score and the runner-up's in steps of 1/250."""
    known = result.labels < len(result.vocabulary)
    top = np.where(known, result.labels, 0).astype(np.intp)
    second = np.zeros(result.labels.shape, np.float32)
    if result.probabilities is not None and len(result.vocabulary) > 1:
        others = np.nan_to_num(result.probabilities)
        np.put_along_axis(others, top[None], -1, axis=0)
        second = others.max(axis=0)
    planes = (top + 1, np.rint(result.score * SCORE_STEPS), np.rint(np.minimum(second, result.score) * SCORE_STEPS))
    return np.stack([np.where(known, plane, 0).astype(np.uint8) for plane in planes], axis=2)


def _opaque(result: SegmentationResult) -> NDArray[np.uint8]:
    """`(row, col, 4)`: the image, transparent where nothing was observed."""
    alpha = np.where(result.valid, 255, 0).astype(np.uint8)
    return np.concatenate([result.image, alpha[..., None]], axis=2)


def _png(values: NDArray[Any]) -> bytes:
    into = io.BytesIO()
    Image.fromarray(values).save(into, format="PNG", compress_level=4)
    return into.getvalue()
