"""A small random CLIP in the layouts that checkpoints come in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

DIM, WIDTH, VOCAB = 16, 128, 640


@pytest.fixture(scope="session")
def clip() -> CLIPModel:
    """Two blocks a tower, patch 16, 64 px, heads of 64 as OpenAI's converter infers."""
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": WIDTH // 64,
        "projection_dim": DIM,
        "hidden_act": "quick_gelu",
    }
    config = CLIPConfig(
        vision_config={**tower, "patch_size": 16, "image_size": 64},
        text_config={
            **tower,
            "vocab_size": VOCAB,
            "max_position_embeddings": 24,
            "bos_token_id": VOCAB - 2,
            "eos_token_id": VOCAB - 1,
            "pad_token_id": 0,
        },
        projection_dim=DIM,
    )
    torch.manual_seed(5)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="session")
def openai_state(clip: CLIPModel) -> dict[str, Tensor]:
    """The same weights under OpenAI's names."""
    state = clip.state_dict()
    out: dict[str, Tensor] = {}
    for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
        for i in range(2):
            theirs, ours = f"{prefix}transformer.resblocks.{i}.", f"{tower}.encoder.layers.{i}."
            for kind in ("weight", "bias"):
                parts = [state[f"{ours}self_attn.{p}_proj.{kind}"] for p in "qkv"]
                out[f"{theirs}attn.in_proj_{kind}"] = torch.cat(parts)
                out[f"{theirs}attn.out_proj.{kind}"] = state[f"{ours}self_attn.out_proj.{kind}"]
                out[f"{theirs}ln_1.{kind}"] = state[f"{ours}layer_norm1.{kind}"]
                out[f"{theirs}ln_2.{kind}"] = state[f"{ours}layer_norm2.{kind}"]
                out[f"{theirs}mlp.c_fc.{kind}"] = state[f"{ours}mlp.fc1.{kind}"]
                out[f"{theirs}mlp.c_proj.{kind}"] = state[f"{ours}mlp.fc2.{kind}"]
    vision, text = "vision_model.", "text_model."
    for kind in ("weight", "bias"):
        out[f"visual.ln_pre.{kind}"] = state[f"{vision}pre_layrnorm.{kind}"]
        out[f"visual.ln_post.{kind}"] = state[f"{vision}post_layernorm.{kind}"]
        out[f"ln_final.{kind}"] = state[f"{text}final_layer_norm.{kind}"]
    out["visual.class_embedding"] = state[f"{vision}embeddings.class_embedding"]
    out["visual.conv1.weight"] = state[f"{vision}embeddings.patch_embedding.weight"]
    out["visual.positional_embedding"] = state[f"{vision}embeddings.position_embedding.weight"]
    out["visual.proj"] = state["visual_projection.weight"].T.contiguous()
    out["token_embedding.weight"] = state[f"{text}embeddings.token_embedding.weight"]
    out["positional_embedding"] = state[f"{text}embeddings.position_embedding.weight"]
    out["text_projection"] = state["text_projection.weight"].T.contiguous()
    out["logit_scale"] = state["logit_scale"]
    return {name: value.clone() for name, value in out.items()}
