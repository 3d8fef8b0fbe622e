"""Cosines of words and upsampled features, without upsampling the features.

A linear upsampler treats all channels alike, so `up(F) W = up(F W)` for any matrix W. The n tokens of a
window span at most n of the d channels: in an orthonormal basis B of that span the coordinates `F B` are
upsampled, the length of a pixel's feature is the length of its coordinates, and its product with a word w is
the product with `B^T w`. The result is the same up to rounding, at n / d of the cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
        source, shift, basis = _reduced(upsampler, tokens, energy, note)
        words = queries @ basis

        def cosines(rows: Tensor, shift: Tensor = shift, words: Tensor = words) -> Tensor:
            rows = rows + shift
            return _products(rows, _lengths(rows), words)

        out[i] = upsampler.spread(source, guidance[None], size, then=cosines).permute(2, 0, 1)
    return out


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """The upsampled pixels of a window in the basis of its tokens: all that words are multiplied with."""

    bands: tuple[tuple[Tensor, Tensor], ...]
    """Rows as the upsampler gives them, `(row, W, rank)`, and the lengths of the pixels, `(row, W, 1)`."""
    basis: Tensor
    """`(dim, rank)`."""

    def cosines(self, queries: Tensor) -> Tensor:
        """As `reduced_cosines` of the window, `(1, query, H, W)`: the same products of the same rows, to the bit."""
        words = queries @ self.basis
        rows = torch.cat([_products(rows, lengths, words) for rows, lengths in self.bands])
        return rows.permute(2, 0, 1)[None]

    def at(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Features of unit length at some pixels, `(n, dim)`."""
        values, lengths = (torch.cat(parts)[rows, cols] for parts in zip(*self.bands, strict=True))
        found: Tensor = (values / lengths) @ self.basis.T
        return found

    @property
    def nbytes(self) -> int:
        """That they take."""
        parts = [self.basis, *(part for band in self.bands for part in band)]
        return sum(part.numel() * part.element_size() for part in parts)


def coordinates(
    upsampler: LinearUpsampler,
    tokens: Tensor,
    guidance: Tensor,
    size: tuple[int, int],
    *,
    energy: float = 1.0,
    note: Callable[[int], None] = lambda rank: None,
) -> Coordinates:
    """What `reduced_cosines` upsamples of a window before it multiplies with words, `4 H W rank` bytes.

    Args:
        tokens: `(dim, h, w)`.
        guidance: `(3, H, W)`.
        energy, note: as of `reduced_cosines`.
    """
    source, shift, basis = _reduced(upsampler, tokens, energy, note)
    bands: list[tuple[Tensor, Tensor]] = []

    def keep(rows: Tensor) -> Tensor:
        rows = rows + shift
        bands.append((rows, _lengths(rows)))
        return rows[..., :0]

    upsampler.spread(source, guidance[None], size, then=keep)
    return Coordinates(bands=tuple(bands), basis=basis)


def _reduced(
    upsampler: LinearUpsampler, tokens: Tensor, energy: float, note: Callable[[int], None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of the tokens `(h, w, rank)`, of what is added to every pixel `(rank,)`, and the basis."""
    folded, added = upsampler.fold(tokens.flatten(1).T)
    basis = _block_basis(folded, added, energy, note, upsampler.heads)
    return (folded @ basis).unflatten(0, tuple(tokens.shape[-2:])), added @ basis, basis


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return lengths


def _products(rows: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
    """Cosines `(row, W, query)` of pixels and words in one basis."""
    found: Tensor = linear(rows, words) / lengths
    return found


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
