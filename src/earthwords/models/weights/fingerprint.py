"""Hashes of weights: what was computed with others is never mistaken for one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from earthwords.models.clip.model import ClipBackbone

TOWERS = {
    "vision": (("vision_model.", "visual_projection."), "vision_config"),
    "text": (("text_model.", "text_projection."), "text_config"),
}
_SETTINGS = ("hidden_act", "num_attention_heads", "eos_token_id", "layer_norm_eps")
"""What changes a tower's vectors without showing in its weights."""


def weights_hash(state: Mapping[str, Tensor], *settings: Any) -> str:
    """24 hexadecimal digits of names and bytes of tensors, in any order, and of the `repr` of what else matters."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:24]


def tower_hash(backbone: ClipBackbone, tower: str) -> str:
    """Of one of the `TOWERS` and of its settings."""
    prefixes, config = TOWERS[tower]
    settings = getattr(backbone.model.config, config)
    state = {name: value for name, value in backbone.model.state_dict().items() if name.startswith(prefixes)}
    return weights_hash(state, *(getattr(settings, name, None) for name in _SETTINGS))
