"""Neighbourhood attention from pixels to tokens: each head of each pixel mixes the tokens of a window around it.

For head `a`, pixel `p` and the `K * K` tokens `t` of its window: `w_a[p, t] = softmax of <q_a[p], k_a[t]> / sqrt(dim)`,
`out_a[p] = sum_t w_a[p, t] v_a[t]` (NAF, https://arxiv.org/abs/2511.18452; windows are those of NATTEN).

The window of a pixel, along each axis by itself: tokens are spread over the pixels by nearest neighbour, and a window
holds K pixels of this spread map at steps of `d = size // tokens`, beginning at the pixel's own remainder of `d`. Near
a border it is shifted, not cut, so that there are always K. With a whole number of pixels a token, spreading and steps
cancel: all pixels of a token see the same K * K tokens around it, each once.

Cost: `pixels * heads * K^2 * (dim + channel)` multiply-adds. `reference` gathers `K^2` keys and values for every pixel.
`by_cells` computes all pixels together that see the same tokens, as products of matrices, and gathers them once for
these: it holds the weights of one row of such cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._dispatch import path, wants_gradient

TOLERANCE = 1e-5

Then = Callable[[Tensor], Tensor]
"""Rows of pixels `(rows, W, head, channel)` to what becomes of them, `(rows, W, *)`."""


def fits(size: int, tokens: int, window: int) -> bool:
    """Whether an axis of `size` pixels holds windows of `window` tokens."""
    step = size // tokens
    return step > 0 and window * step <= size


def positions(size: int, tokens: int, window: int) -> Tensor:
    """`(size, window)` int64: the pixels of the spread map that each pixel of an axis sees; it must be one that
    `fits`.
    """
    pixel, step = torch.arange(size), size // tokens
    rest = pixel % step
    count = -((rest - size) // step)  # pixels of the same remainder
    start = torch.minimum((pixel // step - window // 2).clamp(min=0), count - window)
    return (start[:, None] + torch.arange(window)) * step + rest[:, None]


def cells(size: int, tokens: int, window: int) -> Tensor:
    """`(size, window)` int64: the tokens that each pixel of an axis sees; one can occur twice where none divides."""
    spread = F.interpolate(torch.arange(float(tokens))[None, None], size=size, mode="nearest-exact")[0, 0].long()
    return spread[positions(size, tokens, window)]


def dense_weights(queries: Tensor, keys: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Scores and their softmax, both `(batch, H, W, head, K * K)`, windows row by row."""
    near = _gathered(keys, queries.shape[1:3], window)
    scores = torch.einsum("bhwad,bhwkad->bhwak", queries * queries.shape[-1] ** -0.5, near)
    return scores, scores.softmax(dim=-1)


def reference(queries: Tensor, keys: Tensor, values: Tensor, window: int) -> Tensor:
    """The formula, row of pixels by row; see `neighbourhood_attention`."""
    axes = zip(queries.shape[1:3], keys.shape[1:3], strict=True)
    (seen, cols), made = (cells(s, t, window).to(queries.device) for s, t in axes), []
    for asked, rows in zip(queries.unbind(1), seen, strict=True):
        near, carried = (x[:, rows][:, :, cols] for x in (keys, values))  # (batch, K, W, K, head, *)
        scores = torch.einsum("bwad,brwkad->bwark", asked * asked.shape[-1] ** -0.5, near)
        weights = scores.flatten(3).softmax(dim=-1).unflatten(3, (window, window))
        made.append(torch.einsum("bwark,brwkac->bwac", weights, carried))
    return torch.stack(made, dim=1)


def neighbourhood_attention(queries: Tensor, keys: Tensor, values: Tensor, window: int) -> Tensor:
    """Every head of every pixel mixes the tokens of its window.

    Args:
        queries: `(batch, H, W, head, dim)`.
        keys: `(batch, h, w, head, dim)`.
        values: `(batch, h, w, head, channel)`.
        window: tokens a side of a window, odd; both axes must be ones that `fits`.

    Returns:
        `(batch, H, W, head, channel)`: convex combinations of values. Differentiable in all three.
    """
    return path(PATHS, queries, keys, values)(queries, keys, values, window)


def _gathered(tokens: Tensor, size: torch.Size, window: int) -> Tensor:
    """`(batch, h, w, head, *)` to `(batch, H, W, K * K, head, *)`."""
    rows, cols = (cells(s, t, window).to(tokens.device) for s, t in zip(size, tokens.shape[1:3], strict=True))
    return tokens[:, rows[:, None, :, None], cols[None, :, None, :]].flatten(3, 4)


@dataclass(frozen=True)
class _Axis:
    """Pixels of an axis in groups that see the same tokens."""

    pixels: tuple[slice | Tensor, ...]
    """Of every group: where they lie side by side a slice, else int64."""
    cells: tuple[Tensor, ...]
    """`(window,)` int64 each: what it sees."""
    back: Tensor
    """`(size,)` int64: where each pixel is, groups laid one behind the other."""

    @classmethod
    @lru_cache(maxsize=32)
    def of(cls, size: int, tokens: int, window: int) -> _Axis:
        """Of an axis."""
        with torch.inference_mode(False):  # kept, and perhaps used where gradients are recorded
            seen, group = cells(size, tokens, window).unique(dim=0, return_inverse=True)
            pixels = [(group == i).nonzero().flatten() for i in range(len(seen))]
            return cls(tuple(_slice(p) for p in pixels), tuple(seen), torch.cat(pixels).argsort())


def _slice(pixels: Tensor) -> slice | Tensor:
    first, stop = int(pixels[0]), int(pixels[-1]) + 1
    return slice(first, stop) if stop - first == len(pixels) else pixels


def by_cells(queries: Tensor, keys: Tensor, values: Tensor, window: int) -> Tensor:
    """Pixels that see the same tokens together, in plain PyTorch; see the head of this file."""
    parts = zip(queries, keys, values, strict=True)
    return torch.stack([in_rows(q, k, v, window, then=lambda rows: rows) for q, k, v in parts])


def in_rows(queries: Tensor, keys: Tensor, values: Tensor, window: int, *, then: Then) -> Tensor:
    """`by_cells` of one image, whose rows are handed over as they come.

    Args:
        queries: `(H, W, head, dim)`.
        keys: `(h, w, head, dim)`.
        values: `(h, w, head, channel)`.
        then: what becomes of rows of the result.

    Returns:
        `(H, W, *)`, whatever `then` makes of it.
    """
    axes = zip(queries.shape[:2], keys.shape[:2], strict=True)
    rows, cols = (_Axis.of(size, tokens, window) for size, tokens in axes)
    keys = keys * queries.shape[-1] ** -0.5
    learning, made, out = wants_gradient(queries, keys, values), [], None
    for pixels, seen in zip(rows.pixels, rows.cells, strict=True):
        found = then(_row(queries[pixels], keys[seen], values[seen], cols))
        if learning:
            made.append(found)
            continue
        if out is None:
            out = found.new_empty(len(queries), *found.shape[1:])
        out[pixels] = found
    return torch.cat(made)[rows.back.to(queries.device)] if out is None else out


def _row(queries: Tensor, keys: Tensor, values: Tensor, cols: _Axis) -> Tensor:
    """Rows of pixels that see the same rows of tokens.

    Args:
        queries: `(row, W, head, dim)`.
        keys: `(window, w, head, dim)`.
        values: `(window, w, head, channel)`.

    Returns:
        `(row, W, head, channel)`.
    """
    learning, made = wants_gradient(queries, keys, values), []
    out = values.new_empty(0 if learning else len(queries), queries.shape[1], *values.shape[2:])
    for pixels, seen in zip(cols.pixels, cols.cells, strict=True):
        asked, near, carried = queries[:, pixels], keys[:, seen], values[:, seen]
        scores = asked.flatten(0, 1).transpose(0, 1) @ near.flatten(0, 1).permute(1, 2, 0)
        mixed = scores.softmax(dim=-1) @ carried.flatten(0, 1).transpose(0, 1)
        found = mixed.transpose(0, 1).unflatten(0, tuple(asked.shape[:2]))
        if learning:
            made.append(found)
        else:
            out[:, pixels] = found
    return torch.cat(made, dim=1)[:, cols.back.to(out.device)] if learning else out


PATHS = {"torch": by_cells}
