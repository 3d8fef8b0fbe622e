"""AnyUp's training: features of crops say what the upsampled features of the whole image should be there.

Paper: https://arxiv.org/abs/2510.12764, code: https://github.com/wimmerth/anyup. A backbone sees an image of `side`
pixels shrunk to `crop` pixels, and crops of the image of the same size. The features of the shrunk image are
upsampled, with the shrunk image as guidance, to as many tokens as the full image has, so that every crop finds the
tokens that belong to it. Three losses, all of them `upsampling_losses.scaled_difference`:

* `crop`: upsampled features, cut out where a crop lies, against the features of the crop;
* `consistency`: features upsampled with a distorted guidance image (`guidance.distorted`) against those with the
  clean one, which are taken as they are (no gradient);
* `identity`: upsampled features, averaged down again, against the features they were made from.

The authors' numbers besides (for `training.loop.Schedule`): AdamW, constant rate 2e-4, betas 0.9 and 0.999, weight
decay 1e-5, bfloat16, 100,000 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.upsamplers._imagenet import IMAGENET_MEAN, IMAGENET_STD
from earthwords.models.upsamplers.anyup import AnyUp
from earthwords.training.teacher import Images, Teacher
from earthwords.training.upsamplers.guidance_augment import distorted
from earthwords.training.upsampling_losses import scaled_difference


@dataclass(frozen=True, kw_only=True)
class AnyUpSettings:
    """The defaults are the authors'."""

    side: int = 448
    """Pixels of an image."""
    crop: int = 224
    """Pixels of a crop, and of the shrunk image."""
    crops: int = 4
    """Crops of an image."""
    batch: int = 4
    """Images of a step."""
    consistency_weight: float = 0.1
    consistency_size: int | None = None
    """Pixels a side at which outputs of clean and distorted guidance are compared; None: `crop`."""
    identity_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("side", "crop", "crops", "batch", "consistency_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"The {name.replace('_', ' ')} of AnyUp's training must be 1 or more, got {value}.")
        if self.crop > self.side:
            raise UsageError(f"Crops of {self.crop} pixels do not fit into images of {self.side}; use smaller crops.")
        for name in ("consistency_weight", "identity_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise UsageError(f"The {name.replace('_', ' ')} must be 0 or more, got {value:g}.")

    def check(self, teacher: Teacher) -> None:
        """Raises `UsageError` where images or crops are no whole number of a teacher's patches, or only one."""
        for name, pixels in (("images", self.side), ("crops", self.crop)):
            if pixels % teacher.patch or pixels < 2 * teacher.patch:
                near = max(2, round(pixels / teacher.patch)) * teacher.patch
                raise UsageError(
                    f"The {name} of AnyUp's training must be 2 or more patches of {teacher.patch} pixels a side for "
                    f"{teacher.name}, got {pixels} pixels; use {near}, or another multiple of every backbone's patch."
                )


@dataclass(frozen=True, kw_only=True)
class AnyUpBatch:
    """Images, and what is looked at in them."""

    teacher: Teacher
    images: Tensor
    """`(batch, 3, side, side)`, 0..1."""
    shrunk: Tensor
    """`(batch, 3, crop, crop)`, 0..1: the whole images."""
    distorted: Tensor
    """`(batch, 3, crop, crop)`, 0..1: the same, distorted before they were shrunk."""
    corners: tuple[tuple[tuple[int, int], ...], ...]
    """For every image the `(row, col)` of its crops' upper left corners, in patches."""

    def to(self, device: torch.device) -> AnyUpBatch:
        """The same on a device."""
        pixels = {name: getattr(self, name).to(device) for name in ("images", "shrunk", "distorted")}
        return replace(self, **pixels)

    def cut(self, maps: Tensor, side: int, step: int = 1) -> Tensor:
        """Windows of maps `(batch, dim, h, w)` at the corners: `(batch * crops, dim, side, side)`, image by image.

        Args:
            side: of a window.
            step: values of the maps a patch: 1 for tokens, the patch's side for pixels.
        """
        windows = [
            part[:, step * row : step * row + side, step * col : step * col + side]
            for part, corners in zip(maps, self.corners, strict=True)
            for row, col in corners
        ]
        return torch.stack(windows)


class AnyUpTask:
    """A `training.loop.TrainingTask`. Every step has one teacher: a random one of those with a random patch size."""

    def __init__(self, images: Images, teachers: Sequence[Teacher], settings: AnyUpSettings) -> None:
        if not teachers:
            raise UsageError("AnyUp's training needs a backbone to learn from, got none.")
        for teacher in teachers:
            settings.check(teacher)
        self.images, self.teachers, self.options = images, tuple(teachers), settings
        named = {f"teacher {i}": f"{t.name}, patch {t.patch}, dim {t.dim}" for i, t in enumerate(teachers)}
        self.settings: dict[str, str] = {name: str(value) for name, value in asdict(settings).items()} | named

    def draw(self, rng: np.random.Generator) -> AnyUpBatch:
        """Teacher, images, crops and distortions."""
        options = self.options
        patches = sorted({t.patch for t in self.teachers})
        patch = patches[rng.integers(len(patches))]
        fitting = [t for t in self.teachers if t.patch == patch]
        teacher = fitting[rng.integers(len(fitting))]
        images = self.images(rng, options.batch, options.side)
        last = (options.side - options.crop) // patch
        corners = rng.integers(last + 1, size=(options.batch, options.crops, 2)).tolist()
        changed = images
        if options.consistency_weight > 0:
            changed = torch.stack([distorted(image, rng) for image in images])
        return AnyUpBatch(
            teacher=teacher,
            images=images,
            shrunk=self._shrunk(images),
            distorted=self._shrunk(changed),
            corners=tuple(tuple((row, col) for row, col in own) for own in corners),
        )

    def losses(self, model: AnyUp, batch: AnyUpBatch) -> dict[str, Tensor]:
        """Those of the head of this file, weighted; a loss of weight 0 is left out and not computed."""
        views, options = batch.to(next(model.parameters()).device), self.options
        coarse, guidance = views.teacher(views.shrunk), _normalised(views.shrunk)
        upsampled = model(coarse, guidance, self._size(views))
        target = self._targets(views)
        losses = {"crop": scaled_difference(views.cut(upsampled, target.shape[-1]), target)}
        if options.consistency_weight > 0:
            side = options.consistency_size or options.crop
            with torch.no_grad():
                expected = model(coarse, guidance, (side, side))
            found = model(coarse, _normalised(views.distorted), (side, side))
            losses["consistency"] = options.consistency_weight * scaled_difference(found, expected)
        if options.identity_weight > 0:
            again = F.interpolate(upsampled, size=coarse.shape[-2:], mode="area")
            losses["identity"] = options.identity_weight * scaled_difference(again, coarse)
        return losses

    @torch.no_grad()
    def heldout(self, model: AnyUp, batch: AnyUpBatch) -> dict[str, float]:
        """The loss `crop` of the model, and what bilinear interpolation of the same features comes to."""
        views = batch.to(next(model.parameters()).device)
        coarse, size = views.teacher(views.shrunk), self._size(views)
        bilinear = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        target = self._targets(views)
        found = {"crop": model(coarse, _normalised(views.shrunk), size), "bilinear": bilinear}
        return {name: float(scaled_difference(views.cut(x, target.shape[-1]), target)) for name, x in found.items()}

    def _shrunk(self, images: Tensor) -> Tensor:
        size = (self.options.crop, self.options.crop)
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)

    def _size(self, views: AnyUpBatch) -> tuple[int, int]:
        """Tokens of the full image."""
        side = self.options.side // views.teacher.patch
        return side, side

    def _targets(self, views: AnyUpBatch) -> Tensor:
        """`(batch * crops, dim, h, w)`: features of the crops."""
        return views.teacher(views.cut(views.images, self.options.crop, views.teacher.patch))


def _normalised(images: Tensor) -> Tensor:
    """0..1 to what AnyUp sees by default."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std
