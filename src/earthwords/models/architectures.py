"""CLIP architectures that are trained from scratch, as rows of transformers' configuration."""

from __future__ import annotations

from typing import Any

from transformers import CLIPConfig

from earthwords.errors import unknown

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # Four convolutional levels to stride 16, then two CLIP blocks: see docs/models/tiny.md.
    "tiny": {
        "dim": 256,
        "vision": {
            "hidden_size": 288,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "patch_size": 16,
            "image_size": 128,
            "trunk": {"widths": [32, 64, 128, 256], "depths": [0, 1, 2, 2]},
        },
        "text": {
            "hidden_size": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 48,
        },
        "vocab_size": 4096,
    },
    # For tests: the same layout at toy size.
    "micro": {
        "dim": 16,
        "vision": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 16,
            "image_size": 64,
            "trunk": {"widths": [8, 8, 16, 16], "depths": [0, 0, 0, 1]},
        },
        "text": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 24,
        },
        "vocab_size": 640,
    },
}


def clip_config(name: str, *, vocab_size: int) -> CLIPConfig:
    """The configuration of an architecture; end and start token are the last two of the vocabulary."""
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    row = ARCHITECTURES[name]
    common = {"hidden_act": "gelu", "projection_dim": row["dim"]}
    towers = {
        tower: {**row[tower], **common, "intermediate_size": 4 * row[tower]["hidden_size"]}
        for tower in ("vision", "text")
    }
    ends = {"bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1, "pad_token_id": 0}
    text = {**towers["text"], **ends, "vocab_size": vocab_size}
    return CLIPConfig(text_config=text, vision_config=towers["vision"], projection_dim=row["dim"])
