"""A small random CLIP in the layouts that checkpoints come in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from tests.models import layouts

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
    return layouts.openai_state(clip)
