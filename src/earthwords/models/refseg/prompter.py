"""RSRefSeg's AttnPrompter: where a sentence lights up in CLIP's features, as prompts for SAM.

Own writing from the formulas of https://arxiv.org/abs/2501.06809 and the facts of https://github.com/KyanChen/RSRefSeg
(@c20e056). With unit vectors `v` (pixels), `t` (text tokens), `g` (the sentence), SigLIP's scale `s` and bias `b`:

    local   A_l = sigmoid(s <v, t> + b) of every token;  V_local = (V + mean(A_l) V) / 2
    global  G = s <v, g> + b;                            F_global = sigmoid(G) V
    sparse  [V_local; F_global; V] -> 1x1 convolution + Fourier positions -> stride-2 convolutions -> tokens
    dense   G itself, as the mask that SAM's prompt encoder takes

`WordPrompts` is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("group", "batch")
"""Norms of the prompter's convolutions: groups of channels (any batch) or the batch (the authors')."""
_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class Activation:
    """How strongly the words and the sentence speak to each place; `(batch, *, h, w)` each."""

    visual: Tensor
    """V, `(batch, dim, h, w)`."""
    local_logit: Tensor
    """`(batch, token, h, w)`."""
    local_feature: Tensor
    """mean(A_l) V, `(batch, dim, h, w)`."""
    global_logit: Tensor
    """G, `(batch, h, w)`."""

    @property
    def local_visual(self) -> Tensor:
        """`(batch, dim, h, w)`."""
        return (self.visual + self.local_feature) / 2

    @property
    def global_feature(self) -> Tensor:
        """`(batch, dim, h, w)`."""
        return self.global_logit.sigmoid()[:, None] * self.visual

    @property
    def combined(self) -> Tensor:
        """`(batch, 3 dim, h, w)`."""
        return torch.cat([self.local_visual, self.global_feature, self.visual], dim=1)


def activate(
    visual: Tensor, tokens: Tensor, sentence: Tensor, *, scale: Tensor, bias: Tensor, words: Tensor | None = None
) -> Activation:
    """Local and global activation.

    Args:
        visual: `(batch, dim, h, w)`, not normalised.
        tokens: `(batch, token, dim)`, not normalised.
        sentence: `(batch, dim)`, not normalised.
        scale: a number by which cosines are multiplied (the exponential of SigLIP's `logit_scale`).
        bias: a number added to them.
        words: `(batch, token)` bool, the tokens to average over; None: all, as the authors' code does.
    """
    unit = F.normalize(visual, dim=1)
    logit = scale * torch.einsum("bchw,blc->blhw", unit, F.normalize(tokens, dim=-1)) + bias
    spoken = logit.sigmoid()
    if words is None:
        mean = spoken.mean(dim=1, keepdim=True)
    else:
        share = words.to(spoken.dtype) / words.sum(dim=1, keepdim=True).clamp(min=1)
        mean = torch.einsum("blhw,bl->bhw", spoken, share)[:, None]
    whole = scale * torch.einsum("bchw,bc->bhw", unit, F.normalize(sentence, dim=-1)) + bias
    return Activation(visual=visual, local_logit=logit, local_feature=mean * visual, global_logit=whole)


class ConvBlock(nn.Module):
    """Convolution, norm, GELU; without a norm the convolution alone, with a bias. Names as mmcv's `ConvModule`."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, norm: str | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=norm is None)
        if norm is not None:
            self.bn = nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(_groups(outputs), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, h, w)` to `(batch, outputs, h / stride, w / stride)`, rounded up."""
        x = self.conv(x)
        return F.gelu(self.bn(x)) if hasattr(self, "bn") else x


def _groups(channels: int) -> int:
    return math.gcd(_GROUPS, channels)


class AttnPrompter(nn.Module):
    """Features and words to sparse prompts and a mask prompt.

    Args:
        dim: of the features and of the text.
        prompt_dim: of SAM's prompts.
        levels: stride-2 convolutions (the authors' 2; the paper compares rates 2, 4 and 8).
        norm: one of `NORMS`.
    """

    def __init__(self, dim: int, prompt_dim: int, *, levels: int = 2, norm: str = "group") -> None:
        super().__init__()
        self.down_channel = ConvBlock(3 * dim, prompt_dim, norm=norm)
        halved = (ConvBlock(prompt_dim, prompt_dim, kernel=3, stride=2, norm=norm) for _ in range(levels))
        self.down_spatial = nn.Sequential(*halved, ConvBlock(prompt_dim, prompt_dim, norm=None))

    def forward(self, activation: Activation, position: Tensor) -> Tensor:
        """Sparse prompts `(batch, 1, tokens, prompt_dim)`, tokens in rows from the top left.

        Args:
            position: `(prompt_dim, h, w)`, see `fourier_position`.
        """
        x = self.down_spatial(self.down_channel(activation.combined) + position)
        return x.flatten(2).transpose(1, 2)[:, None]


class WordPrompts(nn.Module):
    """Prompts that the words themselves make: queries read them. RSRefSeg's sentences speak by where they light up
    only, which a large encoder learns to use for places and relations and a small one does not."""

    def __init__(self, dim: int, prompt_dim: int, *, count: int, heads: int = 4) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(count, prompt_dim))
        self.project = nn.Linear(dim, prompt_dim)
        self.attention = nn.MultiheadAttention(prompt_dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(prompt_dim)

    def forward(self, tokens: Tensor, words: Tensor) -> Tensor:
        """Text tokens `(batch, token, dim)`, those of which count `(batch, token)`, to `(batch, 1, count, prompt_dim)`.

        A sentence without a word is read as its first token.
        """
        unread = ~words
        unread[:, 0] &= words.any(dim=1)
        read = self.project(F.normalize(tokens, dim=-1) * tokens.shape[-1] ** 0.5)
        queries = self.queries.expand(len(tokens), -1, -1)
        found, _ = self.attention(queries, read, read, key_padding_mask=unread, need_weights=False)
        prompts: Tensor = self.norm(queries + found)
        return prompts[:, None]


def fourier_position(frequencies: Tensor, grid: tuple[int, int]) -> Tensor:
    """SAM's positional embedding at the centres of a grid's cells (https://arxiv.org/abs/2304.02643).

    Args:
        frequencies: `(2, n)`, of x and y.

    Returns:
        `(2 n, h, w)`: sines, then cosines, of `2 pi (2 p - 1) frequencies` with p in 0..1.
    """
    y, x = ((torch.arange(side, device=frequencies.device) + 0.5) * (2 / side) - 1 for side in grid)
    # no matrix product: autocast would take it in 8 bits
    across, down = x[:, None] * frequencies[0], y[:, None] * frequencies[1]
    angles = 2 * torch.pi * (across[None] + down[:, None])
    return torch.cat([angles.sin(), angles.cos()], dim=-1).permute(2, 0, 1)


def mask_prompt(activation: Activation, size: tuple[int, int]) -> Tensor:
    """G as the mask `(batch, 1, *size)` for SAM's prompt encoder: bilinear, corners not aligned."""
    return F.interpolate(activation.global_logit[:, None], size=size, mode="bilinear", align_corners=False)
