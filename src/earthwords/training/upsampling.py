"""Training of the joint bilateral upsamplers, FeatUp's stack and SimFeatUp, without any label.

Papers: https://arxiv.org/abs/2403.10516 and https://arxiv.org/abs/2410.01768, code:
https://github.com/mhamilton723/FeatUp and https://github.com/likyoo/SimFeatUp. The fine features of an image, seen in
random views and brought back to tokens by a learned downsampler, should be what the backbone says of these views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.upsamplers._downsamplers import AttentionDownsampler, gaussian_blur
from earthwords.models.upsamplers._heads import ContentRetention, ScaleNet
from earthwords.models.upsamplers.jbu import Jbu
from earthwords.training.jitter import Jitter, Jitters
from earthwords.training.teacher import Images, Teacher
from earthwords.training.upsampling_losses import content, project, random_projection, reconstruction, sampled_crf


@dataclass(frozen=True, kw_only=True)
class UpsamplingSettings:
    """What a step sees and how its losses are weighed; the defaults are SimFeatUp's."""

    side: int = 224
    """Of the crops, pixels."""
    batch: int = 4
    jitters: int = 5
    """Views of every crop."""
    max_pad: int = 20
    """Pixels that views may shift by."""
    max_zoom: float = 2.0
    projection: int = 30
    """Random directions that features are compared along, new ones for every view."""
    crf_weight: float = 0.0
    content_weight: float = 0.1
    """Of SimFeatUp's content retention; 0 leaves that network out."""
    faithful: bool = False
    """Compute as the authors do: all channels of every view, each pixel and channel dropped on its own before the
    saliency, content compared in all rows. Else the same at a fraction of the cost: channels are mixed before they are
    viewed, a channel is dropped everywhere at once, and content is compared in `content_rows` random rows."""
    content_rows: int = 8

    def __post_init__(self) -> None:
        for name in ("side", "batch", "jitters", "projection", "content_rows"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.max_zoom < 1 or not 0 <= self.max_pad < self.side:
            raise UsageError(
                f"Views need a zoom of 1 or more and a shift below the crop's side ({self.side}), "
                f"got {self.max_zoom:g} and {self.max_pad}."
            )


CRF_PIXELS = 1000
"""That FeatUp's random field is sampled at."""


class Student(nn.Module):
    """An upsampler and what it needs only while it learns."""

    def __init__(self, upsampler: Jbu, teacher: Teacher, settings: UpsamplingSettings) -> None:
        super().__init__()
        tokens = settings.side // teacher.patch
        self.upsampler = upsampler
        self.downsampler = AttentionDownsampler(teacher.dim, teacher.patch, tokens)
        self.scale_net = ScaleNet(teacher.dim)
        self.retention = ContentRetention(teacher.dim) if settings.content_weight else None


@dataclass(frozen=True, kw_only=True)
class UpsamplingBatch:
    """Crops and their views."""

    images: Tensor
    """`(batch, 3, side, side)`, normalised."""
    features: Tensor
    """`(batch, dim, h, w)`, the backbone's."""
    jitters: tuple[Jitter, ...]
    targets: tuple[Tensor, ...]
    """The backbone's features of each view of the batch."""


class _Fine:
    """The fine features of a batch, as the authors view them."""

    def __init__(self, model: Student, batch: UpsamplingBatch, row: UpsamplingSettings) -> None:
        self.model, self.images = model, batch.images
        self.features = model.upsampler(batch.features, batch.images, (row.side, row.side))

    def view(self, jitter: Jitter, directions: Tensor) -> tuple[Tensor, Tensor]:
        """A view along `directions` `(batch, dim, n)`: fine `(batch, n, side, side)`, and tokens `(batch, n, h, w)`."""
        jittered = jitter(self.features)
        return project(jittered, directions), project(self.model.downsampler(jittered), directions)

    def content(self, jitter: Jitter, retention: nn.Module) -> Tensor:
        """Error of the image that is seen in a view."""
        return content(retention(jitter(self.features)), jitter(self.images))


class _Factored:
    """The fine features of a batch as few maps and how they are mixed: only what a loss looks at is multiplied out."""

    def __init__(self, model: Student, batch: UpsamplingBatch, row: UpsamplingSettings) -> None:
        self.model, self.images, self.row = model, batch.images, row
        self.maps, self.mix, self.added = model.upsampler.factors(batch.features, batch.images, (row.side, row.side))

    def view(self, jitter: Jitter, directions: Tensor) -> tuple[Tensor, Tensor]:
        """As `_Fine.view`."""
        downsampler = self.model.downsampler
        dropout, linear = downsampler.attention_net
        assert isinstance(linear, nn.Linear)
        salient = dropout(linear.weight.expand(len(directions), -1))[:, :, None]
        columns = torch.cat([directions, salient], dim=2)
        fine = torch.einsum("bnhw,bnk->bkhw", self.maps, self.mix @ columns)
        fine = jitter(fine + (self.added @ columns)[:, :, None, None])
        blurred = gaussian_blur(fine)
        return fine[:, :-1], downsampler.pool(blurred[:, :-1], blurred[:, -1:] + linear.bias)

    def content(self, jitter: Jitter, retention: nn.Module) -> Tensor:
        """As `_Fine.content`, in some rows."""
        side, count = self.row.side, min(self.row.content_rows, self.row.side)
        rows = torch.randperm(side)[:count].sort().values
        maps = jitter(self.maps, rows=rows)
        jittered = torch.einsum("bnhw,bnd->bdhw", maps, self.mix) + self.added[:, None, None]
        return content(retention(jittered), jitter(self.images, rows=rows))


class UpsamplingTask:
    """The task of a training loop: see `training.loop.TrainingTask`."""

    def __init__(self, images: Images, teacher: Teacher, settings: UpsamplingSettings, *, digest: str) -> None:
        """Learn from `teacher` on `images`, which `digest` names."""
        if settings.side % teacher.patch or settings.side < 2 * teacher.patch:
            raise UsageError(
                f"Crops of {settings.side} pixels are no multiple of the backbone's patches of {teacher.patch}, "
                "or hold less than two; choose another --image-size."
            )
        self.images, self.teacher, self.row = images, teacher, settings
        options = {name: str(value) for name, value in vars(settings).items()}
        self.settings = {"teacher": teacher.name, "images": digest, **options}

    def draw(self, rng: np.random.Generator) -> UpsamplingBatch:
        """Crops, their features, and views that are the same for all crops of the batch."""
        row = self.row
        images = self.teacher.normalise(self.images(rng, row.batch, row.side))
        drawn = Jitters((row.side, row.side), max_pad=row.max_pad, max_zoom=row.max_zoom, seed=int(rng.integers(2**31)))
        jitters = tuple(drawn.draw() for _ in range(row.jitters))
        with torch.no_grad():
            features = self.teacher.encode(images)
            targets = tuple(self.teacher.encode(jitter(images)) for jitter in jitters)
        return UpsamplingBatch(images=images, features=features, jitters=jitters, targets=targets)

    def losses(self, model: Student, batch: UpsamplingBatch) -> dict[str, Tensor]:
        """Means over the views."""
        fine = (_Fine if self.row.faithful else _Factored)(model, batch, self.row)
        row = self.row
        parts: dict[str, list[Tensor]] = {}
        for number, (jitter, target) in enumerate(zip(batch.jitters, batch.targets, strict=True)):
            directions = random_projection(target, min(row.projection, target.shape[1]))
            jittered, found = fine.view(jitter, directions)
            loss = reconstruction(found, project(target, directions), model.scale_net(target))
            parts.setdefault("reconstruction", []).append(loss)
            if model.retention is not None:
                parts.setdefault("content", []).append(row.content_weight * fine.content(jitter, model.retention))
            if row.crf_weight and number == 0:
                rows, cols = (torch.randint(n, (CRF_PIXELS,), device=jittered.device) for n in jittered.shape[-2:])
                parts["crf"] = [row.crf_weight * sampled_crf(jitter(batch.images), jittered, rows, cols)]
        return {name: torch.stack(values).sum() / row.jitters for name, values in parts.items()}

    @torch.no_grad()
    def held_out(self, model: Student, batches: list[UpsamplingBatch]) -> dict[str, float]:
        """How far views of fine features, brought back to tokens, are from the backbone's.

        Mean squared errors over all channels, divided by the mean square of the targets: 0 is perfect. `heldout` goes
        through the learned downsampler, `heldout_pooled` averages over patches, and so does `heldout_bilinear`, of
        bilinear features.
        """
        side, count = (self.row.side, self.row.side), sum(len(batch.jitters) for batch in batches)
        errors = dict.fromkeys(("heldout", "heldout_pooled", "heldout_bilinear"), 0.0)
        for batch in batches:
            fine = model.upsampler(batch.features, batch.images, side)
            plain = F.interpolate(batch.features, size=side, mode="bilinear", align_corners=False)
            for jitter, target in zip(batch.jitters, batch.targets, strict=True):
                jittered, tokens = jitter(fine), (target.shape[-2], target.shape[-1])
                every = torch.ones(len(target), *tokens, dtype=torch.bool, device=target.device)
                found = {
                    "heldout": model.downsampler(jittered, keep=every),
                    "heldout_pooled": F.adaptive_avg_pool2d(jittered, tokens),
                    "heldout_bilinear": F.adaptive_avg_pool2d(jitter(plain), tokens),
                }
                for name, values in found.items():
                    errors[name] += float((values - target).square().mean() / target.square().mean()) / count
        return errors
