"""Architectures as rows of transformers' configuration: CLIPs that are trained from scratch, and referring models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from earthwords.errors import unknown
from earthwords.models.clip.config import ClipConfig, TextConfig, VisionConfig

if TYPE_CHECKING:
    from transformers import Sam2Config, SamConfig, SiglipConfig

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # Four convolutional levels, the last two joined to tokens of 8 pixels, then two CLIP blocks: docs/models/tiny.md.
    "tiny": {
        "dim": 256,
        "vision": {
            "hidden_size": 288,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "patch_size": 8,
            "image_size": 128,
            "trunk": {"kind": "pyramid", "widths": [32, 64, 128, 256], "depths": [0, 1, 2, 2]},
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


def clip_config(name: str, *, vocab_size: int) -> ClipConfig:
    """The configuration of an architecture; end and start token are the last two of the vocabulary."""
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    row = ARCHITECTURES[name]
    vision, text = (
        {**row[tower], "hidden_act": "gelu", "intermediate_size": 4 * row[tower]["hidden_size"]}
        for tower in ("vision", "text")
    )
    ends: dict[str, Any] = {"bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1, "pad_token_id": 0}
    return ClipConfig(
        vision_config=VisionConfig(**vision),
        text_config=TextConfig(**text, **ends, vocab_size=vocab_size),
        projection_dim=row["dim"],
    )


_ENDS = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1}
_SIGLIP: dict[str, dict[str, Any]] = {
    # https://huggingface.co/google/siglip-so400m-patch14-384
    tower: {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        **own,
    }
    for tower, own in (
        ("vision_config", {"image_size": 384, "patch_size": 14}),
        ("text_config", {"vocab_size": 32_000, "max_position_embeddings": 64, **_ENDS}),
    )
}


def _small_sam(*, side: int, patch: int, width: int, layers: int, heads: int, dim: int, **other: Any) -> dict[str, Any]:
    """SAM's layout with towers of other sizes; weights begin as usual ones, which the published ones need not."""
    return {
        "vision_config": {
            "image_size": side,
            "patch_size": patch,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "output_channels": dim,
            "num_pos_feats": dim // 2,
            "initializer_range": 0.02,
            **other,
        },
        "prompt_encoder_config": {"image_size": side, "patch_size": patch, "hidden_size": dim},
        "mask_decoder_config": {
            "hidden_size": dim,
            "mlp_dim": 4 * dim,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": dim,
        },
    }


REFERRERS: dict[str, dict[str, Any]] = {
    # SAM's and SigLIP's own sizes: for random weights, and for checkpoints that hold everything.
    "rsrefseg-b": {"sam": {}, "siglip": _SIGLIP},
    "rsrefseg-l": {
        "sam": {
            "vision_config": {
                "hidden_size": 1024,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "global_attn_indexes": [5, 11, 17, 23],
            }
        },
        "siglip": _SIGLIP,
    },
    "rsrefseg2": {
        # https://huggingface.co/facebook/sam2.1-hiera-large, https://huggingface.co/google/siglip2-so400m-patch16-512
        "sam2": {
            "vision_config": {
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": 144,
                    "num_attention_heads": 2,
                    "blocks_per_stage": [2, 6, 36, 4],
                    "embed_dim_per_stage": [144, 288, 576, 1152],
                    "num_attention_heads_per_stage": [2, 4, 8, 16],
                    "window_size_per_stage": [8, 4, 16, 8],
                    "global_attention_blocks": [23, 33, 43],
                },
                "backbone_channel_list": [1152, 576, 288, 144],
            }
        },
        "siglip": {
            "vision_config": {**_SIGLIP["vision_config"], "image_size": 512, "patch_size": 16},
            "text_config": {**_SIGLIP["text_config"], "vocab_size": 256_000, "pad_token_id": 0, "eos_token_id": 1},
        },
    },
    # A convolutional stem to stride 8, which begins as that of `tiny`, then four blocks. Without relative positions
    # attention takes PyTorch's fused kernel: a third of the time at 1,024 tokens.
    "refseg-tiny": {
        "sam": _small_sam(
            side=256,
            patch=8,
            width=192,
            layers=4,
            heads=4,
            dim=128,
            window_size=8,
            global_attn_indexes=[3],
            use_rel_pos=False,
        ),
        "trunk": {"widths": [32, 64, 128], "depths": [0, 1, 2]},
        "words_side": 256,
    },
    # For tests: the same layout at toy size.
    "refseg-micro": {
        "sam": _small_sam(
            side=64, patch=8, width=32, layers=2, heads=2, dim=32, window_size=3, global_attn_indexes=[1]
        ),
        "trunk": {"widths": [8, 8, 16], "depths": [0, 0, 1]},
        "words_side": 64,
    },
}


def referrer(name: str) -> dict[str, Any]:
    """The row of a referring model's architecture."""
    if name not in REFERRERS:
        raise unknown("architecture", name, REFERRERS)
    return REFERRERS[name]


def sam_config(row: dict[str, Any]) -> SamConfig:
    """The configuration of a row's SAM."""
    from transformers import SamConfig

    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    return SamConfig(**{part: row["sam"].get(part, {}) for part in parts})


def sam2_config(row: dict[str, Any]) -> Sam2Config:
    """The configuration of a row's SAM 2."""
    from transformers import Sam2Config

    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    return Sam2Config(**{part: row["sam2"].get(part, {}) for part in parts})


def siglip_config(row: dict[str, Any]) -> SiglipConfig:
    """The configuration of a row's SigLIP."""
    from transformers import SiglipConfig

    return SiglipConfig(**row["siglip"])
