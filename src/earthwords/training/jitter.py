"""Random views of an image, and the same views of its features: padded, zoomed, cropped, mirrored.

FeatUp's `apply_jitter` and `sample_transform` (https://arxiv.org/abs/2403.10516,
https://github.com/mhamilton723/FeatUp), the same numbers from the same seeds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """One view."""

    zoom: float
    """1 or more."""
    row: int
    col: int
    """Upper left corner of the view in the padded, zoomed image, pixels."""
    mirrored: bool
    pad: int
    """Pixels that are added on all sides before the zoom, by reflection."""

    def __call__(self, image: Tensor, *, rows: Tensor | None = None) -> Tensor:
        """`(batch, dim, H, W)`, H and W larger than `pad`, to the same shape.

        `rows` `(n,)` int64, ascending: only these rows of the view, `(batch, dim, n, W)`.
        """
        height, width = image.shape[-2:]
        padded = F.pad(image, [self.pad] * 4, mode="reflect")
        rows = torch.arange(height) if rows is None else rows.cpu()
        view = self._taken(self._taken(padded, self.row + rows).mT, self.col + torch.arange(width)).mT
        return view.flip(-1) if self.mirrored else view

    def _taken(self, x: Tensor, wanted: Tensor) -> Tensor:
        """The `wanted` rows of `F.interpolate(x, scale_factor=zoom, mode="bilinear")`, as a product of matrices:
        nothing is computed outside the view, and the gradient is a product too."""
        if self.zoom == 1:
            return x[..., int(wanted[0]) : int(wanted[-1]) + 1, :][..., (wanted - wanted[0]).to(x.device), :]
        places = ((wanted + 0.5) * (1 / self.zoom) - 0.5).clamp(min=0)
        near = places.long()
        top, share = int(near[0]), places - near
        rows = x[..., top : int(near[-1]) + 2, :]
        weights = torch.zeros(len(wanted), rows.shape[-2])
        weights.scatter_add_(1, (near - top)[:, None], (1 - share)[:, None])
        weights.scatter_add_(1, (near - top + 1).clamp(max=rows.shape[-2] - 1)[:, None], share[:, None])
        return weights.to(x) @ rows

    def shrunk(self, factor: int) -> Jitter:
        """The same view of an image `factor` times smaller; `pad`, `row` and `col` must be multiples of it."""
        pad, row, col = (value // factor for value in (self.pad, self.row, self.col))
        return Jitter(zoom=self.zoom, row=row, col=col, mirrored=self.mirrored, pad=pad)


class Jitters:
    """Draws views of images of a shape; the same seed gives the same views."""

    def __init__(
        self, shape: tuple[int, int], *, max_pad: int = 20, max_zoom: float = 2.0, flips: bool = True, seed: int = 0
    ) -> None:
        self.shape = shape
        self.max_pad = max_pad
        self.max_zoom = max_zoom
        self.flips = flips
        self._choices = random.Random(seed)
        self._offsets = torch.Generator().manual_seed(seed)

    def draw(self, *, step: int = 1) -> Jitter:
        """The next view: mirrored or not, zoomed or not, cropped anywhere, its corner on a multiple of `step`."""
        mirrored = self.flips and self._choices.random() > 0.5
        zoom = 1.0
        if self._choices.random() > 0.5:
            zoom = float(np.float32(1 + self._choices.random() * (self.max_zoom - 1)))
        row, col = (self._corner(side, zoom) // step * step for side in self.shape)
        return Jitter(zoom=zoom, row=row, col=col, mirrored=mirrored, pad=self.max_pad)

    def _corner(self, side: int, zoom: float) -> int:
        places = int((side + 2 * self.max_pad) * zoom) - side + 1
        return int(torch.randint(places, (), generator=self._offsets))
