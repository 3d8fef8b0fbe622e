"""The settings of a SigLIP, with the names and the defaults of transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earthwords.models.clip.config import ClipConfig, TextConfig, VisionConfig, tower_settings

FIXED, FLEXIBLE = "siglip", "siglip2"
"""A `model_type`: images of one size (SigLIP, and SigLIP 2 of a fixed size), or of any shape (NaFlex)."""


@dataclass(kw_only=True)
class SiglipVisionConfig(VisionConfig):
    """Of the tower that looks; by default ViT-B/16."""

    patch_size: int = 16
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    num_patches: int = 256
    """Of NaFlex: places of its square table of positions."""
    resize: str = FIXED
    """How positions come to another grid, a name of `models.siglip.towers.RESIZE`."""


@dataclass(kw_only=True)
class SiglipTextConfig(TextConfig):
    """Of the tower that reads."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    vocab_size: int = 32000
    max_position_embeddings: int = 64
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    projection_size: int | None = None
    """Of the joint space; None: `hidden_size`."""


@dataclass(kw_only=True)
class SiglipTowers(ClipConfig):
    """Of both towers."""

    vision_config: VisionConfig = field(default_factory=SiglipVisionConfig)
    text_config: TextConfig | None = field(default_factory=SiglipTextConfig)


def siglip_settings(table: Any) -> SiglipTowers:
    """The settings that a `config.json` holds.

    Raises:
        ValueError: it holds no settings of a SigLIP.
    """
    if not isinstance(table, Mapping):
        raise ValueError("it is no table")
    vision = tower_settings(SiglipVisionConfig, table, "vision")
    vision.resize = str(table.get("model_type", FIXED))
    if vision.resize == FLEXIBLE:
        vision.image_size = vision.patch_size * math.isqrt(vision.num_patches)
    text = tower_settings(SiglipTextConfig, table, "text")
    return SiglipTowers(vision_config=vision, text_config=text, projection_dim=vision.hidden_size)
