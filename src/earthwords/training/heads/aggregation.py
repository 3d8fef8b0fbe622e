"""Training of an aggregation on masks with class words, over a dual encoder that stays as it is or learns a little.

As GSNet and RSKT-Seg do it (https://arxiv.org/abs/2412.19492, https://arxiv.org/abs/2509.12040): every class of the set
is asked for in every pixel, binary cross-entropy is the loss; of the encoder queries, values and positions of the image
tower may learn, at a hundredth of the rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from earthwords.data.manifests.captions import IGNORE
from earthwords.models.aggregation.head import CostHead, store_head
from earthwords.models.aggregation.model import aggregation_loss
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.clip.words import encode_words
from earthwords.models.weights.table import WEIGHTS
from earthwords.presets import SegmentPreset
from earthwords.text.templates import TEMPLATES
from earthwords.training.batches import RegionBatch, Sampler
from earthwords.training.heads.preset_file import from_anywhere, write_preset
from earthwords.training.initialise import store

UNLOCKED = ("q_proj", "v_proj", "position_embedding")
"""Parts of the image tower that learn when it is unlocked."""
SLOW = "backbone."
"""Beginning of the names that learn at a share of the rate."""


class Sees(Protocol):
    """Whatever looks at normalised pixels."""

    @property
    def mean(self) -> Sequence[float]: ...
    @property
    def std(self) -> Sequence[float]: ...
    @property
    def device(self) -> torch.device: ...


class HeadedEncoder(nn.Module):
    """A dual encoder with a head; the encoder is always in evaluation mode, so its batch norms stay as they are."""

    def __init__(self, backbone: ClipBackbone, head: CostHead, *, unlock: bool = False) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.unlocked = unlock
        for name, parameter in backbone.named_parameters():
            own = "vision_model." in name and any(part in name for part in UNLOCKED)
            parameter.requires_grad_(unlock and own)

    @property
    def learned(self) -> frozenset[str]:
        """Names of the state that training changes."""
        changed = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return frozenset(changed | {f"head.{name}" for name in self.head.state_dict()})

    def train(self, mode: bool = True) -> HeadedEncoder:
        super().train(mode)
        self.backbone.eval()
        return self


@dataclass(frozen=True, kw_only=True)
class HeadObjective:
    """What a step draws and how pixels count."""

    batch_size: int = 16
    """Crops a step."""
    sides: tuple[int, ...] = (128,)
    """Side of the crops, pixels; one is drawn a step."""
    unlabelled: str = "left-out"
    """Pixels that nobody labelled: `left-out`, or `absent` (in the authors' code they teach every class that it is not
    there)."""


@dataclass(frozen=True, kw_only=True)
class HeadBatch:
    """Crops, and which synonym stands for each class of a set."""

    regions: RegionBatch
    words: dict[str, list[str]]
    classes: dict[str, Tensor]
    """Set -> `(class of the manifest,)` int64: its place among the words; -1 for "none of the others"."""
    rivals: dict[str, Tensor]
    """Set -> `(word,)` bool: no mask has it, so that "none of the others" may show it."""


class AggregationTask:
    """Draws the batch of a step and computes its loss."""

    def __init__(
        self,
        sampler: Sampler,
        objective: HeadObjective,
        backbone: ClipBackbone,
        templates: Sequence[str],
        *,
        settings: Mapping[str, str],
    ) -> None:
        """`settings`: what else a resumed run must have in common with the one that began."""
        self.sampler, self.objective = sampler, objective
        names = sorted({n for s in sampler.masked for group in sampler.manifest.classes[s] for n in group})
        vectors = encode_words(backbone, names, templates).clone()
        self.vectors = dict(zip(names, vectors, strict=True))
        options = {name: str(value) for name, value in asdict(objective).items()}
        self.settings: Mapping[str, str] = {**options, **sampler.settings, **settings}

    def draw(self, rng: np.random.Generator) -> HeadBatch:
        """The batch that this random generator stands for; of synonyms the first one half of the time."""
        side = int(rng.choice(self.objective.sides))
        regions = self.sampler.draw_regions(rng, self.objective.batch_size, side)
        groups = {name: self.sampler.manifest.classes[name] for name in regions.sets}
        named = {name: [group for group in found if group] for name, found in groups.items()}
        words = {name: [_one_of(group, rng) for group in found] for name, found in named.items()}
        classes = {name: places(found) for name, found in groups.items()}
        rivals = {name: (self.sampler.weights[name] == 0)[found >= 0] for name, found in classes.items()}
        return HeadBatch(regions=regions, words=words, classes=classes, rivals=rivals)

    def losses(self, model: HeadedEncoder, batch: HeadBatch) -> dict[str, Tensor]:
        """The mean over all crops; sets have words of their own."""
        device = model.backbone.device
        pixels = normalised(batch.regions.pixels, model.backbone)
        total = torch.zeros((), device=device)
        for name, chosen in batch.regions.sets.items():
            with nullcontext() if model.unlocked else torch.no_grad():
                seen = model.head.see(model.backbone, pixels[chosen])
            words = torch.stack([self.vectors[word] for word in batch.words[name]]).to(device)
            target = renumbered(batch.regions.target[chosen], batch.classes[name]).to(device)
            logits, rivals = model.head(seen, words).float(), batch.rivals[name].to(device)
            left_out = self.objective.unlabelled == "left-out"
            loss = aggregation_loss(logits, target, ignored=IGNORE, left_out=left_out, rivals=rivals)
            total = total + loss * len(chosen) / len(pixels)
        return {"bce": total}


def places(groups: Sequence[Sequence[str]]) -> Tensor:
    """`(class,)` int64: place of each class among those that have a name; -1 for one that has none."""
    named = torch.tensor([bool(group) for group in groups])
    return torch.where(named, named.cumsum(0) - 1, -1)


def renumbered(target: Tensor, classes: Tensor) -> Tensor:
    """Classes of a manifest as places among words; what is ignored stays."""
    table = torch.full((256,), IGNORE)
    table[: len(classes)] = classes
    return table[target]


def normalised(pixels: Tensor, backbone: Sees) -> Tensor:
    """Pixels `(image, 3, H, W)` of 0..1 as the encoder takes them."""
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
    return ((pixels - mean) / std).to(backbone.device)


def _one_of(names: Sequence[str], rng: np.random.Generator) -> str:
    return names[0] if rng.random() < 0.5 else names[int(rng.integers(len(names)))]


def deliver(
    net: HeadedEncoder,
    row: SegmentPreset,
    out: Path,
    *,
    notes: Mapping[str, object],
    threshold: float,
    encoder: str,
    preset: str,
) -> None:
    """Write the head, the encoder if it learned, and last the preset that names them.

    Args:
        row: the preset that it began from.
        out: folder.
        notes: for the head's card.
        threshold: of the preset.
        encoder: name of the encoder's folder in it.
        preset: name of the TOML file in it.
    """
    weights = from_anywhere(row.weights, WEIGHTS)
    if net.unlocked:
        store(net.backbone, out / encoder)
        weights = f"./{encoder}"
    store_head(net.head, out, net.backbone, notes=dict(notes))
    kept = ("attention", "tile_size", "overlap", "blend", "gsd", "activation")
    own = {
        "name": f"{row.name}-{net.head.settings.aggregator}",
        "weights": weights,
        "head": ".",
        "threshold": threshold,
        "templates": from_anywhere(row.templates, TEMPLATES),
        **{name: getattr(row, name) for name in kept},
    }
    write_preset(out / preset, own)
