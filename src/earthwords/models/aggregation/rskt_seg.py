"""RSKT-Seg's aggregator: spatial attention on reduced keys, softmax over classes (https://arxiv.org/abs/2509.12040).

Attribute names are those of the authors' checkpoints (https://github.com/LiBingyu01/RSKT-Seg).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.aggregation.gsnet import enlarged, pooled

HEADS, REDUCTION = 8, 2
"""Whatever the authors' configuration says."""


class RsktLayer(nn.Module):
    """Every class by itself over its places, then all classes of a place.

    Maps are `(image, class, channel, row, col)`.
    """

    def __init__(self, dim: int, *, appearance: int, text: int) -> None:
        super().__init__()
        self.spatial_fusion = nn.ModuleDict({"sa": _SpatialBlock(dim, appearance)})
        self.class_fusion = nn.ModuleDict({"sa": _ClassBlock(dim, text)})

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor) -> Tensor:
        """`appearance` is `(image, channel, row, col)`, `text` `(image, class, channel)`."""
        return self.class_fusion["sa"](self.spatial_fusion["sa"](x, appearance), text)


class _SpatialBlock(nn.Module):
    def __init__(self, dim: int, appearance: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = _ReducedAttention(dim, appearance)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _GatedMlp(dim, spatial=True)

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        classes, grid = x.shape[1], (x.shape[-2], x.shape[-1])
        tokens = x.flatten(0, 1).flatten(2).transpose(1, 2)
        guide = appearance.flatten(2).transpose(1, 2).repeat_interleave(classes, dim=0)
        tokens = tokens + self.attention(self.norm1(tokens), guide, grid)
        tokens = tokens + self.mlp(self.norm2(tokens), grid)
        return tokens.transpose(1, 2).unflatten(2, grid).unflatten(0, (-1, classes))


class _ReducedAttention(nn.Module):
    """Keys and values at half the resolution, as in SegFormer (https://arxiv.org/abs/2105.15203)."""

    def __init__(self, dim: int, guide: int) -> None:
        super().__init__()
        both = dim + guide
        self.q, self.k = nn.Linear(both, dim), nn.Linear(both, dim)
        self.v, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.sr_k = nn.Conv2d(both, both, REDUCTION, REDUCTION)
        self.norm_k = nn.LayerNorm(both)
        self.sr_v = nn.Conv2d(dim, dim, REDUCTION, REDUCTION)
        self.norm_v = nn.LayerNorm(dim)

    def forward(self, x: Tensor, guide: Tensor, grid: tuple[int, int]) -> Tensor:
        """`x` is `(map, token, dim)`, `guide` likewise."""
        both = torch.cat([x, guide], dim=-1)
        k = self.k(self.norm_k(_reduced(both, grid, self.sr_k)))
        v = self.v(self.norm_v(_reduced(x, grid, self.sr_v)))
        return self.proj(_attend(self.q(both), k, v))


class _ClassBlock(nn.Module):
    def __init__(self, dim: int, text: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = _ClassAttention(dim, text)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = _GatedMlp(dim, spatial=False)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        size = x.shape[-2:]
        z, grid = pooled(x)
        z = z + self.attention(self.norm1(z), text[:, None])
        z = z + self.mlp(self.norm2(z), grid)
        return x + enlarged(z, grid, size)


class _ClassAttention(nn.Module):
    def __init__(self, dim: int, text: int) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(dim + text, dim), nn.Linear(dim + text, dim)
        self.v, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        both = torch.cat([z, text.expand(*z.shape[:-1], -1)], dim=-1)
        return self.proj(_attend(self.q(both), self.k(both), self.v(z)))


class _GatedMlp(nn.Module):
    """Over places it ends in a depthwise convolution, over classes in a ReLU6."""

    def __init__(self, dim: int, *, spatial: bool) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(dim, dim, 7, 1, 3, groups=dim)}) if spatial else None

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        x = self.fc3(F.relu6(self.fc1(x)) * self.fc2(x))
        if self.dwconv is None:
            return F.relu6(x)
        return self.dwconv["dwconv"](x.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)


def _reduced(x: Tensor, grid: tuple[int, int], reduce: nn.Module) -> Tensor:
    """`(map, token, channel)` through a strided convolution; a single row or column gets another one of zeros."""
    maps = x.transpose(1, 2).unflatten(2, grid)
    maps = F.pad(maps, (0, max(0, REDUCTION - grid[1]), 0, max(0, REDUCTION - grid[0])))
    return reduce(maps).flatten(2).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention over the tokens of the last but one axis."""
    q, k, v = (value.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for value in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)
