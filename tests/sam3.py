"""A SAM 3 of random weights, small enough that a window takes some milliseconds, in the layout of `facebook/sam3`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Sam3Config, Sam3Model

from earthwords.models.transformers_config import without_remarks
from tests.micro import tokenizer_of

SIDE = 64
WORDS = ("building", "house", "roof", "road", "street", "water", "trees", "background", "shed", "ship")
WORDS_MATTER = ("cross_attn.v_proj.weight", "cross_attn.o_proj.weight", "token_embedding.weight")


def sizes(vocab: int) -> dict[str, Any]:
    """The settings of the network."""
    detector = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 48, "image_size": SIDE, "patch_size": 8, "window_size": 4, "pretrain_image_size": 32,
        "global_attn_indexes": [2],
    }  # fmt: skip
    text = {
        "model_type": "clip_text_model", "vocab_size": vocab, "hidden_size": 32, "intermediate_size": 128,
        "projection_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 8,
        "hidden_act": "gelu", "bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": 0,
    }  # fmt: skip
    return {
        "model_type": "sam3",
        "vision_config": {
            "backbone_config": backbone, "fpn_hidden_size": 32, "scale_factors": [4.0, 2.0, 1.0, 0.5],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        "text_config": text,
        "geometry_encoder_config": {**detector, "num_layers": 1},
        "detr_encoder_config": {**detector, "num_layers": 2},
        "detr_decoder_config": {**detector, "num_layers": 2, "num_queries": 6},
        "mask_decoder_config": {"hidden_size": 32, "num_attention_heads": 4},
    }  # fmt: skip


def write_sam3(folder: Path, *, seed: int = 5, video: bool = True, presence: float = 1.5) -> Path:
    """A folder with the names of files and tensors that the hub has.

    Args:
        presence: added to how sure it is that a thing is there.
        video: as it is published, with what follows things through videos; else the detector alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(WORDS, context=8)
    config = sizes(tokenizer.highest + 1)
    generator = torch.Generator().manual_seed(seed)
    with without_remarks():
        model = Sam3Model(Sam3Config(**config))
    state = {}
    for name, value in model.state_dict().items():
        drawn = torch.randn(value.shape, generator=generator)
        if value.dim() > 1:
            state[name] = drawn * ((5 if name.endswith(WORDS_MATTER) else 1.6) / value[0].numel() ** 0.5)
        else:
            state[name] = 0.2 * drawn + float(name.endswith("weight"))
    state["detr_decoder.presence_head.layer3.bias"] += presence
    if video:
        state = {f"detector_model.{name}": value for name, value in state.items()}
        state["tracker_model.memory.weight"] = torch.zeros(2, 2)
        config = {
            "model_type": "sam3_video",
            "detector_config": config,
            "tracker_config": {"model_type": "sam3_tracker"},
        }
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": {"image_mean": [0.5] * 3}}))
    tokenizer.save(folder)
    return folder
