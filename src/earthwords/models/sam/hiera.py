"""The image encoder of SAM 2 (https://arxiv.org/abs/2408.00714, Hiera: https://arxiv.org/abs/2306.00989) without its
neck and decoder: four levels for decoders of others."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Sam2Model

from earthwords.models.sam.predictor import Sam2Predictor


class HieraBackbone(nn.Module):
    """A trunk of windows that grow coarser from stage to stage."""

    guides_are_fine = True
    """Each level has half the resolution of the one before."""
    mean, std = Sam2Predictor.mean, Sam2Predictor.std

    def __init__(self, model: Sam2Model, *, weights_id: str = "unnamed") -> None:
        super().__init__()
        self.model: Any = model.vision_encoder.backbone.eval()
        self.weights_id = weights_id

    @property
    def patch(self) -> int:
        """Pixels that a side is a multiple of: whole windows of positions, and a whole cell of the coarsest level."""
        config = self.model.config
        coarsest = config.query_stride[0] ** config.num_query_pool_stages
        return int(config.patch_stride[0] * math.lcm(coarsest, config.window_size_per_stage[0]))

    @property
    def device(self) -> torch.device:
        found: torch.device = self.model.pos_embed.device
        return found

    @property
    def blocks(self) -> nn.ModuleList:
        """Its transformer blocks."""
        found: nn.ModuleList = self.model.blocks
        return found

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of the maps of `encode_levels`."""
        return tuple(self.model.config.embed_dim_per_stage)

    def encode_levels(self, pixels: Tensor) -> list[Tensor]:
        """What leaves each stage, the finest first: `(batch, channel, row, col)` at 1/4 to 1/32 of the pixels.

        Args:
            pixels: `(batch, 3, H, W)`, normalised, sides multiples of `patch`.
        """
        return [level.permute(0, 3, 1, 2) for level in self.model(pixels).intermediate_hidden_states]
