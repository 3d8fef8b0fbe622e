"""SigLIP's two towers (https://arxiv.org/abs/2303.15343), with the names and the numbers of transformers.

Their blocks are CLIP's. What differs: patches have a bias, there is no class token and no norm before the first block,
texts see all of their tokens and are read at the last one, and a head of attention with a learned query pools the
image. That head's output is the joint space: there is no projection behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.kernels.linear import linear
from earthwords.models.clip.attention import ATTENTION, Heads
from earthwords.models.clip.config import ClipConfig
from earthwords.models.clip.towers import (
    Clip,
    ClipEncoder,
    ClipMlp,
    TextStates,
    TextTower,
    TokenEmbeddings,
    VisionTower,
)
from earthwords.models.siglip.config import FIXED, FLEXIBLE, SiglipTextConfig, SiglipTowers, SiglipVisionConfig


def bicubic(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions `(1, width, side, side)` to a grid, as transformers resizes those of images of a fixed size."""
    return F.interpolate(square, size=grid, mode="bicubic", align_corners=False)


def antialiased(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """The same of NaFlex."""
    return F.interpolate(square, size=grid, mode="bilinear", align_corners=False, antialias=True)


RESIZE: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {FIXED: bicubic, FLEXIBLE: antialiased}


def positions(table: Tensor, grid: tuple[int, int], rule: str) -> Tensor:
    """`(rows * cols, width)` of a square table `(side * side, width)`."""
    side = math.isqrt(len(table))
    if grid == (side, side):
        return table
    return RESIZE[rule](table.T.unflatten(1, (side, side))[None], grid)[0].flatten(1).T


class SiglipPatches(nn.Module):
    """What the tower that looks begins with."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, width, patch, patch)
        places = (config.image_size // patch) ** 2
        self.position_embedding = nn.Embedding.from_pretrained(torch.empty(places, width), freeze=False)


class HeadAttention(nn.Module):
    """The parameters of `torch.nn.MultiheadAttention`, which draws no numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)


class PoolingHead(nn.Module):
    """Attention of one learned query over all tokens; or of every token, by a method of `ATTENTION`."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.probe = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.attention = HeadAttention(config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ClipMlp(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(batch, token, width)` to `(batch, 1, width)`."""
        query = self._part(self.probe.expand(len(tokens), -1, -1), 0)
        context = F.scaled_dot_product_attention(query, self._part(tokens, 1), self._part(tokens, 2))
        return self._fed(self._joined(context))

    def dense(self, tokens: Tensor, grid: tuple[int, int], attention: str, *, fed: bool) -> Tensor:
        """As if the head looked for every token: `(batch, token, width)`.

        Args:
            attention: a name of `ATTENTION`; `maskclip` is what a token would give that is attended to alone.
            fed: with the head's feed-forward network and its residual connection.
        """
        q, k, v = (self._part(tokens, i) for i in range(3))
        found = self._joined(ATTENTION[attention](Heads(q=q, k=k, v=v, x=tokens, grid=grid)))
        return self._fed(found) if fed else found

    def _part(self, tokens: Tensor, i: int) -> Tensor:
        """Queries, keys or values, `(batch, head, token, width of a head)`."""
        weight, bias = self.attention.in_proj_weight.chunk(3)[i], self.attention.in_proj_bias.chunk(3)[i]
        return linear(tokens, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _joined(self, context: Tensor) -> Tensor:
        out: Tensor = self.attention.out_proj(context.transpose(1, 2).flatten(2))
        return out

    def _fed(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.layernorm(x))
        return out


class SiglipVisionTower(VisionTower):
    """The tower that looks."""

    config: SiglipVisionConfig

    def __init__(self, config: SiglipVisionConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.embeddings = SiglipPatches(config)  # type: ignore[assignment]
        self.encoder = ClipEncoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = PoolingHead(config)


class SiglipTextTower(TextTower):
    """The tower that reads: every token sees every other, padding too, and the last one says what was read."""

    def __init__(self, config: SiglipTextConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.embeddings = TokenEmbeddings(config)
        self.encoder = ClipEncoder(config, causal=False)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.projection_size or config.hidden_size)

    def forward(self, ids: Tensor) -> TextStates:
        x = self.embeddings(ids)
        for layer in self.encoder.layers:
            x = layer(x)
        x = self.final_layer_norm(x)
        return TextStates(x, self.head(x[:, -1]))


class Siglip(Clip):
    """Both towers; weights are empty until they are loaded."""

    def __init__(self, config: ClipConfig) -> None:
        nn.Module.__init__(self)
        assert isinstance(config, SiglipTowers)
        vision, text = config.vision_config, config.text_config
        assert isinstance(vision, SiglipVisionConfig) and isinstance(text, SiglipTextConfig)
        self.config = config
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.logit_bias = nn.Parameter(torch.empty(1))
        self.text_model = SiglipTextTower(text)
        self.vision_model = SiglipVisionTower(vision)
