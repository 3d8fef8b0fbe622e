"""CLIP's two towers (https://arxiv.org/abs/2103.00020), with the names and the numbers of transformers.

Their own modules, because importing transformers takes longer than segmenting a small scene.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.kernels._dispatch import wants_gradient
from earthwords.models.clip.config import ClipConfig, TextConfig, TowerConfig, VisionConfig
from earthwords.models.clip.conv_trunk import build_trunk


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": _quick_gelu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}
LARGEST = 2
"""An `eos_token_id` that stands for the largest id of a text, as in OpenAI's files
(https://github.com/huggingface/transformers/pull/24773)."""


class ClipAttention(nn.Module):
    """Attention of many heads."""

    def __init__(self, config: TowerConfig, *, causal: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, self.causal, self.dropout = config.num_attention_heads, causal, config.attention_dropout
        self.scale = float((width // self.num_heads) ** -0.5)
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(self._context(q, k, v).transpose(1, 2).flatten(2))

    def _context(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Written out for a gradient: of short sequences that is faster than the gradient of the fused kernel."""
        if not wants_gradient(q, k, v):
            return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        weights = q @ k.transpose(-2, -1) * self.scale
        if self.causal:
            later = torch.ones(weights.shape[-2:], dtype=torch.bool, device=weights.device).triu(1)
            weights = weights.masked_fill(later, float("-inf"))
        weights = weights.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
        return F.dropout(weights, self.dropout, self.training) @ v


class ClipMlp(nn.Module):
    """The feed-forward network of a block."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        if config.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act {config.hidden_act!r} is unknown; known are {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class ClipBlock(nn.Module):
    """`(batch, token, width)` to the same."""

    def __init__(self, config: TowerConfig, *, causal: bool) -> None:
        super().__init__()
        self.self_attn = ClipAttention(config, causal=causal)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ClipMlp(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class ClipEncoder(nn.Module):
    """The blocks of a tower."""

    def __init__(self, config: TowerConfig, *, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ClipBlock(config, causal=causal) for _ in range(config.num_hidden_layers))


def _table(rows: int, width: int) -> nn.Embedding:
    """Nothing is drawn, for which PyTorch would load its compiler on the device `meta`: seconds."""
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)


class PatchEmbeddings(nn.Module):
    """What the tower that looks begins with; `ClipBackbone` puts it together."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = (
            nn.Conv2d(config.num_channels, width, patch, patch, bias=False)
            if config.trunk is None
            else build_trunk(**config.trunk, dim=width)
        )
        self.position_embedding = _table((config.image_size // patch) ** 2 + 1, width)


class VisionTower(nn.Module):
    """The tower that looks."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = PatchEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = ClipEncoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class TokenEmbeddings(nn.Module):
    """Vectors of tokens and of their places."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = _table(config.vocab_size, config.hidden_size)
        self.position_embedding = _table(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextStates(NamedTuple):
    """What the tower that reads gives."""

    last_hidden_state: Tensor
    """`(text, token, width)`."""
    pooler_output: Tensor
    """`(text, width)`: at the end token."""


class TextTower(nn.Module):
    """The tower that reads; attention is causal."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TokenEmbeddings(config)
        self.encoder = ClipEncoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor) -> TextStates:
        x = self.embeddings(ids)
        for layer in self.encoder.layers:
            x = layer(x)
        x = self.final_layer_norm(x)
        return TextStates(x, x[torch.arange(len(x), device=x.device), self.end_of(ids)])

    def end_of(self, ids: Tensor) -> Tensor:
        """`(text,)`: the place at which each is read."""
        end = self.config.eos_token_id
        return (ids if end == LARGEST else (ids == end).int()).argmax(dim=-1)


class Clip(nn.Module):
    """Both towers, or the one that looks; weights are empty until they are loaded, or `initialise` draws them."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        vision, text = config.vision_config, config.text_config
        if text is not None:
            self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
            self.text_model = TextTower(text)
        self.vision_model = VisionTower(vision)
        self.visual_projection = nn.Linear(vision.hidden_size, config.projection_dim, bias=False)
        if text is not None:
            self.text_projection = nn.Linear(text.hidden_size, config.projection_dim, bias=False)


@torch.no_grad()
def initialise(model: Clip) -> None:
    """Draw the weights as OpenAI's CLIP did, but for a convolutional trunk, which has drawn its own.

    See https://github.com/openai/CLIP/blob/main/clip/model.py; the widths of the noise are those of transformers.
    """
    towers: list[VisionTower | TextTower] = [model.vision_model]
    if model.config.text_config is not None:
        towers.append(model.text_model)
    for tower in towers:
        for name, module in tower.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=_noise(name.rpartition(".")[2], tower.config))
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
    embeddings, width = model.vision_model.embeddings, model.config.vision_config.hidden_size
    nn.init.normal_(embeddings.class_embedding, std=width**-0.5)
    if isinstance(embeddings.patch_embedding, nn.Conv2d):
        nn.init.normal_(embeddings.patch_embedding.weight, std=0.02)
    for name, child in model.named_children():
        if name.endswith("_projection") and isinstance(child, nn.Linear):
            nn.init.normal_(child.weight, std=child.in_features**-0.5)


def _noise(name: str, config: TowerConfig) -> float:
    """Standard deviation of the weights of a layer at the beginning."""
    width, depth = config.hidden_size, config.num_hidden_layers
    if name in ("q_proj", "k_proj", "v_proj", "fc2"):
        return float(width**-0.5 * (2 * depth) ** -0.5)
    return float({"out_proj": width**-0.5, "fc1": (2 * width) ** -0.5}.get(name, 0.02))
