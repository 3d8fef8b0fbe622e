"""Encoders that a network for change stands on: the image tower of a CLIP, SAM 2's, or a DINO's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from earthwords.errors import UsageError, WeightsError
from earthwords.files.reading import read_json
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.dino import DinoBackbone, load_dino
from earthwords.models.sam.author_names2 import is_sam2
from earthwords.models.sam.hiera import HieraBackbone
from earthwords.models.sam.load import SECOND, sam2_of_authors, sam2_of_folder
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.fingerprint import tower_hash, weights_hash
from earthwords.models.weights.table import fetch, find, load_clip

Encoder = ClipBackbone | DinoBackbone | HieraBackbone
WORDLESS = "a SAM 2, a DINO, a DINOv2 or a DINOv3"
_DINO = ("vit", "dinov2", "dinov3_vit")
"""What the configurations of DINO's folders call themselves."""


def load_encoder(
    name: str,
    *,
    offline: bool = False,
    device: str | torch.device = "cpu",
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> Encoder:
    """An encoder by a name of the table, a Hugging Face id, a folder or a checkpoint file; what lies there says which.

    Raises:
        WeightsError, UsageError: unknown, unreachable, unreadable or unfitting weights.
    """
    spec = find(name)
    path = fetch(spec, offline=offline, report=report)
    kind = _kind(path)
    if kind in _DINO:
        return load_dino(name, offline=offline, device=device)
    if kind in SECOND:
        return HieraBackbone(sam2_of_folder(path), weights_id=spec.name).to(device)
    if kind == "sam":
        raise WeightsError(f"{name} is a SAM of the first kind; a network for change stands on a CLIP, {WORDLESS}.")
    if path.is_file() and path.suffix in (".pt", ".pth"):
        state = read_state(path)
        if is_sam2(state):
            return HieraBackbone(sam2_of_authors(state, path=path), weights_id=spec.name).to(device)
    return load_clip(name, offline=offline, device=device, report=report)


def _kind(path: Path) -> str | None:
    """What a folder's `config.json` calls itself; None of a file, or where it cannot be read."""
    try:
        told = read_json(path / "config.json") if path.is_dir() else {}
        return str(told.get("model_type"))
    except (OSError, ValueError, AttributeError, UsageError):
        return None


def tower_of(encoder: Encoder) -> nn.Module:
    """The part that looks at images."""
    tower: nn.Module = encoder.model.vision_model if isinstance(encoder, ClipBackbone) else encoder.model
    return tower


def blocks_of(encoder: Encoder) -> nn.ModuleList:
    """Its transformer blocks."""
    return encoder.model.vision_model.encoder.layers if isinstance(encoder, ClipBackbone) else encoder.blocks


def encoder_hash(encoder: Encoder) -> str:
    """24 hexadecimal digits of its weights and of what else decides its levels."""
    if isinstance(encoder, ClipBackbone):
        return tower_hash(encoder, "vision")
    config = encoder.model.config
    told = (getattr(config, name, None) for name in _SETTINGS)
    return weights_hash(encoder.model.state_dict(), type(encoder).__name__, encoder.mean, encoder.std, *map(str, told))


_SETTINGS = (
    "hidden_act", "layer_norm_eps", "num_attention_heads", "num_attention_heads_per_stage", "window_size_per_stage",
    "global_attention_blocks", "rope_theta",
)  # fmt: skip
"""What changes levels without showing in weights."""
