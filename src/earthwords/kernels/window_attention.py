"""AnyUp's cross-attention: every pixel takes a weighted mean of the tokens in a window around it.

For head `a`, pixel `p` and the tokens `t` of its window `N(p)`:
`w_a[p, t] = softmax over N(p) of <q_a[p], k_a[t]> / sqrt(dim)`, `out[p] = sum_t mean_a(w_a[p, t]) v[t]`
(AnyUp, https://arxiv.org/abs/2510.12764; windows as in https://github.com/wimmerth/anyup @351807a).

The window of a pixel in row i of H are the rows of tokens from `floor((u - ratio) h)` up to, not including,
`ceil((u + ratio) h)` with `u = (i + 0.5) / H` and `u - ratio`, `u + ratio` clamped to 0..1; columns alike.

Cost: `reference` holds a mask of `HW * hw` and weights of `heads * HW * hw` numbers. `by_windows` computes rows of
pixels that see the same rows of tokens together, and columns of pixels in blocks that see nearly the same columns of
tokens: it looks at few tokens outside a window, and holds the output and `BAND` weights, or those of one row of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._dispatch import backends, path, wants_gradient
from earthwords.kernels.linear import linear

TOLERANCE = 1e-5

BAND = 1 << 21
"""Attention weights held at once, as far as one row of pixels needs no more."""


def bounds(size: int, tokens: int, ratio: float) -> tuple[Tensor, Tensor]:
    """First token, and the one behind the last, that each of `size` pixels of an axis sees: `(size,)` int64 each.

    A ratio of 0 means all. The rounding is float32's, as the authors'.
    """
    if ratio == 0:
        return torch.zeros(size, dtype=torch.long), torch.full((size,), tokens)
    centre = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    first = ((centre - ratio).clamp(0, 1) * tokens).floor().long()
    return first, ((centre + ratio).clamp(0, 1) * tokens).ceil().long()


def visible(size: int, tokens: int, ratio: float) -> Tensor:
    """`(size, tokens)` bool of an axis, True = the pixel sees the token."""
    first, stop = bounds(size, tokens, ratio)
    index = torch.arange(tokens)
    return (index >= first[:, None]) & (index < stop[:, None])


def reference(queries: Tensor, keys: Tensor, values: Tensor, ratio: float) -> Tensor:
    """The formula with dense weights and a mask; see `window_attention`."""
    size, tokens = queries.shape[1:3], keys.shape[1:3]
    rows, cols = (visible(s, t, ratio).to(queries.device) for s, t in zip(size, tokens, strict=True))
    seen = (rows[:, None, :, None] & cols[None, :, None, :]).flatten(2).flatten(0, 1)
    scores = torch.einsum("bpad,btad->bapt", queries.flatten(1, 2) * queries.shape[-1] ** -0.5, keys.flatten(1, 2))
    weights = scores.masked_fill_(~seen, -torch.inf).softmax(dim=-1).mean(dim=1)
    return (weights @ values.flatten(1, 2)).unflatten(1, tuple(size))


def window_attention(queries: Tensor, keys: Tensor, values: Tensor, ratio: float) -> Tensor:
    """Windowed attention with weights averaged over heads.

    Args:
        queries: `(batch, H, W, head, dim)`.
        keys: `(batch, h, w, head, dim)`.
        values: `(batch, h, w, channel)`.
        ratio: half the side of a window as a share of the image; 0: every token.

    Returns:
        `(batch, H, W, channel)`: convex combinations of values. Differentiable in all three.
    """
    return path(PATHS, queries, keys, values)(queries, keys, values, ratio)


@dataclass(frozen=True)
class _Blocks:
    """Columns of pixels in blocks, and the columns of tokens that each block sees."""

    tokens: Tensor
    """`(block, n)` int64: columns of tokens, as many for each block."""
    bias: Tensor
    """`(block, pixel, n)`: 0 where the pixel sees the token, else -inf."""

    @classmethod
    def of_width(cls, width: int, size: int, tokens: int, ratio: float) -> _Blocks:
        """Blocks of `width` pixels; the last one is filled up with copies of the last pixel's window."""
        first, stop = bounds(size, tokens, ratio)
        filled = torch.arange(-(-size // width) * width).clamp(max=size - 1).view(-1, width)
        first, stop = first[filled], stop[filled]
        count = int((stop.amax(1) - first.amin(1)).max())
        begin = first.amin(1).clamp(max=tokens - count)
        index = begin[:, None] + torch.arange(count)
        seen = (index[:, None] >= first[..., None]) & (index[:, None] < stop[..., None])
        return cls(index, torch.zeros(seen.shape).masked_fill(~seen, -torch.inf))

    @classmethod
    def cheapest(cls, size: int, tokens: int, ratio: float) -> _Blocks:
        """Wide blocks share tokens, but see some that few of their pixels see."""
        widths = {min(size, 1 << power) for power in range(size.bit_length() + 1)}
        return min((cls.of_width(w, size, tokens, ratio) for w in sorted(widths)), key=lambda b: b.cost)

    @property
    def cost(self) -> int:
        """Proportional to the multiply-adds of a row of pixels, and to the tokens that are gathered."""
        blocks, width, count = self.bias.shape
        return blocks * count * (width + 8)


def _runs(size: int, tokens: int, ratio: float) -> list[tuple[slice, slice]]:
    """Consecutive pixels of an axis that see the same tokens: `(pixels, tokens)`."""
    windows = list(zip(*(t.tolist() for t in bounds(size, tokens, ratio)), strict=True))
    starts = [i for i in range(size) if i == 0 or windows[i] != windows[i - 1]]
    return [(slice(a, b), slice(*windows[a])) for a, b in zip(starts, [*starts[1:], size], strict=True)]


def by_windows(queries: Tensor, keys: Tensor, values: Tensor, ratio: float) -> Tensor:
    """Only the tokens that a pixel sees, in plain PyTorch; see the head of this file."""
    batch, height, width, heads, dim = queries.shape
    blocks = _Blocks.cheapest(width, keys.shape[2], ratio)
    columns, bias = blocks.tokens.to(queries.device), blocks.bias.to(queries)
    count, side, _ = bias.shape
    keys = keys * dim**-0.5
    bands = _bands(height, keys.shape[1], ratio, batch * heads * count * side * columns.shape[1])
    learning = wants_gradient(queries, keys, values)
    out = values.new_empty(batch, 0 if learning else height, count, side, values.shape[-1])
    made: list[Tensor] = []
    # A slice has a gradient as large as what it was cut from, a part of a split has not; the same with what is written.
    asked = iter(queries.split([rows.stop - rows.start for _, parts in bands for rows in parts], dim=1))
    for tokens, parts in bands:
        near, source = _near(keys[:, tokens], columns), _near(values[:, tokens], columns)
        mask = bias[:, None, None, :, None, :].expand(-1, 1, 1, -1, tokens.stop - tokens.start, -1).flatten(4)
        for rows in parts:
            weights = _weights(next(asked), near, mask)
            if learning:
                made.append((weights @ source).unflatten(2, (-1, side)).transpose(1, 2))
            else:
                _mix(weights, source, out[:, rows])
    return (torch.cat(made, dim=1) if learning else out).flatten(2, 3)[:, :, :width]


def _bands(size: int, tokens: int, ratio: float, row: int) -> list[tuple[slice, list[slice]]]:
    """Rows of tokens, and the rows of pixels that see them in parts that hold `BAND` weights.

    Args:
        row: weights that a row of pixels has for each row of tokens.
    """
    bands = []
    for pixels, seen in _runs(size, tokens, ratio):
        step = max(1, BAND // (row * (seen.stop - seen.start)))
        starts = range(pixels.start, pixels.stop, step)
        bands.append((seen, [slice(first, min(first + step, pixels.stop)) for first in starts]))
    return bands


def _near(tokens: Tensor, columns: Tensor) -> Tensor:
    """Rows of tokens `(batch, row, w, *)` to those of every block, `(batch, block, row * n, *)`."""
    return tokens[:, :, columns].transpose(1, 2).flatten(2, 3)


def _weights(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """Attention of rows of pixels that see the same rows of tokens, averaged over heads.

    Args:
        queries: `(batch, row, W, head, dim)`.
        keys: `(batch, block, token, head, dim)`.
        mask: `(block, 1, 1, pixel, token)`, added to the scores.

    Returns:
        `(batch, block, row * pixel, token)`.
    """
    blocks, _, _, side, _ = mask.shape
    queries = F.pad(queries, (0, 0, 0, 0, 0, blocks * side - queries.shape[2]))
    asked = queries.unflatten(2, (blocks, side)).permute(0, 2, 4, 1, 3, 5)
    # (batch, block, head, row * pixel, dim) @ (batch, block, head, dim, token)
    scores = asked.flatten(3, 4) @ keys.permute(0, 1, 3, 4, 2)
    scores = scores.unflatten(3, (-1, side)).add_(mask)
    return scores.softmax(dim=-1).mean(dim=2).flatten(2, 3)


def _mix(weights: Tensor, values: Tensor, out: Tensor) -> None:
    """Weights `(batch, block, row * pixel, token)` by values `(batch, block, token, channel)`, written to `out`.

    `out` is `(batch, row, block, pixel, channel)`.
    """
    shape = (out.shape[1], out.shape[3])
    if "onednn" not in backends(weights, values):
        out.copy_((weights @ values).unflatten(2, shape).transpose(1, 2))
        return
    for image, (own, tokens) in enumerate(zip(weights, values, strict=True)):
        for block in range(len(own)):
            out[image, :, block] = linear(own[block], tokens[block].T).unflatten(0, shape)


PATHS = {"torch": by_windows}
