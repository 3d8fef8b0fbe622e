"""A network for change: an encoder that both dates share, exchange of levels, a decoder that both share.

PeftCD (https://arxiv.org/abs/2509.09572): the encoder is a foundation model that stays as it is but for a few
parameters; each branch sees a mixture of both dates and both predict the same map of changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from earthwords.errors import UsageError, unknown
from earthwords.models.change.adapter import adapt_blocks
from earthwords.models.change.encoders import Encoder, blocks_of, tower_of
from earthwords.models.change.exchange import exchange_layers
from earthwords.models.change.fusion_decoder import FusionDecoder
from earthwords.models.change.stack_decoder import FeaturePyramid, StackDecoder

TUNINGS = ("lora", "adapter", "ia3", "frozen", "all")
"""What of the encoder learns: low-rank additions, small networks before the blocks, three rescaling vectors a block
(https://arxiv.org/abs/2205.05638), nothing, or all of the image tower."""
LORA: dict[str, Any] = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1}
"""The authors'."""
TARGETS = ("q_proj", "k_proj", "v_proj", "qkv", "query", "key", "value")
"""Queries, keys and values, by the names that encoders and versions of transformers have for their layers; the authors'
encoders, and SAM 2's here, have them in one layer `qkv`."""
_MOST = 4096


@dataclass(frozen=True, kw_only=True)
class ChangeSettings:
    """How a network is made; what the encoder gives decides the rest."""

    tuning: str = "lora"
    """One of `TUNINGS`."""
    width: int = 64
    """Channels of the decoder; the authors' have 256."""

    def __post_init__(self) -> None:
        if self.tuning not in TUNINGS:
            raise unknown("tuning", self.tuning, TUNINGS)
        if not 1 <= self.width <= _MOST:
            raise UsageError(f"The width of a decoder is 1 to {_MOST}, got {self.width}.")


class ChangeNetwork(nn.Module):
    """Images of two dates to logits of two classes, unchanged and changed, once from each date."""

    def __init__(self, backbone: Encoder, settings: ChangeSettings) -> None:
        """The encoder is changed in place as `settings.tuning` asks.

        Raises:
            UsageError: the encoder has too few levels.
        """
        super().__init__()
        self.settings, self.backbone = settings, backbone
        widths = backbone.level_widths
        if len(widths) < 3 or (backbone.guides_are_fine and len(widths) < 4):
            raise UsageError(f"{backbone.weights_id} has {len(widths)} levels, too few for a decoder of change.")
        _tune(backbone, settings.tuning)
        if backbone.guides_are_fine:
            self.pyramid: nn.Module = FeaturePyramid(widths, settings.width)
            self.decoder: nn.Module = StackDecoder(settings.width)
        else:
            self.pyramid, self.decoder = nn.Identity(), FusionDecoder(widths, settings.width)

    @property
    def learned(self) -> frozenset[str]:
        """Names of the state that training changes, statistics of the decoder's norms among them."""
        own = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return frozenset(own | {name for name in self.state_dict() if not name.startswith("backbone.")})

    def train(self, mode: bool = True) -> ChangeNetwork:
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # statistics of the encoder stay
        return self

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(image, 2, H, W)` from each date.

        Args:
            before, after: normalised pixels `(image, 3, H, W)`, sides multiples of the encoder's patch.
        """
        return self.decide(*self.levels(before, after), size=(before.shape[-2], before.shape[-1]))

    def levels(self, before: Tensor, after: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What the encoder sees in either date, finest first, each `(image, channel, row, col)`; see `forward`."""
        halves = [level.chunk(2) for level in self.backbone.encode_levels(torch.cat([before, after]))]
        return [one for one, _ in halves], [other for _, other in halves]

    def decide(
        self, before: Sequence[Tensor], after: Sequence[Tensor], *, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Logits `(image, 2, *size)` from the levels of each date."""
        first, second = exchange_layers(before, after)
        return self._decode(first, size), self._decode(second, size)

    def probability(self, before: Tensor, after: Tensor) -> Tensor:
        """Of change, `(image, H, W)`: the mean of both branches' logits, as the authors decide."""
        first, second = self(before, after)
        return ((first + second) / 2).softmax(dim=1)[:, 1]

    def _decode(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        return self.decoder(self.pyramid(levels), size)


def _tune(backbone: Encoder, tuning: str) -> None:
    """Freeze the encoder but for what learns, which is added in place."""
    tower = tower_of(backbone)
    backbone.requires_grad_(False)
    if tuning == "all":
        for name, parameter in tower.named_parameters():
            parameter.requires_grad_("mask_token" not in name)  # which nothing here asks
    elif tuning == "adapter":
        adapt_blocks(blocks_of(backbone))
    elif tuning in ("lora", "ia3"):
        from peft import IA3Config, LoraConfig, inject_adapter_in_model

        own = {name.rpartition(".")[2] for name, module in tower.named_modules() if isinstance(module, nn.Linear)}
        names = [name for name in TARGETS if name in own]
        config = (
            LoraConfig(**LORA, target_modules=names)
            if tuning == "lora"
            else IA3Config(target_modules=names, feedforward_modules=[])
        )
        inject_adapter_in_model(config, tower)
