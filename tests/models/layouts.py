"""The weights of a small CLIP as others store them, and as we hold them."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPModel

from earthwords.models.clip.config import from_json
from earthwords.models.clip.convert import filled
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.clip.towers import Clip


def ours(clip: CLIPModel) -> Clip:
    """Our modules with the weights of transformers'."""
    return filled(from_json(clip.config.to_dict()), clip.state_dict())


def hidden_states(backbone: ClipBackbone, pixels: Tensor) -> list[Tensor]:
    """Tokens that enter each block of the image tower, and what leaves the last."""
    states = [backbone._embed(pixels)[0]]
    for layer in backbone.model.vision_model.encoder.layers:
        states.append(layer(states[-1]))
    return states


def openai_state(clip: CLIPModel) -> dict[str, Tensor]:
    """The same weights under OpenAI's names."""
    state, layers = clip.state_dict(), clip.config.vision_config.num_hidden_layers
    out: dict[str, Tensor] = {}
    for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
        for i in range(layers):
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


class Scripted(torch.nn.Module):
    """Parameters under nested names, as OpenAI's archives have them."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in state.items():
            *path, leaf = name.split(".")
            module: torch.nn.Module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_parameter(leaf, torch.nn.Parameter(value))
        self.register_buffer("input_resolution", torch.tensor(64))

    def forward(self, x: Tensor) -> Tensor:
        return x
