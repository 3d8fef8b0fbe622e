"""What windows take while they are computed."""

from __future__ import annotations

from earthwords.models.clip.model import ClipBackbone


def tokens_of(backbone: ClipBackbone, tile: int) -> int:
    """Of a window, the class token among them."""
    return (tile // backbone.patch + 1) ** 2


def clip_bytes(backbone: ClipBackbone, tile: int, *, upsampled: int) -> int:
    """Memory of a window in a CLIP, about.

    Args:
        upsampled: channels at the window's resolution that the upsampler holds.
    """
    tokens, vision = tokens_of(backbone, tile), backbone.model.vision_model.config
    layers = 4 * tokens * (4 * vision.hidden_size + 2 * vision.intermediate_size)
    attention = 3 * 4 * vision.num_attention_heads * tokens**2
    return int(layers + attention + 4 * upsampled * int((tile + 16) ** 2 * 1.5))
