"""NAF's training: features of an image, from those of the image at half the size.

Paper: https://arxiv.org/abs/2511.18452, code: https://github.com/valeoai/NAF. A backbone sees images of `side` pixels,
which gives the target, and the same images shrunk by half. The features of these are upsampled to as many tokens as the
target has, guided by the image at `GUIDANCE` pixels a token; the loss is the mean squared error. Positions are learned
at scales from half to double, one for every step (the authors' code draws one for a whole run).

The authors' numbers besides (for `training.loop.Schedule`): AdamW, constant rate 2e-4, betas 0.9 and 0.999, weight
decay 1e-5, bfloat16, 25,000 steps of 4 images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.upsamplers._imagenet import IMAGENET_MEAN, IMAGENET_STD
from earthwords.models.upsamplers.naf import LARGEST, WINDOW, Naf
from earthwords.training.teacher import Images, Teacher

TOKENS = 32
"""Of the target, along a side, as the authors have it."""
GUIDANCE = 224
"""Pixels a side of the guidance image, at most; and at most `LARGEST` for a token of the target."""


@dataclass(frozen=True, kw_only=True)
class NafSettings:
    """The defaults are the authors', for patches of 16 pixels."""

    side: int = 512
    """Pixels of an image."""
    batch: int = 4
    """Images of a step."""

    def check(self, teacher: Teacher) -> None:
        """Raises `UsageError` where half an image is no whole number of patches, or of fewer than a window."""
        least = 2 * teacher.patch
        if self.side % least or self.side < WINDOW * least:
            near = max(WINDOW, round(self.side / least)) * least
            raise UsageError(
                f"Half of an image of NAF's training must be {WINDOW} or more patches of {teacher.patch} pixels a "
                f"side, got images of {self.side} pixels; use --image-size {near}."
            )


@dataclass(frozen=True, kw_only=True)
class NafBatch:
    """Images, and the scale of positions."""

    images: Tensor
    """`(batch, 3, side, side)`, 0..1."""
    scale: float

    def to(self, device: torch.device) -> NafBatch:
        """The same on a device."""
        return replace(self, images=self.images.to(device))


class NafTask:
    """A `training.loop.TrainingTask`."""

    def __init__(self, images: Images, teacher: Teacher, settings: NafSettings, *, digest: str) -> None:
        settings.check(teacher)
        self.images, self.teacher, self.options = images, teacher, settings
        named = {"teacher": f"{teacher.name}, patch {teacher.patch}, dim {teacher.dim}", "images": digest}
        self.settings: dict[str, str] = {name: str(value) for name, value in asdict(settings).items()} | named

    def draw(self, rng: np.random.Generator) -> NafBatch:
        """Images, and a scale of positions, log-uniform between a half and two."""
        images = self.images(rng, self.options.batch, self.options.side)
        return NafBatch(images=images, scale=float(2 ** rng.uniform(-1, 1)))

    def losses(self, model: Naf, batch: NafBatch) -> dict[str, Tensor]:
        """Mean squared error of the features."""
        coarse, guidance, target = self._views(model, batch)
        return {"reconstruction": F.mse_loss(model(coarse, guidance, _size(target), scale=batch.scale), target)}

    @torch.no_grad()
    def held_out(self, model: Naf, batches: Sequence[Any]) -> dict[str, float]:
        """The loss, and what bilinear interpolation of the same features comes to, averaged over batches."""
        total = {"heldout": 0.0, "heldout_bilinear": 0.0}
        for batch in batches:
            coarse, guidance, target = self._views(model, batch)
            bilinear = F.interpolate(coarse, size=_size(target), mode="bilinear", align_corners=False)
            for name, found in (("heldout", model(coarse, guidance, _size(target))), ("heldout_bilinear", bilinear)):
                total[name] += float(F.mse_loss(found, target)) / len(batches)
        return total

    def _views(self, model: Naf, batch: NafBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the shrunk images, the guidance, and features of the images."""
        images = batch.to(next(model.parameters()).device).images
        target, half = self.teacher(images), self.options.side // 2
        coarse = self.teacher(_resized(images, half))
        mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        guidance = _resized(images, min(GUIDANCE, LARGEST * target.shape[-1]))
        return coarse, (guidance - mean) / std, target


def _resized(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def _size(target: Tensor) -> tuple[int, int]:
    return target.shape[-2], target.shape[-1]
