"""Fine-tuning of a dual encoder itself on masks with class words, with no head: for many labels of one's own.

The loss is that of `train clip` on regions: cosines of dense features, read as the preset reads them, and words of the
classes, balanced over classes. Batch norms stay as they are, since the batches are small.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from earthwords.errors import UsageError
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.clip.towers import Clip
from earthwords.models.weights.table import WEIGHTS
from earthwords.presets import SegmentPreset
from earthwords.text.templates import TEMPLATES
from earthwords.training.adapt import LORA_TARGETS, merge_lora
from earthwords.training.batches import Sampler
from earthwords.training.contrastive import ContrastiveBatch, ContrastiveTask, Objective
from earthwords.training.heads.preset_file import from_anywhere, write_preset
from earthwords.training.initialise import store

LEARN = ("lora", "image", "all")


class TunedEncoder(nn.Module):
    """A dual encoder of which a part learns; always in evaluation mode."""

    def __init__(self, backbone: ClipBackbone, *, learn: str, rank: int = 8, blocks: int = 4, seed: int = 0) -> None:
        """
        Args:
            learn: `lora`: low-rank additions beside the attention of the image tower's last blocks; `image`: the image
                tower; `all`: both towers and the temperature.
            rank: of the additions.
            blocks: how many blocks, at most all, get them.
            seed: of what the additions begin with.

        Raises:
            UsageError: there is no text tower, so no words to learn.
        """
        super().__init__()
        if not backbone.reads:
            raise UsageError(f"{backbone.weights_id} has no text tower, so it cannot learn words.")
        backbone.check_clip("Fine-tuning the towers")
        self.backbone, self.kind = backbone, learn
        backbone.model.requires_grad_(learn == "all")
        if learn == "image":
            backbone.model.vision_model.requires_grad_(True)
            backbone.model.visual_projection.requires_grad_(True)
        if learn == "lora":
            _add_lora(backbone.model, rank=rank, blocks=blocks, seed=seed)

    @property
    def learned(self) -> frozenset[str]:
        """Names of the state that training changes."""
        return frozenset(name for name, parameter in self.named_parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> TunedEncoder:
        super().train(mode)
        self.backbone.eval()
        return self


class TunedTask(ContrastiveTask):
    """Regions alone, read as the preset reads them; see `ContrastiveTask`."""

    def __init__(
        self, sampler: Sampler, objective: Objective, method: DenseMethod, *, settings: Mapping[str, str]
    ) -> None:
        super().__init__(sampler, replace(objective, batch_size=0), settings={**settings, "method": str(method)})
        self.method = method

    def draw(self, rng: np.random.Generator) -> ContrastiveBatch:
        """The batch that this random generator stands for."""
        return replace(super().draw(rng), method=self.method)

    def losses(self, model: TunedEncoder, batch: ContrastiveBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """The loss of regions."""
        return {"region": super().losses(model.backbone, batch)["region"]}

    def _encoded(
        self, backbone: ClipBackbone, pixels: Tensor, method: DenseMethod, images: int
    ) -> tuple[Tensor, Tensor]:
        values = backbone.encode_dense(pixels, method).values
        return values.new_zeros((images, backbone.dim)), values


def deliver(net: TunedEncoder, row: SegmentPreset, out: Path, *, encoder: str, preset: str) -> None:
    """Write the encoder, additions made part of its weights, and last the preset that names it.

    Args:
        row: the preset that it began from.
        out: folder.
        encoder: name of the folder in it.
        preset: name of the TOML file in it.
    """
    if net.kind == "lora":
        merge_lora(net.backbone)
    store(net.backbone, out / encoder)
    named: dict[str, Container[str]] = {"upsampler_weights": WEIGHTS, "templates": TEMPLATES}
    own: dict[str, object] = {"name": f"{row.name}-tuned", "weights": f"./{encoder}"}
    for field in fields(SegmentPreset):
        value = getattr(row, field.name)
        if value != field.default and field.name not in (*own, "thresholds", "paper", "note", "activation"):
            own[field.name] = from_anywhere(value, named[field.name]) if field.name in named else value
    write_preset(out / preset, own)


def _add_lora(model: Clip, *, rank: int, blocks: int, seed: int) -> None:
    """By peft, in place, at scale 2 as `adapt.add_lora`."""
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    count = len(model.vision_model.encoder.layers)
    numbers = "|".join(str(i) for i in range(max(0, count - blocks), count))
    targets = rf"vision_model\.encoder\.layers\.({numbers})\.self_attn\.({'|'.join(LORA_TARGETS)})"
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, lora_dropout=0.0)
    inject_adapter_in_model(config, model)
