"""How well regions of an image fit words: each is cut out with its surroundings and seen by CLIP (InstructSAM)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Array: TypeAlias = NDArray[Any]

GROWN = 1.2
"""Sides of what is cut out, by those of the box."""
_ONE_PIXEL = 1.0


def kept_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """The classes of which there are any, in their order."""
    return {name: number for name, number in counts.items() if number > 0}


def prompt(name: str, *, siglip: bool = False, article: bool = True) -> str:
    """The sentence that a class becomes."""
    kind = "a satellite image of" if siglip else "an image of"
    chosen = ("an " if name[:1].lower() in tuple("aeiou") else "a ") if article else ""
    return f"{kind} {chosen}{name}"


def crop_boxes(boxes: Array, shape: tuple[int, int], *, grown: float = GROWN) -> NDArray[np.float64]:
    """`(n, 4)` x0, y0, x1, y1 of what is cut out of an image of `(rows, columns)`, clipped to it.

    Args:
        boxes: `(n, 4)` x, y, width, height; one that begins outside of the image is moved to its last pixels.
    """
    height, width = shape
    x, y, w, h = np.asarray(boxes, np.float64).reshape(-1, 4).T
    outside = (x > width) | (y > height)
    x, y = np.where(outside, width - 2, x), np.where(outside, height - 2, y)
    middle = np.stack([x + w / 2, y + h / 2])
    half = np.stack([w * grown, h * grown]) / 2
    low, high = middle - half, middle + half
    most = np.array([[width], [height]], np.float64)
    return np.concatenate([np.clip(low, 0, None), np.minimum(high, most)]).T


def prepared(crop: Image.Image, side: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """`(3, side, side)`: the shorter side resized (bicubic, antialiased), the middle cut out, standardised as CLIP's
    authors do it. The ends of long things are cut off."""
    width, height = crop.size
    if width <= height:
        size = side, int(side * height / width)
    else:
        size = int(side * width / height), side
    resized = crop.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (round((whole - side) / 2.0) for whole in size)
    middle = np.asarray(resized.crop((left, top, left + side, top + side)), np.float32) / 255
    values = (torch.from_numpy(middle) - torch.tensor(mean)) / torch.tensor(std)
    return values.permute(2, 0, 1)


def cut_out(image: NDArray[np.uint8], box: Array) -> Image.Image:
    """Pixels of x0, y0, x1, y1, rounded half to even; a side that would vanish is a pixel."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    height, width = image.shape[:2]
    left, top = min(left, width - 1), min(top, height - 1)
    return Image.fromarray(image[top : max(bottom, top + 1), left : max(right, left + 1)])


def similarities(features: Tensor, words: Tensor, *, siglip: tuple[float, float] | None = None) -> Tensor:
    """`(region, class)` cosines, or SigLIP's probabilities.

    Args:
        features, words: `(region, dim)` and `(class, dim)`, of any length.
        siglip: scale and bias of its logits.
    """
    cosines = F.normalize(features.float(), dim=-1) @ F.normalize(words.float(), dim=-1).T
    return cosines if siglip is None else (cosines * siglip[0] + siglip[1]).sigmoid()


def region_features(
    image: NDArray[np.uint8], boxes: Array, encode: Callable[[Tensor], Tensor], *, side: int, mean: Sequence[float],
    std: Sequence[float], batch: int = 32,
) -> Tensor:  # fmt: skip
    """`(region, dim)` of boxes `(n, 4)`, see `crop_boxes`.

    Args:
        encode: `(batch, 3, side, side)` to `(batch, dim)`.
    """
    crops = [prepared(cut_out(image, box), side, mean, std) for box in crop_boxes(boxes, image.shape[:2])]
    parts = [encode(torch.stack(crops[first : first + batch])) for first in range(0, len(crops), batch)]
    return torch.cat(parts)
