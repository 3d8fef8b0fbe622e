"""Learning to point: RSRefSeg's loss, and batches of images with sentences.

An image is encoded once for all sentences of a batch about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.data.manifests.expressions import Described, ReferringManifest, mirrored
from earthwords.errors import unknown
from earthwords.models.refseg.model import MaskPrediction, RefSeg, enlarge
from earthwords.training.augment import random_sensor
from earthwords.training.distributed import ALONE, Group

IGNORE = 255
AUGMENTATIONS = ("none", "sensor", "mirror")


def bce(logits: Tensor, labels: Tensor, *, weight: float = 5.0) -> Tensor:
    """RSRefSeg's loss: binary cross-entropy on the labels' grid, times 5.

    Args:
        logits: `(text, 1, row, col)`, enlarged bilinearly to the labels.
        labels: `(text, height, width)` integers: 1 is meant, 0 is not, `IGNORE` adds nothing but stays in the
            mean, as in the authors' code.
    """
    values = enlarge(logits, labels.shape[-2:])[:, 0]
    known = labels != IGNORE
    target = (labels == 1).to(values.dtype)
    return weight * (F.binary_cross_entropy_with_logits(values, target, reduction="none") * known).mean()


def dice(logits: Tensor, labels: Tensor, *, weight: float = 5.0) -> Tensor:
    """One minus the Dice coefficient of every mask (https://arxiv.org/abs/1606.04797), times 5; shapes as for `bce`.

    RSRefSeg 2 adds it. One is added above and below, so that an empty mask that is answered so costs nothing.
    """
    share = enlarge(logits, labels.shape[-2:])[:, 0].sigmoid() * (labels != IGNORE)
    target = (labels == 1).to(share.dtype)
    both, each = (share * target).sum(dim=(1, 2)), (share + target).sum(dim=(1, 2))
    return weight * (1 - (2 * both + 1) / (each + 1)).mean()


def apart(found: MaskPrediction, *, weight: float = 0.5) -> Tensor:
    """RSRefSeg 2: the squared cosine of the means of both sets of queries, so that they say different things."""
    first, second = found.queries
    return weight * F.cosine_similarity(first, second, dim=-1).square().mean()


def pooled(visual: Tensor, labels: Tensor) -> Tensor:
    """Features `(text, dim, h, w)` under the masks `(text, height, width)`: unit vectors `(text, dim)`.

    The sum over a mask is divided by all places, as in RSRefSeg 2's code; the length is lost anyway.
    """
    share = F.interpolate((labels == 1).float()[:, None], visual.shape[-2:], mode="bilinear", align_corners=False)
    return F.normalize((visual.float() * share).mean(dim=(2, 3)), dim=-1)


def contrast(
    found: MaskPrediction, labels: Tensor, *, scale: Tensor, bias: Tensor, group: Group = ALONE, weight: float = 0.5
) -> Tensor:
    """RSRefSeg 2: CLIP's symmetric loss between what is under the masks and the second queries, over all processes."""
    places = group.gather(pooled(found.visual, labels))
    queries = group.gather(F.normalize(found.queries[1].float(), dim=-1))
    cosines = (places[:, None] * queries).sum(dim=-1)  # no matrix product: autocast would take it in 8 bits
    logits = group.common(scale).exp() * cosines + group.common(bias)
    own = torch.arange(len(logits), device=logits.device)
    return weight * group.shared(F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


LOSSES = ("bce", "dice", "apart", "contrast")
"""The first one is RSRefSeg's, all of them RSRefSeg 2's, whose queries the last two need."""


@dataclass(frozen=True, kw_only=True)
class ReferringSettings:
    """What a step learns from."""

    batch_size: int = 4
    """Images."""
    expressions: int = 1
    """Sentences an image."""
    losses: Sequence[str] = ("bce",)
    """Names of `LOSSES`."""
    augmentation: str = "none"
    """`none` (the authors'), `sensor` (other colours, haze, blur, noise) or `mirror` (that and mirror images, with
    left and right, top and bottom exchanged in the sentences)."""

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)
        for name in self.losses:
            if name not in LOSSES:
                raise unknown("loss", name, LOSSES)


@dataclass(frozen=True, kw_only=True)
class ReferringBatch:
    """Images with sentences and their masks."""

    images: Tensor
    """`(image, 3, side, side)`, 0..255."""
    texts: tuple[str, ...]
    which: Tensor
    """`(text,)`, the image of each sentence."""
    labels: Tensor
    """`(text, side, side)` uint8, 1 is meant."""


class ReferringTask:
    """What `training.loop` learns: sentences drawn uniformly over all of a list, with the images they are about."""

    def __init__(
        self,
        manifest: ReferringManifest,
        options: ReferringSettings,
        *,
        fit: RefSeg,
        settings: Mapping[str, str] | None = None,
        group: Group = ALONE,
    ) -> None:
        self.manifest, self.options, self.group = manifest, options, group
        self._fit = fit
        counts = np.array([len(line.expressions) for line in manifest.lines], dtype=np.float64)
        self._shares = counts / counts.sum()
        self._settings = dict(settings or {})

    @property
    def settings(self) -> Mapping[str, str]:
        """What a run that goes on must have in common with the one that began."""
        own = {name: str(value) for name, value in asdict(self.options).items()}
        return {**own, "list": self.manifest.digest, **self._settings}

    def draw(self, rng: np.random.Generator) -> ReferringBatch:
        """Images by their number of sentences, and sentences of each."""
        chosen = rng.choice(len(self._shares), self.options.batch_size, p=self._shares)
        parts = [self._one(self.manifest.lines[int(i)], rng) for i in chosen]
        images = torch.stack([image for image, _, _ in parts])
        if self.options.augmentation != "none":
            images = random_sensor(images / 255, rng) * 255
        sides = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(texts) for _, texts, _ in parts]))
        return ReferringBatch(
            images=images,
            texts=tuple(text for _, texts, _ in parts for text in texts),
            which=sides,
            labels=torch.cat([labels for _, _, labels in parts]),
        )

    def _one(self, line: Described, rng: np.random.Generator) -> tuple[Tensor, list[str], Tensor]:
        image, mask = line.load()
        many = self.options.expressions
        chosen = [
            line.expressions[int(i)] for i in rng.choice(len(line.expressions), many, len(line.expressions) < many)
        ]
        texts = [one.text for one in chosen]
        if self.options.augmentation == "mirror":
            for axis in (0, 1):
                if rng.integers(2):
                    image, mask = np.flip(image, axis), np.flip(mask, axis)
                    texts = [mirrored(text, axis=axis) for text in texts]
        pixels = self._fit.fit(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))
        labels = np.stack([np.isin(mask, one.ids) for one in chosen])
        return pixels, texts, shrink(labels, self._fit)

    def losses(self, model: RefSeg, batch: ReferringBatch) -> dict[str, Tensor]:
        """Losses by name."""
        place = model.device
        ids = model.ids(batch.texts)
        found = model(batch.images.to(place), ids, batch.which.to(place))
        labels = batch.labels.to(place)
        own: dict[str, Callable[[], Tensor]] = {
            "bce": lambda: bce(found.logits, labels),
            "dice": lambda: dice(found.logits, labels),
            "apart": lambda: apart(found),
            "contrast": lambda: contrast(
                found,
                labels,
                scale=model.prompter.contrast_scale,
                bias=model.prompter.contrast_bias,
                group=self.group,
            ),
        }
        return {name: own[name]() for name in self.options.losses}


def shrink(masks: NDArray[np.bool_], model: RefSeg) -> Tensor:
    """Masks `(text, row, col)` on a model's grid, `(text, side, side)` uint8: each cell takes its nearest pixel.

    Outside the image's frame they are `IGNORE`.
    """
    rows, cols = model.frame(masks.shape[-2:])
    small = F.interpolate(torch.from_numpy(masks.astype(np.uint8))[:, None], (rows, cols), mode="nearest-exact")[:, 0]
    return F.pad(small, (0, model.side - cols, 0, model.side - rows), value=IGNORE)


def held_out_loss(model: RefSeg, manifest: ReferringManifest, *, batch: int = 8) -> float:
    """Mean `bce` over the sentences."""
    total, count = 0.0, 0
    for line in manifest.lines:
        image, mask = line.load()
        image_features = model.encode_images(model.fit(torch.from_numpy(image).permute(2, 0, 1))[None].to(model.device))
        for start in range(0, len(line.expressions), batch):
            chosen = line.expressions[start : start + batch]
            labels = shrink(np.stack([np.isin(mask, one.ids) for one in chosen]), model)
            first = torch.zeros(len(chosen), dtype=torch.int64, device=model.device)
            found = model.predict(image_features, model.encode_texts(model.ids([one.text for one in chosen])), first)
            total += float(bce(found.logits, labels.to(model.device))) * len(chosen)
            count += len(chosen)
    return total / max(1, count)
