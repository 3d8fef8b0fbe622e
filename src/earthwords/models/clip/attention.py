"""What the last block of a ViT does with its queries, keys and values: one function a method.

Every function takes a `Heads` and returns the context `(batch, head, token, head_dim)`; the block's
output projection follows. Token 0 is the class token, where there is one, and takes part in every method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The input of an attention method."""

    q: Tensor
    k: Tensor
    v: Tensor
    """`(batch, head, token, head_dim)` each."""
    x: Tensor
    """`(batch, token, dim)`: the block's normalised input, from which q, k and v were made."""
    grid: tuple[int, int]
    """Patch tokens `(rows, cols)`; before the `rows * cols` tokens is the class token, where there is one."""

    @property
    def scale(self) -> float:
        return float(self.q.shape[-1] ** -0.5)


def _weights(a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
    return (a @ b.transpose(-2, -1) * scale).softmax(dim=-1)


def _self_similar(tokens: Tensor, values: Tensor) -> Tensor:
    """softmax(t t^T) v. A CPU computes it in float32 under autocast too: its kernel for bfloat16 is half as fast."""
    if tokens.device.type != "cpu":
        return F.scaled_dot_product_attention(tokens, tokens, values)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(tokens.float(), tokens.float(), values.float())


def vanilla(h: Heads) -> Tensor:
    """softmax(q k^T) v: CLIP as it was trained (https://arxiv.org/abs/2103.00020)."""
    return F.scaled_dot_product_attention(h.q, h.k, h.v)


def maskclip(h: Heads) -> Tensor:
    """v alone: every token attends to itself (https://arxiv.org/abs/2112.01071)."""
    return h.v


def sclip(h: Heads) -> Tensor:
    """(softmax(q q^T) + softmax(k k^T)) v (https://arxiv.org/abs/2312.01597)."""
    return (_weights(h.q, h.q, h.scale) + _weights(h.k, h.k, h.scale)) @ h.v


def clearclip(h: Heads) -> Tensor:
    """softmax(q q^T) v (https://arxiv.org/abs/2407.12442)."""
    return F.scaled_dot_product_attention(h.q, h.q, h.v)


def segearth(h: Heads) -> Tensor:
    """(softmax(q q^T) + softmax(k k^T) + softmax(v v^T)) v, summed (https://arxiv.org/abs/2410.01768).

    One product after the other: the matrices of weights never exist, which is twice as fast with many tokens.
    """
    q, k, v = (_self_similar(t, h.v) for t in (h.q, h.k, h.v))
    return q + k + v


def naclip(h: Heads) -> Tensor:
    """softmax(k k^T + Gaussian neighbourhood of sigma 1) v (https://arxiv.org/abs/2404.08181)."""
    before = h.k.shape[-2] - h.grid[0] * h.grid[1]
    bias = F.pad(_neighbourhood(h.grid, like=h.k), (before, 0, before, 0))
    return (h.k @ h.k.transpose(-2, -1) * h.scale + bias).softmax(dim=-1) @ h.v


def gem(h: Heads) -> Tensor:
    """Mean of normalised v-v, k-k and q-q attention, each iterated once (https://arxiv.org/abs/2312.00878)."""
    temperature = h.x.norm(dim=-1).mean(dim=-1)[:, None, None, None] * h.scale
    total = torch.zeros_like(h.v)
    for tokens in (h.v, h.k, h.q):
        unit = F.normalize(tokens, dim=-1)
        unit = F.normalize(_weights(unit, unit, temperature) @ unit, dim=-1)
        total = total + _weights(unit, unit, temperature) @ h.v
    return total / 3


def _neighbourhood(grid: tuple[int, int], *, like: Tensor, sigma: float = 1.0) -> Tensor:
    """`(patch, patch)`: exp(-d^2 / 2 sigma^2) of the distance in tokens."""
    rows, cols = (torch.arange(n, device=like.device, dtype=like.dtype) for n in grid)
    by_row = torch.exp(-((rows[:, None] - rows) ** 2) / (2 * sigma**2))
    by_col = torch.exp(-((cols[:, None] - cols) ** 2) / (2 * sigma**2))
    return torch.kron(by_row, by_col)


ATTENTION: dict[str, Callable[[Heads], Tensor]] = {
    "vanilla": vanilla,
    "maskclip": maskclip,
    "sclip": sclip,
    "gem": gem,
    "clearclip": clearclip,
    "naclip": naclip,
    "segearth": segearth,
}
