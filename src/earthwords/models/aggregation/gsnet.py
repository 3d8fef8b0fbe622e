"""GSNet's aggregator: shifted windows over places, linear attention over classes (https://arxiv.org/abs/2412.19492).

Attribute names are those of the authors' checkpoints (https://github.com/yecy749/GSNet).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PADDED = 256
"""Classes are filled up to this number with a learned vector; of more classes none is added."""
_APART = -100.0
"""Added to the attention between tokens that only the shift made neighbours."""
_EPS = 1e-6


class GsnetLayer(nn.Module):
    """Every class by itself over its places, then all classes of a place.

    Maps are `(image, class, channel, row, col)`.
    """

    def __init__(self, dim: int, *, appearance: int, text: int, heads: int, window: int) -> None:
        super().__init__()
        self.swin_block = _SwinPair(dim, appearance, heads=heads, window=window)
        self.attention = _ClassLayer(dim, text, heads=heads)

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor) -> Tensor:
        """`appearance` is `(image, channel, row, col)`, `text` `(image, class, channel)`."""
        return self.attention(self.swin_block(x, appearance), text)


class _SwinPair(nn.Module):
    """Two blocks, the second on windows shifted by half."""

    def __init__(self, dim: int, appearance: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.block_1 = _SwinBlock(dim, appearance, heads=heads, window=window, shift=0)
        self.block_2 = _SwinBlock(dim, appearance, heads=heads, window=window, shift=window // 2)
        self.guidance_norm = nn.LayerNorm(appearance)

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        classes = x.shape[1]
        tokens = x.flatten(0, 1).permute(0, 2, 3, 1)
        guide = self.guidance_norm(appearance.permute(0, 2, 3, 1)).repeat_interleave(classes, dim=0)
        tokens = self.block_2(self.block_1(tokens, guide), guide)
        return tokens.permute(0, 3, 1, 2).unflatten(0, (-1, classes))


class _SwinBlock(nn.Module):
    def __init__(self, dim: int, guide: int, *, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = _GuidedAttention(dim, guide, heads=heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _Mlp(dim, 4 * dim)
        self.window, self.shift = window, shift

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """`x` and `guide` are `(map, row, col, channel)`. A grid that is no multiple of the window is filled up with
        tokens that nothing else sees; the authors' is one."""
        height, width = x.shape[1:3]
        window, shift = self.window, self.shift
        if min(height, width) <= window:
            window, shift = min(height, width), 0
        fill = (0, 0, 0, -width % window, 0, -height % window)
        both = F.pad(torch.cat([self.norm1(x), guide], dim=-1), fill)
        mask = _apart((height, width), (both.shape[1], both.shape[2]), window, shift).to(x)
        both = both.roll((-shift, -shift), dims=(1, 2))
        found = self.attn(_windows(both, window), mask)
        found = _whole(found, window, (both.shape[1], both.shape[2])).roll((shift, shift), dims=(1, 2))
        x = x + found[:, :height, :width]
        return x + self.mlp(self.norm2(x))


class _GuidedAttention(nn.Module):
    """Queries and keys from tokens with their guide, values from tokens alone."""

    def __init__(self, dim: int, guide: int, *, heads: int) -> None:
        super().__init__()
        self.q = nn.Linear(dim + guide, dim)
        self.k = nn.Linear(dim + guide, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.heads, self.dim = heads, dim

    def forward(self, both: Tensor, mask: Tensor) -> Tensor:
        """`both` is `(map, window, token, dim + guide)`, `mask` `(window, token, token)`."""
        given = (self.q(both), self.k(both), self.v(both[..., : self.dim]))
        q, k, v = (value.unflatten(-1, (self.heads, -1)).transpose(2, 3) for value in given)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
        return self.proj(found.transpose(2, 3).flatten(-2))


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _ClassLayer(nn.Module):
    """Classes of a place look at each other, at half the resolution."""

    def __init__(self, dim: int, text: int, *, heads: int) -> None:
        super().__init__()
        self.attention = _LinearAttention(dim, text, heads=heads)
        self.MLP = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.padding_guidance = nn.Parameter(torch.zeros(1, 1, text))

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        classes, size = x.shape[1], x.shape[-2:]
        z, grid = pooled(x)
        filler = self.norm1(self.padding_tokens), self.padding_guidance
        z = z + self.attention(self.norm1(z), text[:, None], filler, max(0, PADDED - classes))
        z = z + self.MLP(self.norm2(z))
        return x + enlarged(z, grid, size)


class _LinearAttention(nn.Module):
    """https://arxiv.org/abs/2006.16236: elu + 1; values are divided by the number of tokens, sums multiplied by it."""

    def __init__(self, dim: int, text: int, *, heads: int) -> None:
        super().__init__()
        self.q = nn.Linear(dim + text, dim)
        self.k = nn.Linear(dim + text, dim)
        self.v = nn.Linear(dim, dim)
        self.heads = heads

    def forward(self, z: Tensor, text: Tensor, filler: tuple[Tensor, Tensor], fillers: int) -> Tensor:
        """`z` is `(image, place, class, dim)`; of `fillers` equal tokens one is computed and counts so many times."""
        length = z.shape[2] + fillers
        q, k, v = self._heads(z, text)
        _, one_k, one_v = self._heads(filler[0][None], filler[1][None])
        values = torch.einsum("npthd,npthe->nphde", k, v / length)
        values = values + fillers * torch.einsum("npthd,npthe->nphde", one_k, one_v / length)
        norm = torch.einsum("npthd,nphd->npth", q, k.sum(dim=2) + fillers * one_k[:, :, 0])
        found = torch.einsum("npthd,nphde->npthe", q, values) / (norm + _EPS)[..., None] * length
        return found.flatten(-2)

    def _heads(self, z: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both = torch.cat([z, text.expand(*z.shape[:-1], -1)], dim=-1)
        q, k, v = (value.unflatten(-1, (self.heads, -1)) for value in (self.q(both), self.k(both), self.v(z)))
        return F.elu(q) + 1, F.elu(k) + 1, v


def pooled(x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Maps at half the resolution as `(image, place, class, channel)`, and their grid; a single row or column stays."""
    side = (min(2, x.shape[-2]), min(2, x.shape[-1]))
    small = F.avg_pool2d(x.flatten(0, 1), side).unflatten(0, x.shape[:2])
    return small.permute(0, 3, 4, 1, 2).flatten(1, 2), (small.shape[-2], small.shape[-1])


def enlarged(z: Tensor, grid: tuple[int, int], size: tuple[int, ...]) -> Tensor:
    """What `pooled` gave, as maps of the first size; corners lie on corners."""
    small = z.unflatten(1, grid).permute(0, 3, 4, 1, 2)
    large = F.interpolate(small.flatten(0, 1), size=tuple(size), mode="bilinear", align_corners=True)
    return large.unflatten(0, small.shape[:2])


def _windows(x: Tensor, side: int) -> Tensor:
    """`(map, row, col, channel)` to `(map, window, token, channel)`."""
    parts = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _whole(x: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """The inverse of `_windows`."""
    parts = x.unflatten(1, (size[0] // side, size[1] // side)).unflatten(3, (side, side))
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _apart(size: tuple[int, int], filled: tuple[int, int], window: int, shift: int) -> Tensor:
    """`(window, token, token)`: 0 where two tokens were neighbours before the shift, else -100."""
    regions = []
    for own, length in zip(size, filled, strict=True):
        origin = (torch.arange(length) + shift) % length
        regions.append(torch.where(origin < own, (origin - shift).div(window, rounding_mode="floor"), -2))
    ids = _windows((regions[0][:, None] * filled[1] + regions[1])[None, :, :, None], window)[0, :, :, 0]
    return (ids[:, :, None] != ids[:, None]) * _APART
