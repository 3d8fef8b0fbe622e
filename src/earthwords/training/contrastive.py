"""Contrastive training of a dual encoder on pictures with sentences and on regions with class words.

Three losses, each a comparison of pictures with words: InfoNCE over the sentences of a batch
(https://arxiv.org/abs/2103.00020), cross-entropy of pictures over the labels of their set, and
cross-entropy of dense features over the classes of their set, balanced over classes. The dense features
are those that segmentation reads at inference: the last block's attention by a method of the
`ATTENTION` table, without residual.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from earthwords.errors import UsageError
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.text.templates import load_templates
from earthwords.training.batches import PictureBatch, RegionBatch, Sampler
from earthwords.training.distributed import ALONE, Group
from earthwords.training.losses import info_nce, region_text, siglip


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a step draws and how its losses are weighed."""

    batch_size: int = 96
    """Pictures a step."""
    region_batch: int = 48
    """Crops with masks a step; 0 trains on pictures alone."""
    sides: tuple[int, ...] = (128,)
    """Side of the images, pixels; one is drawn a step."""
    caption_weight: float = 1.0
    accum_freq: int = 1
    """Parts of a batch that go through the towers one after the other; the losses are of the whole batch. Exact, but
    for batch norms, which see the parts."""
    siglip: bool = False
    """Compare sentences by the pairwise sigmoid loss instead of InfoNCE."""
    label_weight: float = 0.5
    region_weight: float = 1.0
    attention: tuple[str, ...] = ("segearth",)
    """Dense methods; one is drawn a step."""
    class_dropout: float = 0.0
    """Chance of a class of a mask that it is not asked for in a step: its pixels shall fit no word."""
    templates: str = "aerial"
    """Template set or file; one of its sentences, or the bare word, is drawn for every name."""

    def __post_init__(self) -> None:
        if not 0 <= self.class_dropout < 1:
            raise UsageError(f"--class-dropout must be a share from 0 to below 1, got {self.class_dropout:g}.")


@dataclass(frozen=True, kw_only=True)
class ContrastiveBatch:
    """Everything a step looks at."""

    pictures: PictureBatch
    regions: RegionBatch | None
    label_words: dict[str, list[str]]
    """Set -> a prompt for each scene label."""
    class_words: dict[str, list[str]]
    """Set -> a prompt for each mask class."""
    left_out: dict[str, list[int]]
    """Set -> mask classes that are not asked for."""
    method: DenseMethod


class ContrastiveTask:
    """Draws the batch of a step and computes its losses."""

    def __init__(
        self,
        sampler: Sampler,
        objective: Objective,
        *,
        group: Group = ALONE,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Of several processes each draws `batch_size` pictures; sentences are compared over those of all.

        `settings`: what else a resumed run must have in common with the one that began.
        """
        self.sampler = sampler
        self.group = group
        self.objective = objective
        self.templates = [*load_templates(objective.templates), "{}"]
        options = {k: str(v) for k, v in asdict(objective).items()}
        self.settings: Mapping[str, str] = {**options, **sampler.settings, **(settings or {})}

    def draw(self, rng: np.random.Generator) -> ContrastiveBatch:
        """The batch that this random generator stands for."""
        aim = self.objective
        side = int(rng.choice(aim.sides))
        pictures = self.sampler.draw_pictures(rng, aim.batch_size, side)
        regions = self.sampler.draw_regions(rng, aim.region_batch, side) if aim.region_batch else None
        manifest = self.sampler.manifest
        masked = list(regions.sets) if regions else []
        return ContrastiveBatch(
            pictures=pictures,
            regions=regions,
            label_words={name: self._prompts(manifest.labels[name], rng) for name in pictures.labels},
            class_words={name: self._prompts(manifest.classes[name], rng) for name in masked},
            method=DenseMethod(attention=str(rng.choice(aim.attention))),
            left_out={name: self._left_out(manifest.classes[name], rng) for name in masked if aim.class_dropout},
        )

    def losses(self, backbone: ClipBackbone, batch: ContrastiveBatch) -> dict[str, Tensor]:
        """Losses by name, already weighted; their sum is to be minimised."""
        parts = [batch.pictures.pixels] + ([batch.regions.pixels] if batch.regions else [])
        pixels = _normalised(torch.cat(parts), backbone)
        pooled, dense = self._encoded(backbone, pixels, batch.method, len(parts[0]))
        words = _WordVectors(backbone, batch, again=self.objective.accum_freq > 1)
        images = F.normalize(pooled.float(), dim=-1)
        losses = {
            "caption": self.objective.caption_weight * self._caption_loss(backbone, images, batch.pictures, words),
            "label": self.objective.label_weight * _label_loss(images, batch.pictures, words),
        }
        if batch.regions is not None:
            region = _region_loss(dense.float(), batch.regions, words, self.sampler, batch.left_out)
            losses["region"] = self.objective.region_weight * region
        return losses

    def _encoded(
        self, backbone: ClipBackbone, pixels: Tensor, method: DenseMethod, images: int
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of the first `images` inputs and dense features of the others; in `accum_freq` parts, whose
        insides are forgotten and computed again for the gradient."""

        def encode(part: Tensor, count: int) -> tuple[Tensor, Tensor]:
            pooled, dense = backbone.encode_mixed(part, method, images=count)
            return pooled, dense.values

        if self.objective.accum_freq == 1:
            return encode(pixels, images)
        step = -(-len(pixels) // self.objective.accum_freq)
        parts = [
            checkpoint(encode, pixels[i : i + step], min(max(images - i, 0), step), use_reentrant=False)
            for i in range(0, len(pixels), step)
        ]
        pooled, dense = (torch.cat(halves) for halves in zip(*parts, strict=True))
        return pooled, dense

    def _caption_loss(
        self, backbone: ClipBackbone, images: Tensor, pictures: PictureBatch, words: _WordVectors
    ) -> Tensor:
        captioned = [i for i, s in enumerate(pictures.sentences) if s is not None]
        kinds = torch.tensor(
            [_number(pictures.sentences[i]) for i in captioned], dtype=torch.int64, device=images.device
        )
        group = self.group
        image, text, kind = (group.gather(rows) for rows in (images[captioned], words["caption", ""], kinds))
        if len(kind) < 2:
            return images.sum() * 0
        scale = group.common(words.scale)
        if self.objective.siglip:
            bias = backbone.get_parameter("logit_bias")
            return group.shared(siglip(image, text, scale, group.common(bias), kind=kind))
        return group.shared(info_nce(image, text, scale, kind=kind))

    def _left_out(self, groups: Sequence[Sequence[str]], rng: np.random.Generator) -> list[int]:
        """Some classes that have words, never all of them."""
        named = [i for i, names in enumerate(groups) if names]
        drawn = [i for i in named if rng.random() < self.objective.class_dropout]
        return drawn if len(drawn) < len(named) else drawn[1:]

    def _prompts(self, groups: Sequence[Sequence[str]], rng: np.random.Generator) -> list[str]:
        """One synonym of every group, all in one random template."""
        template = self.templates[rng.integers(len(self.templates))]
        return [
            template.replace("{}", word)
            for word in (names[_skewed(rng, len(names))] if names else "nothing" for names in groups)
        ]


class _WordVectors:
    """The sentences and prompts of a batch as unit vectors; each is encoded once, among ones as long."""

    def __init__(self, backbone: ClipBackbone, batch: ContrastiveBatch, *, again: bool) -> None:
        """`again`: the insides of the text tower are forgotten and computed again for the gradient."""
        self.scale: Tensor = backbone.model.logit_scale.exp().clamp(max=100)
        captioned = [s for s in batch.pictures.sentences if s is not None]
        groups = {("caption", ""): captioned}
        groups |= {("label", name): words for name, words in batch.label_words.items()}
        groups |= {("class", name): words for name, words in batch.class_words.items()}
        sentences = sorted({s for group in groups.values() for s in group}, key=lambda s: (len(s), s))
        parts = [sentences[i : i + 64] for i in range(0, len(sentences), 64)]
        encode = backbone.encode_text
        found = [checkpoint(encode, part, use_reentrant=False) if again else encode(part) for part in parts]
        vectors = F.normalize(torch.cat(found).float(), dim=-1)
        place = {s: i for i, s in enumerate(sentences)}
        self._vectors = {key: vectors[[place[s] for s in group]] for key, group in groups.items()}

    def __getitem__(self, key: tuple[str, str]) -> Tensor:
        return self._vectors[key]


def _label_loss(images: Tensor, pictures: PictureBatch, words: _WordVectors) -> Tensor:
    total, count = images.new_zeros(()), 0
    for name, (places, values) in pictures.labels.items():
        logits = words.scale * images[places] @ words["label", name].T
        total = total + F.cross_entropy(logits, torch.tensor(values, device=logits.device), reduction="sum")
        count += len(places)
    return total / max(1, count)


def _region_loss(
    features: Tensor,
    regions: RegionBatch,
    words: _WordVectors,
    sampler: Sampler,
    left_out: Mapping[str, Sequence[int]],
) -> Tensor:
    total = features.new_zeros(())
    for name, places in regions.sets.items():
        rest = next((i for i, names in enumerate(sampler.manifest.classes[name]) if not names), None)
        loss = region_text(
            features[places],
            words["class", name],
            regions.target[places].to(features.device),
            words.scale,
            weight=sampler.weights[name].to(features.device),
            rest=rest,
            left_out=left_out.get(name, ()),
        )
        total = total + loss * len(places) / len(features)
    return total


def _number(sentence: str | None) -> int:
    """The same for the same sentence, in every process."""
    return int.from_bytes(hashlib.sha256(str(sentence).encode()).digest()[:8], "little", signed=True)


def _skewed(rng: np.random.Generator, count: int) -> int:
    """The first name half of the time, else any."""
    return 0 if rng.random() < 0.5 else int(rng.integers(count))


def _normalised(pixels: Tensor, backbone: ClipBackbone) -> Tensor:
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last).to(backbone.device)
