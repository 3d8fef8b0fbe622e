"""Cosines of words and upsampled features, without upsampling the features.

A linear upsampler treats all channels alike, so `up(F) W = up(F W)` for any matrix W. The n tokens of a
window span at most n of the d channels: in an orthonormal basis B of that span the coordinates `F B` are
upsampled, the length of a pixel's feature is the length of its coordinates, and its product with a word w is
the product with `B^T w`. The result is the same up to rounding, at n / d of the cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels.bilateral import Then
from earthwords.kernels.linear import linear

VECTOR = 32
"""Channels come in multiples of this; the rest is zeros. The loops over channels then have no remainder."""


@runtime_checkable
class LinearUpsampler(Protocol):
    """An upsampler that commutes with mixing channels; see `models.upsamplers.jbu.Jbu`."""

    heads: int
    """Equal parts of the channels, one behind the other: only those of one part may be mixed. 1: all."""

    def fold(self, tokens: Tensor) -> tuple[Tensor, Tensor]: ...

    def spread(self, source: Tensor, image: Tensor, size: tuple[int, int], *, then: Then) -> Tensor: ...


def reduced_cosines(
    upsampler: LinearUpsampler,
    features: Tensor,
    image: Tensor,
    size: tuple[int, int],
    queries: Tensor,
    *,
    energy: float = 1.0,
    note: Callable[[int], None] = lambda rank: None,
) -> Tensor:
    """Cosine of every upsampled pixel and query.

    Args:
        features: `(batch, dim, h, w)`.
        image: `(batch, 3, H, W)`.
        queries: `(query, dim)` unit vectors.
        energy: share of the squared length of all tokens of a window that the basis keeps, 0..1; 1 is exact.
        note: told the rank of every window whose basis does not keep everything.

    Returns:
        `(batch, query, *size)`. A window's result does not depend on the others.
    """
    out = features.new_empty(len(features), len(queries), *size)
    for i, (tokens, guidance) in enumerate(zip(features, image, strict=True)):
        folded, added = upsampler.fold(tokens.flatten(1).T)
        basis = _block_basis(folded, added, energy, note, upsampler.heads)
        source, shift, words = folded @ basis, added @ basis, queries @ basis

        def cosines(rows: Tensor, shift: Tensor = shift, words: Tensor = words) -> Tensor:
            rows = rows + shift
            found: Tensor = linear(rows, words) / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            return found

        grid = source.unflatten(0, tuple(tokens.shape[-2:]))
        out[i] = upsampler.spread(grid, guidance[None], size, then=cosines).permute(2, 0, 1)
    return out


def _block_basis(tokens: Tensor, added: Tensor, energy: float, note: Callable[[int], None], heads: int) -> Tensor:
    """`(dim, rank)`: a basis of each head's channels, all with as many columns, none of which mixes heads."""
    if heads == 1:
        return _basis(tokens, added, energy, note)
    ranks: list[int] = []
    parts = zip(tokens.chunk(heads, dim=1), added.chunk(heads), strict=True)
    bases = [_basis(own, shift, energy, ranks.append) for own, shift in parts]
    if ranks:
        note(sum(ranks))
    most = max(basis.shape[1] for basis in bases)
    whole: Tensor = torch.block_diag(*(F.pad(basis, (0, most - basis.shape[1])) for basis in bases))
    return whole


def _basis(tokens: Tensor, added: Tensor, energy: float, note: Callable[[int], None]) -> Tensor:
    """`(dim, rank)` orthonormal columns, and columns of zeros, whose span holds the tokens and `added`."""
    if energy < 1:
        values, vectors = torch.linalg.eigh(tokens.T @ tokens) if len(tokens) >= tokens.shape[1] else _dual(tokens)
        kept = values.flip(0).clamp(min=0).double().cumsum(0)
        rank = int((kept < energy * kept[-1]).sum()) + 1
        note(rank)
        span = torch.cat([vectors.flip(1)[:, :rank], added[:, None]], dim=1)
    else:
        span = torch.cat([tokens, added[None]]).T
    if span.shape[1] >= span.shape[0]:
        return torch.eye(span.shape[0], dtype=span.dtype, device=span.device)
    basis = torch.linalg.qr(span).Q
    return F.pad(basis, (0, -basis.shape[1] % VECTOR))


def _dual(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of `tokens^T tokens` by way of the smaller `tokens tokens^T`."""
    values, vectors = torch.linalg.eigh(tokens @ tokens.T)
    return values, F.normalize(tokens.T @ vectors, dim=0)
